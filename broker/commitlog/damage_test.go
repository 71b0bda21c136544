package commitlog

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

var small = Settings{SegmentBytes: 1000, RetentionBytes: -1, Retention: -1}

// split cuts bytes into batches, which must be whole.
func split(t testing.TB, all []byte) (batches []record.Batch) {
	t.Helper()
	for len(all) > 0 {
		b, rest, err := record.Next(all)
		if err != nil {
			t.Fatal(err)
		}
		batches, all = append(batches, b), rest
	}
	return batches
}

// lost holds what a damaged log serves against what was appended: every batch must
// be one that was, at its offset. It returns the offsets that are missing, and in
// how many runs.
func lost(t testing.TB, l *Log, was []byte) (offsets, runs int64) {
	t.Helper()
	got, missing := split(t, everything(t, l)), false
	for _, b := range split(t, was) {
		if len(got) > 0 && same(got[0], b) {
			got, missing = got[1:], false
			continue
		}
		offsets += b.NextOffset() - b.BaseOffset()
		if !missing {
			runs, missing = runs+1, true
		}
	}
	if len(got) > 0 {
		t.Fatalf("a batch at offset %d is served that was not appended", got[0].BaseOffset())
	}
	return offsets, runs
}

// same compares two batches but for the leader epoch, of which nothing is a check.
func same(a, b record.Batch) bool {
	return len(a) == len(b) && bytes.Equal(a[:12], b[:12]) && bytes.Equal(a[atMagic:], b[atMagic:])
}

// A damaged segment costs what is damaged and nothing else, is said once, and
// reading goes on behind it.
func TestDamage(t *testing.T) {
	file := func(fsys disk.FS, path string, do func([]byte) []byte) func(*testing.T) {
		return func(t *testing.T) { put(t, fsys, path, do(bytes.Clone(get(t, fsys, path)))) }
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 4; return b }
	}
	const batch = 473 // bytes; two in a segment, one in the last
	for name, tc := range map[string]struct {
		segment int
		do      func([]byte) []byte // nil removes
		lost    int64
		kept    int64 // bytes in quarantine
	}{
		"missing":      {3, nil, 2, 0},
		"emptied":      {3, func([]byte) []byte { return nil }, 2, 0},
		"cut":          {3, func(b []byte) []byte { return b[:len(b)-1] }, 1, batch - 1},
		"zeroed":       {3, func(b []byte) []byte { return make([]byte, len(b)) }, 2, 2 * batch},
		"lengthened":   {3, func(b []byte) []byte { return append(b, 1, 2, 3) }, 0, 0}, // nobody reads there
		"first":        {0, flip(100), 1, batch},
		"firstMissing": {0, func([]byte) []byte { return nil }, 2, 0},
		"record":       {3, flip(batch + 100), 1, batch},
		"checksum":     {3, flip(atCRC), 1, batch},
		"magic":        {3, flip(atMagic), 1, batch},
		"length":       {3, flip(11), 1, batch},
		"longLength":   {3, flip(8), 1, batch},
		"offset":       {3, flip(7), 1, batch},
		"lastOffset":   {3, flip(batch + 7), 1, batch},
		"farOffset":    {3, flip(3), 1, batch},
		"active":       {9, flip(100), 1, batch},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, bases, all := rolled(t, small, 20)
			if len(bases) != 10 || len(all) != 20*batch {
				t.Fatalf("%d segments, %d bytes", len(bases), len(all))
			}
			path := segmentPath(bases[tc.segment], logExt)
			if tc.do != nil {
				file(fsys, path, tc.do)(t)
			} else if err := fsys.Remove(path); err != nil {
				t.Fatal(err)
			}
			for again := range 2 { // the second time there is nothing left to say
				d := start(t, fsys, Options{})
				l := d.mustOpen(t, "t-0", small)
				if l.StartOffset() != 0 || l.EndOffset() != 20 {
					t.Fatalf("log is %d to %d, want 0 to 20", l.StartOffset(), l.EndOffset())
				}
				offsets, runs := lost(t, l.Log, all)
				if offsets != tc.lost || runs > 1 {
					t.Errorf("%d offsets are lost in %d runs, want %d", offsets, runs, tc.lost)
				}
				if again == 1 {
					offsets, runs = 0, 0
				}
				if g, o := testutil.ToFloat64(d.metrics.gaps), testutil.ToFloat64(d.metrics.gapOffsets); g != float64(runs) || o != float64(offsets) {
					t.Errorf("start %d: %v gaps of %v offsets counted, want %d of %d", again, g, o, runs, offsets)
				}
				kept := must(quarantine{fsys, filepath.Join("data", quarantineDir), "t-0"}.keptBytes())
				if kept != tc.kept {
					t.Errorf("%d bytes in quarantine, want %d", kept, tc.kept)
				}
				if again == 1 {
					if base := l.mustAppend(t, newBatch(1, 0, 1, 'z')); base != 20 {
						t.Errorf("appended at %d, want 20", base)
					}
				}
				if err := d.stop(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// keptBytes is bytes, and none when nothing was ever put there.
func (q quarantine) keptBytes() (int64, error) {
	n, err := q.bytes()
	if removed(err) {
		return 0, nil
	}
	return n, err
}

// From inside a gap the next whole batch is read, whatever the gap is of.
func TestReadInGap(t *testing.T) {
	fsys, bases, _ := rolled(t, small, 20)
	if err := fsys.Remove(segmentPath(bases[3], logExt)); err != nil {
		t.Fatal(err)
	}
	path := segmentPath(bases[5], logExt)
	data := get(t, fsys, path)
	data[100] ^= 1
	put(t, fsys, path, data)
	l := start(t, fsys, Options{}).mustOpen(t, "t-0", small)
	for offset, want := range map[int64]int64{6: 8, 7: 8, 10: 11, 11: 11} {
		got, err := l.Read(offset, 20, 1, true)
		if err != nil || len(got) == 0 || record.Batch(got).BaseOffset() != want {
			t.Errorf("offset %d: %d bytes, %v, want the batch at %d", offset, len(got), err, want)
		}
	}
	for timestamp, want := range map[int64]int64{600: 8, 1000: 11, 1100: 11} {
		b, found, err := l.BatchForTime(timestamp, 0, 20)
		if err != nil || !found || b.BaseOffset() != want {
			t.Errorf("time %d: found %v, %v, want the batch at %d", timestamp, found, err, want)
		}
	}
}

// Damage that comes while the log is open is met by the reader, in whatever
// segment; a reader of what is whole does not notice.
func TestDamageLater(t *testing.T) {
	for _, segment := range []int{0, 4, 9} {
		fsys := disk.NewCrash(0)
		d := start(t, fsys, Options{})
		l := d.mustOpen(t, "t-0", small)
		for i := range 20 {
			l.mustAppend(t, newBatch(1, int64(100*i), 400, byte('a'+i%26)))
		}
		all := everything(t, l.Log)
		flipInPlace(t, fsys, l.view.Load().segments[segment].path(logExt), 100)
		if offsets, runs := lost(t, l.Log, all); offsets != 1 || runs != 1 {
			t.Errorf("segment %d: %d offsets are lost in %d runs, want 1", segment, offsets, runs)
		}
		if gaps := testutil.ToFloat64(d.metrics.gaps); gaps != 1 {
			t.Errorf("segment %d: %v gaps counted", segment, gaps)
		}
		if base := l.mustAppend(t, newBatch(1, 0, 1, 'z')); base != 20 {
			t.Errorf("segment %d: appended at %d, want 20", segment, base)
		}
	}
}

func flipInPlace(t testing.TB, fsys disk.FS, path string, at int64) {
	t.Helper()
	f, err := fsys.OpenFile(path, 2, 0) // os.O_RDWR
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// When there is no room to write a segment anew, what is whole is read around the
// damage, at the start and later.
func TestDamageOnFullDisk(t *testing.T) {
	for _, segment := range []int{0, 4, 9} {
		inner, bases, all := rolled(t, Settings{SegmentBytes: 2000, RetentionBytes: -1, Retention: -1}, 40)
		flipInPlace(t, inner, segmentPath(bases[segment], logExt), 600)
		fsys := &faulty{FS: inner, onWrite: func(string, []byte) (int, error) { return 0, errNoSpace }}
		d := start(t, fsys, Options{})
		l := d.mustOpen(t, "t-0", small)
		if offsets, runs := lost(t, l.Log, all); offsets != 1 || runs != 1 {
			t.Errorf("segment %d: %d offsets are lost in %d runs, want 1", segment, offsets, runs)
		}
		for offset := range l.EndOffset() {
			if b, found, err := l.BatchForTime(100*offset, 0, 40); err != nil || !found || b.BaseOffset() < offset || b.BaseOffset() > offset+1 {
				t.Errorf("segment %d: time %d: found %v, %v", segment, 100*offset, found, err)
			}
		}
	}
}

// badBlocks cannot read some bytes of one file, until another takes its name.
type badBlocks struct {
	disk.FS
	path     string
	from, to int64
}

func (f *badBlocks) Rename(from, to string) error {
	if to == f.path {
		f.path = ""
	}
	return f.FS.Rename(from, to)
}

func (f *badBlocks) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || name != f.path {
		return file, err
	}
	return badFile{file, f.from, f.to}, nil
}

type badFile struct {
	disk.File
	from, to int64
}

func (f badFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(p)) > f.from {
		return 0, fmt.Errorf("read: %w", syscall.EIO)
	}
	return f.File.ReadAt(p, off)
}

// A block that cannot be read costs the batches in it.
func TestUnreadableBlock(t *testing.T) {
	large := Settings{SegmentBytes: 40 << 10, RetentionBytes: -1, Retention: -1}
	for _, segment := range []int{0, 1, 2} {
		inner, bases, all := rolled(t, large, 200)
		fsys := &badBlocks{inner, segmentPath(bases[segment], logExt), 8 << 10, 12 << 10}
		d := start(t, fsys, Options{})
		l := d.mustOpen(t, "t-0", large)
		offsets, runs := lost(t, l.Log, all)
		if offsets < 9 || offsets > 10 || runs != 1 || testutil.ToFloat64(d.metrics.gapOffsets) != float64(offsets) {
			t.Errorf("segment %d: %d offsets are lost in %d runs, want 9 or 10 in one", segment, offsets, runs)
		}
	}
}

// What looks like a batch in a record is none, also when the batch around it is
// damaged.
func TestBatchInRecord(t *testing.T) {
	inside := newBatch(1, 0, 50, 'i')
	inside.Stamp(2, 0)
	for _, at := range []int{11, 70} { // the length; a byte of the record
		fsys := disk.NewCrash(0)
		d := start(t, fsys, Options{})
		l := d.mustOpen(t, "t-0", keepAll)
		for i := range 4 {
			var bu record.Builder
			bu.Add(int64(i), nil, append(slices.Clone([]byte(inside)), "more"...), nil)
			l.mustAppend(t, bu.Batch())
		}
		all := everything(t, l.Log)
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		flipInPlace(t, fsys, segmentPath(0, logExt), int64(len(all)/4+at))
		l = start(t, fsys, Options{}).mustOpen(t, "t-0", keepAll)
		if offsets, runs := lost(t, l.Log, all); offsets != 1 || runs != 1 {
			t.Errorf("byte %d: %d offsets lost in %d runs", at, offsets, runs)
		}
	}
}

// What a power cut left of batches that were not synced may have holes: a later
// batch is there and an earlier one is not. The log ends before the first hole, so
// that no producer's batches are out of order, and the rest is kept aside.
func TestHoleInTornTail(t *testing.T) {
	var file []byte
	for i := range 4 {
		b := newBatch(1, int64(i), 100, 'v')
		b.Stamp(int64(i), 0)
		file = append(file, b...)
	}
	size := len(file) / 4
	for name, hole := range map[string][2]int{"second": {1, 2}, "secondAndThird": {1, 3}, "first": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			left := bytes.Clone(file)
			clear(left[hole[0]*size : hole[1]*size])
			d := start(t, withSegment(t, left), Options{})
			l := d.mustOpen(t, "t-0", keepAll)
			if want := int64(hole[0]); l.EndOffset() != want || l.Size() != want*int64(size) {
				t.Errorf("the log ends at offset %d and byte %d, want %d and %d", l.EndOffset(), l.Size(), want, want*int64(size))
			}
			if got, want := testutil.ToFloat64(d.metrics.quarantined), float64(len(file)-hole[0]*size); got != want {
				t.Errorf("%v bytes kept aside, want %v", got, want)
			}
			if base := l.mustAppend(t, newBatch(1, 9, 100, 'n')); base != int64(hole[0]) {
				t.Errorf("the next batch is at offset %d, want %d", base, hole[0])
			}
		})
	}
}

// A bit flips somewhere in a data directory: it opens, serves what is whole at its
// offsets and nothing with a wrong checksum, and counts what is gone.
func TestFlips(t *testing.T) {
	inner, _, all := rolled(t, Settings{SegmentBytes: 6000, RetentionBytes: -1, Retention: -1}, 60)
	image := allFiles(t, inner, "data")
	names := slices.Sorted(maps.Keys(image))
	total := 0
	for _, name := range names {
		total += len(image[name])
	}
	// What nothing contradicts is not noticed: the offset of the last batch, or one
	// that takes a lost neighbour's place. This seed meets neither.
	rng := rand.New(rand.NewPCG(5, 0))
	for round := range 1000 {
		flips := 1
		if round%10 == 9 {
			flips = 1 + rng.IntN(30)
		}
		fsys := disk.NewCrash(0)
		var where []string
		copied := map[string][]byte{}
		for _, name := range names {
			copied[name] = bytes.Clone(image[name])
		}
		for range flips {
			at := rng.IntN(total)
			for _, name := range names {
				if at < len(copied[name]) {
					copied[name][at] ^= 1 << rng.IntN(8)
					where = append(where, fmt.Sprintf("%s:%d", name, at))
					break
				}
				at -= len(copied[name])
			}
		}
		for _, name := range names {
			if err := fsys.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, fsys, name, copied[name])
		}
		checkFlipped(t, fsys, all, fmt.Sprintf("round %d, %s", round, strings.Join(where, " ")))
		if t.Failed() {
			return
		}
	}
}

func checkFlipped(t *testing.T, fsys disk.FS, all []byte, what string) {
	d, err := run(fsys, "data", Options{})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer d.stop()
	l, err := d.open("t-0", topicA, keepAll)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	offsets, _ := lost(t, l.Log, all)
	if missing := 60 - l.EndOffset(); missing > 0 { // taken for a torn tail
		offsets -= missing
	}
	if counted := testutil.ToFloat64(d.metrics.gapOffsets); counted != float64(offsets) {
		t.Errorf("%s: %d offsets are lost, %v counted", what, offsets, counted)
	}
}

// allFiles returns what is in the files below a directory, by path.
func allFiles(t testing.TB, fsys disk.FS, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for _, e := range must(fsys.ReadDir(dir)) {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			maps.Copy(found, allFiles(t, fsys, path))
		} else {
			found[path] = get(t, fsys, path)
		}
	}
	return found
}
