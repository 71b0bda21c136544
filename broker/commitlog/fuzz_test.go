package commitlog

import (
	"bytes"
	"testing"

	"github.com/headwater/headwater/broker/record"
)

// Whatever a segment's file holds that was not synced, the log opens, keeps whole
// batches from its beginning and nothing else, and goes on from there.
func FuzzRecover(f *testing.F) {
	var file []byte
	for i := range 3 {
		b := newBatch(2, int64(i), 20, 'x')
		b.Stamp(int64(2*i), 0)
		file = append(file, b...)
	}
	f.Add(file)
	f.Add(file[:len(file)-7])
	f.Add(append(bytes.Clone(file[:200]), make([]byte, 300)...))
	f.Add(append(bytes.Clone(file), 0, 0, 0, 0, 0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 2))
	f.Add(append(append(bytes.Clone(file[:100]), 7), file[101:]...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		fsys := withSegment(t, file)
		d := start(t, fsys, Options{Policy: OS})
		l := d.mustOpen(t, "t-0", keepAll)
		kept, end := everything(t, l.Log), int64(0)
		if int64(len(kept)) != l.Size() || !bytes.HasPrefix(file, kept) {
			t.Fatalf("%d bytes kept of %d, and the log has %d", len(kept), len(file), l.Size())
		}
		for rest, left := kept, file; len(rest) > 0; {
			b, after, err := record.Next(rest)
			at := bytes.Index(left, b)
			if err != nil || b.BaseOffset() < end || at < 0 {
				t.Fatalf("%d bytes kept, of which the last %d are no batch of the file: %v", len(kept), len(rest), err)
			}
			end, rest, left = b.NextOffset(), after, left[at+len(b):]
		}
		if l.EndOffset() != end {
			t.Fatalf("log ends at %d, want %d", l.EndOffset(), end)
		}
		if base, err := l.Append(newBatch(1, 0, 1, 'y'), 0); err != nil || base != end {
			t.Fatalf("appended at %d, %v, want %d", base, err, end)
		}
	})
}

// Whatever index files hold, looking something up in them neither panics nor, once
// they were checked, leads out of the segment.
func FuzzIndexFiles(f *testing.F) {
	x := newIndex(10)
	for i := range 20 {
		b := newBatch(2, int64(100*i), 1000, 'x')
		b.Stamp(int64(10+2*i), 0)
		x.add(b, int64(i*len(b)), int64(len(b)))
	}
	offsets, times := x.files()
	f.Add(offsets, times, int64(50_000), int64(7))
	f.Add(offsets[:9], times, int64(50_000), int64(7))
	f.Add(times, offsets, int64(100), int64(-1))
	f.Add([]byte{}, []byte{}, int64(0), int64(0))
	f.Fuzz(func(t *testing.T, offsets, times []byte, segmentBytes, target int64) {
		tables, err := readTables(bytes.NewReader(offsets), bytes.NewReader(times), int64(len(offsets)), int64(len(times)))
		if err != nil {
			return
		}
		checked := tables.check(segmentBytes)
		pos, _, err := tables.floor(target)
		if checked == nil && (err != nil || pos < 0 || pos > 0 && pos >= segmentBytes) {
			t.Errorf("offset %d is at byte %d of %d, %v", target, pos, segmentBytes, err)
		}
		offset, err := tables.floorTime(target)
		if checked == nil && (err != nil || offset < 0 || tables.maxTimestamp < -1) {
			t.Errorf("time %d is at offset %d, %v", target, offset, err)
		}
	})
}

// Whatever the identity files hold, they are read or refused, and what is read is
// written and read again the same.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte("version=0\nbroker.id=1\ncluster.id=abc\nheadwater.incarnation=def\n"))
	f.Add([]byte("#x\n\nversion=0\nbroker.id = -1\ncluster.id= a=b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := parseIdentity(data)
		if err != nil {
			return
		}
		again, err := parseIdentity(id.format())
		if err != nil || again != id {
			t.Errorf("%+v became %+v, %v", id, again, err)
		}
	})
}
