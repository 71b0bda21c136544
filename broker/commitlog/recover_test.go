package commitlog

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

const (
	logDir    = "data/t-0"
	firstFile = "data/t-0/00000000000000000000.log"
)

// withSegment returns a file system that holds a log whose only segment is file.
func withSegment(t testing.TB, file []byte) disk.FS {
	fsys := disk.NewCrash(0)
	if err := fsys.MkdirAll(logDir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, logDir+"/"+partitionMetadata, formatPartitionMetadata(topicA))
	put(t, fsys, firstFile, file)
	return fsys
}

// wholeBytes returns how many bytes of segment are whole batches that file has too,
// and the offset that follows them. (A byte that was zero before survives zeroing.)
func wholeBytes(segment, file []byte) (whole int, nextOffset int64) {
	cut := 0
	for cut < len(file) && file[cut] == segment[cut] {
		cut++
	}
	for rest := segment; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil || whole+len(b) > cut {
			break
		}
		whole, nextOffset, rest = whole+len(b), b.NextOffset(), after
	}
	return whole, nextOffset
}

// A power cut can end the last write at any byte, and the file system may keep the
// length without the bytes. Wherever the cut falls, every whole batch before it is
// there and nothing else, and appending goes on from there.
func TestTornTail(t *testing.T) {
	var segment []byte
	for i := range 4 {
		b := newBatch(1+i%2, int64(1000*i), 10*i, byte('a'+i))
		b.Stamp(int64(i+i/2), 3)
		segment = append(segment, b...)
	}
	for cut := range len(segment) + 1 {
		torn := segment[:cut]
		zeroed := append(bytes.Clone(torn), make([]byte, len(segment)-cut)...)
		for name, file := range map[string][]byte{"torn": torn, "zeroed": zeroed} {
			checkRecovery(t, fmt.Sprintf("%s at byte %d", name, cut), segment, file)
		}
	}
}

func checkRecovery(t *testing.T, what string, segment, file []byte) {
	t.Helper()
	fsys := withSegment(t, file)
	d := start(t, fsys, Options{})
	l := d.mustOpen(t, "t-0", keepAll)
	whole, nextOffset := wholeBytes(segment, file)
	if l.Size() != int64(whole) || l.EndOffset() != nextOffset || l.DurableEnd() != nextOffset {
		t.Fatalf("%s: %d bytes to offset %d, durable to %d; want %d bytes to %d", what, l.Size(), l.EndOffset(), l.DurableEnd(), whole, nextOffset)
	}
	if got := everything(t, l.Log); !bytes.Equal(got, segment[:whole]) {
		t.Fatalf("%s: read %d bytes that are not the first %d", what, len(got), whole)
	}
	b := newBatch(2, 9000, 5, 'z')
	if base := l.mustAppend(t, b); base != nextOffset {
		t.Fatalf("%s: appended at %d, want %d", what, base, nextOffset)
	}
	want := append(bytes.Clone(segment[:whole]), b...)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, fsys, firstFile); !bytes.Equal(got, want) {
		t.Fatalf("%s: the file has %d bytes after an append, want %d", what, len(got), len(want))
	}
}

// A batch whose base offset is lower than the end of the one before it is the end
// of what can be believed; a gap is not.
func TestRecoverOffsets(t *testing.T) {
	at := func(offset int64) []byte {
		b := newBatch(2, 5, 5, 'x')
		b.Stamp(offset, 0)
		return b
	}
	one := len(at(0))
	for name, tc := range map[string]struct {
		file    []byte
		bytes   int
		nextEnd int64
	}{
		"back":     {bytes.Join([][]byte{at(0), at(2), at(3)}, nil), 2 * one, 4},
		"again":    {bytes.Join([][]byte{at(0), at(0)}, nil), one, 2},
		"gap":      {bytes.Join([][]byte{at(0), at(10)}, nil), 2 * one, 12},
		"negative": {at(-1), 0, 0},
		"far":      {at(1 << 31), 0, 0},
		"largest":  {at(1<<63 - 1), 0, 0},
		"badByte":  {append(at(0), append(bytes.Clone(at(2)[:one-1]), '!')...), one, 2},
	} {
		l := start(t, withSegment(t, tc.file), Options{}).mustOpen(t, "t-0", keepAll)
		if l.Size() != int64(tc.bytes) || l.EndOffset() != tc.nextEnd {
			t.Errorf("%s: kept %d bytes to offset %d, want %d to %d", name, l.Size(), l.EndOffset(), tc.bytes, tc.nextEnd)
		}
	}
}

// A batch may be larger than the buffer that recovery reads through.
func TestRecoverLargeBatch(t *testing.T) {
	b := newBatch(3, 5, scanBytes, 'x')
	l := start(t, withSegment(t, append(bytes.Clone(b), b[:len(b)-1]...)), Options{}).mustOpen(t, "t-0", keepAll)
	if l.Size() != int64(len(b)) || l.EndOffset() != 3 {
		t.Errorf("kept %d bytes to offset %d, want %d to 3", l.Size(), l.EndOffset(), len(b))
	}
	b[len(b)-1] ^= 1
	l = start(t, withSegment(t, b), Options{}).mustOpen(t, "t-0", keepAll)
	if l.Size() != 0 {
		t.Errorf("kept %d bytes with a wrong checksum", l.Size())
	}
}

// rolled returns a file system with a closed log of several segments, and their
// base offsets.
func rolled(t *testing.T, s Settings, batches int) (*disk.Crash, []int64, []byte) {
	t.Helper()
	fsys := disk.NewCrash(0)
	d := start(t, fsys, Options{})
	l := d.mustOpen(t, "t-0", s)
	for i := range batches {
		l.mustAppend(t, newBatch(1, int64(100*i), 400, byte('a'+i%26)))
	}
	var bases []int64
	for _, s := range l.view.Load().segments {
		bases = append(bases, s.baseOffset)
	}
	all := everything(t, l.Log)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	return fsys, bases, all
}

func segmentPath(base int64, ext string) string {
	return newSegment(logDir, base).path(ext)
}

// Whatever happens to index files, the log opens, finds everything, and the files
// of sealed segments are whole again.
func TestIndexRebuild(t *testing.T) {
	small := Settings{SegmentBytes: 16 << 10, RetentionBytes: -1, Retention: -1}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b = bytes.Clone(b); b[at] ^= 0x55; return b }
	}
	for name, damage := range map[string]func([]byte) []byte{
		"missing":  nil,
		"empty":    func([]byte) []byte { return nil },
		"short":    func(b []byte) []byte { return b[:len(b)-4] },
		"lostLast": func(b []byte) []byte { return b[:len(b)-24] },
		"zeroed":   func(b []byte) []byte { return make([]byte, len(b)) },
		"garbage":  func(b []byte) []byte { return bytes.Repeat([]byte{0xfe}, len(b)) },
		"first":    flip(0),
		"middle":   flip(9),
		"longer":   func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 24)...) },
	} {
		for _, ext := range []string{indexExt, timeIndexExt} {
			t.Run(name+ext, func(t *testing.T) {
				fsys, bases, all := rolled(t, small, 100)
				path := segmentPath(bases[1], ext)
				want := get(t, fsys, path)
				if damage == nil {
					if err := fsys.Remove(path); err != nil {
						t.Fatal(err)
					}
				} else {
					put(t, fsys, path, damage(want))
				}
				l := start(t, fsys, Options{}).mustOpen(t, "t-0", small)
				for offset := int64(0); offset < l.EndOffset(); offset++ {
					checkFind(t, l.Log, offset, 100*offset)
				}
				if got := everything(t, l.Log); !bytes.Equal(got, all) {
					t.Errorf("read %d bytes, want %d", len(got), len(all))
				}
				if got := get(t, fsys, path); !bytes.Equal(got, want) {
					t.Errorf("rebuilt index is %x, want %x", got, want)
				}
			})
		}
	}
}

// checkFind looks for a batch of one record by its offset and by its time.
func checkFind(t *testing.T, l *Log, offset, timestamp int64) {
	t.Helper()
	got, err := l.Read(offset, offset+1, 1, true)
	if err != nil || len(got) == 0 || record.Batch(got).BaseOffset() != offset {
		t.Fatalf("offset %d: read %d bytes, %v", offset, len(got), err)
	}
	b, found, err := l.BatchForTime(timestamp, 0, l.EndOffset())
	if err != nil || !found || b.BaseOffset() != offset {
		t.Fatalf("time %d: found %v, %v, want the batch at %d", timestamp, found, err, offset)
	}
}

// An offset index can be in order and still lead too far. A reader skips nothing
// for that.
func TestIndexLies(t *testing.T) {
	small := Settings{SegmentBytes: 16 << 10, RetentionBytes: -1, Retention: -1}
	fsys, bases, _ := rolled(t, small, 100)
	path := segmentPath(bases[1], indexExt)
	data := get(t, fsys, path)
	copy(data, make([]byte, 4)) // the first entry's place, under the segment's first offset
	put(t, fsys, path, data)
	l := start(t, fsys, Options{}).mustOpen(t, "t-0", small)
	for offset := range l.EndOffset() {
		if got, err := l.Read(offset, offset+1, 1, true); err != nil || len(got) == 0 || record.Batch(got).BaseOffset() != offset {
			t.Fatalf("offset %d: read %d bytes, %v", offset, len(got), err)
		}
	}
}

// What no index can be written for is found without.
func TestIndexRebuildOnFullDisk(t *testing.T) {
	small := Settings{SegmentBytes: 16 << 10, RetentionBytes: -1, Retention: -1}
	inner, bases, _ := rolled(t, small, 100)
	put(t, inner, segmentPath(bases[1], indexExt), []byte("not an index"))
	fsys := &faulty{FS: inner, onWrite: func(string, []byte) (int, error) { return 0, errNoSpace }}
	l := start(t, fsys, Options{}).mustOpen(t, "t-0", small)
	for offset := range l.EndOffset() {
		checkFind(t, l.Log, offset, 100*offset)
	}
}

// A log whose first segment is not the one at offset 0 is a log that retention has
// been at.
func TestStartNotZero(t *testing.T) {
	small := Settings{SegmentBytes: 1000, RetentionBytes: -1, Retention: -1}
	fsys, bases, all := rolled(t, small, 20)
	for _, base := range bases[:3] {
		if err := fsys.Remove(segmentPath(base, logExt)); err != nil {
			t.Fatal(err)
		}
	}
	l := start(t, fsys, Options{}).mustOpen(t, "t-0", small)
	if l.StartOffset() != bases[3] || l.EndOffset() != 20 || !bytes.HasSuffix(all, everything(t, l.Log)) {
		t.Errorf("log is %d to %d, want %d to 20", l.StartOffset(), l.EndOffset(), bases[3])
	}
	if _, err := fsys.Stat(segmentPath(bases[0], indexExt)); err == nil {
		t.Errorf("an index without its segment was left")
	}
}
