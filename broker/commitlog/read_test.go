package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// tenBatches returns a log of ten batches of three records, in segments of two
// batches, and the bytes of each batch.
func tenBatches(t *testing.T) (*watched, [][]byte) {
	l := start(t, disk.NewCrash(0), Options{}).mustOpen(t, "t-0", Settings{SegmentBytes: 700, RetentionBytes: -1, Retention: -1})
	var batches [][]byte
	for i := range 10 {
		b := newBatch(3, int64(1000*i), 80, byte('a'+i))
		l.mustAppend(t, b)
		batches = append(batches, b)
	}
	if n := len(l.view.Load().segments); n != 5 {
		t.Fatalf("%d segments, want 5", n)
	}
	return l, batches
}

func TestRead(t *testing.T) {
	l, batches := tenBatches(t)
	size := len(batches[0])
	const all = 1 << 20
	for name, tc := range map[string]struct {
		from, end   int64
		maxBytes    int
		atLeastOne  bool
		first, last int // batches that must come, last exclusive
		want        error
	}{
		"all":                   {from: 0, end: 30, maxBytes: all, first: 0, last: 10},
		"endFarAway":            {from: 0, end: 1 << 40, maxBytes: all, first: 0, last: 10},
		"middleOfBatch":         {from: 4, end: 30, maxBytes: all, first: 1, last: 10},
		"lastOfBatch":           {from: 5, end: 30, maxBytes: all, first: 1, last: 10},
		"lastOfSegment":         {from: 11, end: 30, maxBytes: all, first: 3, last: 10},
		"acrossSegments":        {from: 3, end: 30, maxBytes: 4 * size, first: 1, last: 5},
		"maxBytesOfOne":         {from: 3, end: 30, maxBytes: size, first: 1, last: 2},
		"maxBytesAndSome":       {from: 3, end: 30, maxBytes: 2*size - 1, first: 1, last: 2},
		"maxBytesTooFew":        {from: 3, end: 30, maxBytes: size - 1},
		"atLeastOne":            {from: 3, end: 30, maxBytes: size - 1, atLeastOne: true, first: 1, last: 2},
		"atLeastOneOfNone":      {from: 29, end: 30, maxBytes: 0, atLeastOne: true, first: 9, last: 10},
		"negativeMaxBytes":      {from: 3, end: 30, maxBytes: -5},
		"endOffset":             {from: 0, end: 6, maxBytes: all, first: 0, last: 2},
		"endOffsetInBatch":      {from: 0, end: 8, maxBytes: all, first: 0, last: 2},
		"atEndOffset":           {from: 6, end: 6, maxBytes: all, atLeastOne: true},
		"pastEndOffset":         {from: 9, end: 6, maxBytes: all, atLeastOne: true},
		"endOffsetBeatsAtLeast": {from: 6, end: 8, maxBytes: all, atLeastOne: true},
		"atEnd":                 {from: 30, end: 30, maxBytes: all, atLeastOne: true},
		"afterEnd":              {from: 31, end: 40, maxBytes: all, want: ErrOffsetOutOfRange},
		"beforeStart":           {from: -1, end: 30, maxBytes: all, want: ErrOffsetOutOfRange},
	} {
		got, err := l.Read(tc.from, tc.end, tc.maxBytes, tc.atLeastOne)
		want := bytes.Join(batches[tc.first:tc.last], nil)
		if !errors.Is(err, tc.want) || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d, %v", name, len(got), err, len(want), tc.want)
		}
	}
}

func TestBatchForTime(t *testing.T) {
	l, batches := tenBatches(t)
	for name, tc := range map[string]struct {
		timestamp, end int64
		batch          int // -1: none
	}{
		"veryFirst":        {0, 30, 0},
		"longBefore":       {-1 << 60, 30, 0},
		"lastOfBatch":      {1002, 30, 1},
		"betweenBatches":   {1003, 30, 2},
		"betweenSegments":  {3003, 30, 4},
		"lastOfAll":        {9002, 30, 9},
		"afterAll":         {9003, 30, -1},
		"notBelowTheEnd":   {6000, 20, -1},
		"lastBelowTheEnd":  {5000, 18, 5},
		"endWithinTheOne":  {5000, 17, -1},
		"nothingBelowZero": {0, 0, -1},
	} {
		b, found, err := l.BatchForTime(tc.timestamp, 0, tc.end)
		switch {
		case err != nil || found != (tc.batch >= 0):
			t.Errorf("%s: found %v, %v", name, found, err)
		case found && !bytes.Equal(b, batches[tc.batch]):
			t.Errorf("%s: found the batch at offset %d, want %d", name, b.BaseOffset(), 3*tc.batch)
		}
	}
}

// Producers' clocks go back. The first batch that reaches the time is the one.
func TestBatchForTimeOutOfOrder(t *testing.T) {
	times := []int64{500, 100, 900, 200, 700, 1000, 50, 1000, 999, 1500}
	l := start(t, disk.NewCrash(0), Options{}).mustOpen(t, "t-0", Settings{SegmentBytes: 20 << 10, RetentionBytes: -1, Retention: -1})
	for _, at := range times {
		l.mustAppend(t, newBatch(1, at, 5000, 'x')) // more than the indexes' interval
	}
	for at := int64(0); at <= 1501; at++ {
		want := -1
		for i, reached := range times {
			if reached >= at {
				want = i
				break
			}
		}
		b, found, err := l.BatchForTime(at, 0, l.EndOffset())
		if err != nil || found != (want >= 0) || found && b.BaseOffset() != int64(want) {
			t.Fatalf("time %d: found %v, %v, want batch %d", at, found, err, want)
		}
	}
}

// The files are those that kafka-dump-log takes: an entry of the offset index is a
// batch's last offset and its place, one of the time index the greatest timestamp
// so far and the last offset of its batch, and the sealed one ends with the
// greatest of all.
func TestIndexFiles(t *testing.T) {
	fsys := disk.NewCrash(0)
	d := start(t, fsys, Options{})
	l := d.mustOpen(t, "t-0", keepAll)
	size := 0
	for i := range 12 {
		b := newBatch(2, int64(100*(i%7)), 700, 'x')
		l.mustAppend(t, b)
		size = len(b)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	// 1.5 KB a batch: an entry for every third, the 4th, 7th and 10th.
	wantOffsets := fmt.Sprintf("%08x%08x%08x%08x%08x%08x", 7, 3*size, 13, 6*size, 19, 9*size)
	wantTimes := fmt.Sprintf("%016x%08x%016x%08x", 301, 7, 601, 13)
	if got := fmt.Sprintf("%x", get(t, fsys, segmentPath(0, indexExt))); got != wantOffsets {
		t.Errorf("offset index %s, want %s", got, wantOffsets)
	}
	if got := fmt.Sprintf("%x", get(t, fsys, segmentPath(0, timeIndexExt))); got != wantTimes {
		t.Errorf("time index %s, want %s", got, wantTimes)
	}
}

// An index leads to the last entry at or before what is looked for.
func TestFloor(t *testing.T) {
	x := newIndex(100)
	for i := range 4 { // an entry each, but for the first: last offsets 103, 105, 107
		b := newBatch(2, int64(10*i), 5000, 'x')
		b.Stamp(int64(100+2*i), 0)
		x.add(b, int64(1000*i), int64(len(b)))
	}
	for offset, want := range map[int64]int64{0: 0, 2: 0, 3: 1000, 4: 1000, 5: 2000, 6: 2000, 7: 3000, 99: 3000} {
		if got, _, err := x.tables().floor(offset); got != want || err != nil {
			t.Errorf("relative offset %d: byte %d, %v, want %d", offset, got, err, want)
		}
	}
	for timestamp, want := range map[int64]int64{0: 0, 10: 0, 11: 3, 20: 3, 21: 5, 31: 7, 99: 7} {
		if got, err := x.tables().floorTime(timestamp); got != want || err != nil {
			t.Errorf("time %d: relative offset %d, %v, want %d", timestamp, got, err, want)
		}
	}
}

// Every offset and time is found by every kind of index: in memory, on disk, and
// on disk of a log opened later.
func TestFindEverything(t *testing.T) {
	s := Settings{SegmentBytes: 30 << 10, RetentionBytes: -1, Retention: -1}
	fsys, bases, _ := rolled(t, s, 300)
	if len(bases) < 4 {
		t.Fatalf("%d segments", len(bases))
	}
	l := start(t, fsys, Options{}).mustOpen(t, "t-0", s)
	for offset := range l.EndOffset() {
		checkFind(t, l.Log, offset, 100*offset)
		checkFind(t, l.Log, offset, 100*offset-99)
	}
}

// Readers meet appends, rolls, retention and the end of the log: what they get is
// whole batches from the offset they asked for, or that it is no longer there.
func TestReadMeanwhile(t *testing.T) {
	d := start(t, disk.OS{}, Options{Policy: OS})
	l := d.mustOpen(t, "t-0", Settings{SegmentBytes: 3000, RetentionBytes: 9000, Retention: -1})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { readAlong(t, l, int64(i)) })
	}
	for i := range 3000 {
		l.mustAppend(t, newBatch(2, int64(i), 50, byte(i)))
		if i%20 == 19 {
			if _, err := l.Retain(l.EndOffset()); err != nil {
				t.Error(err)
			}
		}
	}
	if err := d.DeleteLog("t-0"); err != nil {
		t.Error(err)
	}
	again := d.mustOpen(t, "t-0", keepAll) // in the same files
	again.mustAppend(t, newBatch(2, 0, 50, 0xee))
	all.Wait()
}

// readAlong reads until the log is closed.
func readAlong(t *testing.T, l *watched, at int64) {
	for {
		got, err := l.Read(at, l.DurableEnd(), 2000, true)
		switch {
		case errors.Is(err, ErrClosed):
			return
		case errors.Is(err, ErrOffsetOutOfRange):
			at = l.StartOffset()
			continue
		case err != nil:
			t.Error(err)
			return
		}
		for rest := got; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err != nil || b.BaseOffset() > at || b.NextOffset() <= at || b.Payload()[20] != byte(b.BaseOffset()/2) {
				t.Errorf("at offset %d: a batch from %d to %d, %v", at, b.BaseOffset(), b.NextOffset(), err)
				return
			}
			at, rest = b.NextOffset(), after
		}
		if _, _, err := l.BatchForTime(at/2, 0, l.DurableEnd()); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
			return
		}
	}
}

// However many segments are read, few files stay open, and none that retention
// removed.
func TestOpenFiles(t *testing.T) {
	d := start(t, disk.NewCrash(0), Options{Policy: OS})
	l := d.mustOpen(t, "t-0", Settings{SegmentBytes: 100, RetentionBytes: -1, Retention: -1})
	for i := range 2 * d.files.limit {
		l.mustAppend(t, newBatch(1, int64(i), 100, 'x'))
	}
	everything(t, l.Log)
	if n := len(d.files.open); n != d.files.limit || d.files.recent.Len() != n {
		t.Errorf("%d files open, %d in order, want %d", n, d.files.recent.Len(), d.files.limit)
	}
	l.Configure(Settings{SegmentBytes: 100, RetentionBytes: 0, Retention: -1})
	if _, err := l.Retain(l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	if n := len(d.files.open); n > 1 {
		t.Errorf("%d files open after all but one segment went", n)
	}
}

// The last epoch is that of the last batch: after a restart, a roll that left the
// active segment empty, and with an index in the way.
func TestLastEpoch(t *testing.T) {
	fsys := disk.NewCrash(1)
	d := start(t, fsys, Options{})
	w, err := d.open("telemetry-0", topicA, keepAll)
	if err != nil {
		t.Fatal(err)
	}
	check := func(l *Log, want int32) {
		t.Helper()
		if got, err := l.LastEpoch(); got != want || err != nil {
			t.Errorf("got epoch %d, %v; want %d", got, err, want)
		}
	}
	check(w.Log, -1)
	for epoch := range int32(40) {
		if _, err := w.Append(newBatch(2, 1000, 600, 'v'), epoch); err != nil {
			t.Fatal(err)
		}
		check(w.Log, epoch)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	d = start(t, fsys, Options{})
	if w, err = d.open("telemetry-0", topicA, keepAll); err != nil {
		t.Fatal(err)
	}
	check(w.Log, 39)
	w.appendMu.Lock()
	err = w.roll()
	w.appendMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	check(w.Log, 39)
}
