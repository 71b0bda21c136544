package commitlog

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// A coarser index still leads to a batch at or before the one that is looked for,
// by offset and by time, and keeps its last entry, however often it is thinned.
func TestThinIndex(t *testing.T) {
	x := newIndex(100)
	positions := map[int64]int64{} // of the batches, by their relative last offset
	b, pos := newBatch(3, 0, 10, 'x'), int64(0)
	const batches = 3000
	for i := range int64(batches) {
		b.Stamp(100+3*i, 1)
		b = withTimes(t, b, 1000+i)
		x.add(b, pos, 1000)
		positions[b.LastOffset()-100] = pos
		pos += 1000
	}
	lastBefore, _, err := x.tables().offsets.offsetEntry(x.tables().offsets.n - 1)
	if err != nil {
		t.Fatal(err)
	}
	for before := x.tables().offsets.n; x.thin(); before = x.tables().offsets.n {
		tables := x.tables()
		if tables.offsets.n != (before+1)/2 {
			t.Fatalf("%d entries are left of %d", tables.offsets.n, before)
		}
		if err := tables.check(pos); err != nil {
			t.Fatal(err)
		}
		last, _, err := tables.offsets.offsetEntry(tables.offsets.n - 1)
		if last != lastBefore || err != nil {
			t.Errorf("the last entry is of offset %d, %v, want %d", last, err, lastBefore)
		}
		for offset := int64(0); offset < 3*batches; offset += 17 {
			at, last, err := tables.floor(offset)
			if want := positions[offset/3*3+2]; err != nil || at > want || last >= 0 && positions[last] != at {
				t.Fatalf("offset %d: position %d of last offset %d, %v; it stands at %d", offset, at, last, err, want)
			}
			reached, err := tables.floorTime(1000 + offset/3)
			if err != nil || reached > offset/3*3+2 {
				t.Fatalf("time of offset %d: reached at %d, %v", offset, reached, err)
			}
		}
	}
	if n := x.tables().offsets.n; n > minIndexEntries || n < minIndexEntries/4 {
		t.Errorf("%d entries are left at last", n)
	}
}

// withTimes returns a batch like b whose records all have the timestamp.
func withTimes(t *testing.T, b record.Batch, timestamp int64) record.Batch {
	t.Helper()
	var bu record.Builder
	for range 3 {
		bu.Add(timestamp, nil, bytes.Repeat([]byte{'x'}, 10), nil)
	}
	n := bu.Batch()
	n.Stamp(b.BaseOffset(), 1)
	return n
}

// However much is written, the indexes in memory take no more than they may, and
// each batch is found. Sealed segments get indexes that nothing is wrong with, and
// a log that is closed holds nothing.
func TestIndexMemoryIsBounded(t *testing.T) {
	const limit, logs = 16 << 10, 10 // less than their indexes would take
	d := start(t, disk.NewCrash(0), Options{Policy: OS, IndexBytes: limit})
	for i := range logs {
		l := d.mustOpen(t, fmt.Sprintf("t-%d", i), Settings{SegmentBytes: 4 << 20, RetentionBytes: -1, Retention: -1})
		for j := range int64(600) {
			l.mustAppend(t, newBatch(2, j, 4000, byte('a'+i)))
			if used := d.indexes.used.Load(); used > limit {
				t.Fatalf("%d bytes of indexes, %d are allowed", used, limit)
			}
		}
		for offset := int64(0); offset < l.EndOffset(); offset += 77 {
			got, err := l.Read(offset, l.EndOffset(), 1, true)
			if err != nil || record.Batch(got).BaseOffset() != offset/2*2 {
				t.Fatalf("read at %d: %d bytes, %v", offset, len(got), err)
			}
		}
		segments := l.view.Load().segments
		if len(segments) != 2 {
			t.Fatalf("%d segments, want 2", len(segments))
		}
		if err := l.checkIndexes(segments[0]); err != nil {
			t.Error(err)
		}
		if err := l.checkEnd(segments[0]); err != nil {
			t.Error(err)
		}
	}
	var counted int64
	for x := range d.indexes.all {
		counted += int64(cap(x.offsets) + cap(x.times))
	}
	if len(d.indexes.all) != logs || counted != d.indexes.used.Load() {
		t.Errorf("%d indexes of %d bytes, %d counted; want %d indexes", len(d.indexes.all), counted, d.indexes.used.Load(), logs)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if used := d.indexes.used.Load(); used != 0 || len(d.indexes.all) != 0 {
		t.Errorf("%d bytes of %d indexes after Close", used, len(d.indexes.all))
	}
}
