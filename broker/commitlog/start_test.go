package commitlog

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// deletable is a log of 20 batches of two records, four batches in a segment, all
// durable, of which the records before some offset are deleted.
func deletable(t *testing.T, fsys disk.FS, o Options, before int64) (*running, *watched, []byte) {
	t.Helper()
	d := start(t, fsys, o)
	l := d.mustOpen(t, "t-0", Settings{SegmentBytes: 2000, RetentionBytes: -1, Retention: -1})
	for i := range 20 {
		l.mustAppend(t, newBatch(2, int64(100*i), 200, byte('a'+i)))
	}
	mustDo(t, l.await(40))
	all := everything(t, l.Log)
	if before < 40 { // what is kept is to be found, whatever the policy
		mustDo(t, l.Flush())
	}
	if got, err := l.DeleteBefore(before); got != before || err != nil {
		t.Fatalf("deleted before %d, %v, want %d", got, err, before)
	}
	return d, l, all
}

// checkStart looks for a log that starts at an offset and is whole from there on.
func checkStart(t *testing.T, l *Log, logStartOffset int64, all []byte) {
	t.Helper()
	if l.StartOffset() != logStartOffset || l.EndOffset() != 40 || l.DurableEnd() != 40 {
		t.Fatalf("log is %d to %d, durable to %d, want %d to 40", l.StartOffset(), l.EndOffset(), l.DurableEnd(), logStartOffset)
	}
	var want []byte
	for _, b := range split(t, all) {
		if b.NextOffset() > logStartOffset {
			want = append(want, b...)
		}
	}
	if got := everything(t, l); !bytes.Equal(got, want) {
		t.Errorf("from %d on there are %d bytes, want %d", logStartOffset, len(got), len(want))
	}
	for _, offset := range []int64{0, logStartOffset - 1} {
		if _, err := l.Read(offset, 40, 1<<20, true); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("reading at %d ended with %v", offset, err)
		}
	}
}

// The start is where it was answered to be: at once, after a clean stop, after a
// kill and after a power cut, though it is inside a batch, and though our checkpoint
// is damaged.
func TestDeleteBefore(t *testing.T) {
	for name, again := range map[string]func(t *testing.T, d *running, crash *disk.Crash) *disk.Crash{
		"clean": func(t *testing.T, d *running, crash *disk.Crash) *disk.Crash { mustDo(t, d.stop()); return crash },
		"kill":  func(_ *testing.T, _ *running, crash *disk.Crash) *disk.Crash { return crash.Kill() },
		"cut":   func(_ *testing.T, _ *running, crash *disk.Crash) *disk.Crash { return crash.Restart(7) },
		"damaged": func(t *testing.T, d *running, crash *disk.Crash) *disk.Crash {
			crash = crash.Restart(7)
			flipInPlace(t, crash, "data/"+checkpointFile, 40)
			return crash
		},
	} {
		for _, policy := range []Policy{Sync, OS} {
			for _, before := range []int64{1, 5, 8, 13, 40} {
				crash := disk.NewCrash(1)
				d, l, all := deletable(t, crash, Options{Policy: policy}, before)
				checkStart(t, l.Log, before, all)
				crash = again(t, d, crash)
				l = start(t, crash, Options{Policy: policy}).mustOpen(t, "t-0", keepAll)
				checkStart(t, l.Log, before, all)
				if base := l.mustAppend(t, newBatch(1, 0, 1, 'n')); base != 40 {
					t.Errorf("%s, %v, before %d: the next batch is at offset %d", name, policy, before, base)
				}
			}
		}
	}
}

// What lies before the start altogether goes, and is counted under a reason of its
// own; what is in a segment with other records goes with them, and counts once.
func TestDeleteBeforeCounts(t *testing.T) {
	d, l, _ := deletable(t, disk.NewCrash(0), Options{}, 13)
	check := func(reason string, records, bytes int64) {
		t.Helper()
		gotRecords := testutil.ToFloat64(d.metrics.droppedRecords.WithLabelValues(reason))
		gotBytes := testutil.ToFloat64(d.metrics.droppedBytes.WithLabelValues(reason))
		if gotRecords != float64(records) || gotBytes != float64(bytes) {
			t.Errorf("%s: %v records and %v bytes, want %d and %d", reason, gotRecords, gotBytes, records, bytes)
		}
	}
	one := l.Size() / 16 // four of 20 batches went with their segment
	check("delete_records", 13, 4*one)
	if v := l.view.Load(); len(v.segments) != 4 || v.startOffset() != 8 {
		t.Errorf("%d segments from %d on", len(v.segments), v.startOffset())
	}
	for _, offset := range []int64{-1, 0, 12, 13} {
		if got, err := l.DeleteBefore(offset); got != 13 || err != nil {
			t.Errorf("deleted before %d: %d, %v", offset, got, err)
		}
	}
	if got, err := l.DeleteBefore(41); !errors.Is(err, ErrOffsetOutOfRange) || l.StartOffset() != 13 {
		t.Errorf("deleted past the end: %d, %v", got, err)
	}
	check("delete_records", 13, 4*one)

	l.Configure(Settings{SegmentBytes: 2000, RetentionBytes: 13 * one, Retention: -1})
	l.mustAppend(t, newBatch(2, 0, 200, 'z'))
	mustDo(t, l.await(42))
	if _, err := l.Retain(42); err != nil {
		t.Fatal(err)
	}
	check("retention", 3, 4*one) // 13, 14 and 15
	check("delete_records", 13, 4*one)

	if _, err := l.DeleteBefore(19); err != nil {
		t.Fatal(err)
	}
	if bytes, records, err := l.dropFirst(l.view.Load().segments[0], byBudget); bytes != 4*one || records != 5 || err != nil {
		t.Errorf("dropped %d bytes and %d records, %v", bytes, records, err)
	}
	check("budget", 5, 4*one)
	if l.StartOffset() != 24 {
		t.Errorf("log starts at %d", l.StartOffset())
	}

	if _, err := l.DeleteBefore(42); err != nil {
		t.Fatal(err)
	}
	if l.Size() != 0 || d.budget.used.Load() != 0 || len(l.view.Load().segments) != 1 {
		t.Errorf("%d bytes are left of nothing, %d of the budget, %d segments", l.Size(), d.budget.used.Load(), len(l.view.Load().segments))
	}
}

// Segments of deleted records that could not be removed go with the next retention.
func TestDeleteBeforeRemovesLater(t *testing.T) {
	_, l, _ := deletable(t, disk.NewCrash(0), Options{}, 5)
	l.start.Store(26) // as a kill leaves it, between the two steps of a deletion
	removed, err := l.Retain(40)
	if v := l.view.Load(); err != nil || v.startOffset() != 24 || removed == 0 {
		t.Errorf("removed %d bytes, %v; segments from %d on", removed, err, v.startOffset())
	}
}

// When the files of a log are lost, its offsets are not given again, and what was
// deleted is not missed.
func TestDeletedAndLost(t *testing.T) {
	for _, before := range []int64{13, 40} {
		crash := disk.NewCrash(0)
		d, _, _ := deletable(t, crash, Options{}, before)
		mustDo(t, d.stop())
		for path := range allFiles(t, crash, logDir) {
			if strings.HasSuffix(path, logExt) {
				mustDo(t, crash.Remove(path))
			}
		}
		d = start(t, crash, Options{})
		l := d.mustOpen(t, "t-0", keepAll)
		if l.StartOffset() != 40 || l.EndOffset() != 40 || l.DurableEnd() != 40 {
			t.Errorf("log is %d to %d, want 40 to 40", l.StartOffset(), l.EndOffset())
		}
		if got, want := testutil.ToFloat64(d.metrics.gapOffsets), float64(40-before); got != want {
			t.Errorf("before %d: %v offsets are counted as lost, want %v", before, got, want)
		}
		l.mustAppend(t, newBatch(1, 0, 1, 'n'))
		if b := record.Batch(everything(t, l.Log)); b.BaseOffset() != 40 {
			t.Errorf("the next batch is at %d", b.BaseOffset())
		}
	}
}

// A log that ends before its start goes on from the start.
func TestStartPastTheEnd(t *testing.T) {
	crash := disk.NewCrash(0)
	d, _, _ := deletable(t, crash, Options{}, 37)
	mustDo(t, d.stop())
	mustDo(t, crash.Remove(segmentPath(32, logExt)))
	put(t, crash, segmentPath(24, logExt), newBatch(3, 0, 1, 'x')) // nothing of the log
	mustDo(t, crash.Remove("data/"+checkpointFile))
	l := start(t, crash, Options{}).mustOpen(t, "t-0", keepAll)
	if l.StartOffset() != 37 || l.EndOffset() != 37 {
		t.Errorf("log is %d to %d, want 37 to 37", l.StartOffset(), l.EndOffset())
	}
	if base := l.mustAppend(t, newBatch(1, 0, 1, 'n')); base != 37 {
		t.Errorf("the next batch is at offset %d", base)
	}
}

// A start that cannot be kept is not answered, and not shown.
func TestDeleteBeforeNotKept(t *testing.T) {
	fail := false
	crash := disk.NewCrash(0)
	fsys := &faulty{FS: crash, onWrite: func(name string, p []byte) (int, error) {
		if fail && strings.Contains(name, checkpointFile) {
			return 0, errNoSpace
		}
		return len(p), nil
	}}
	d, l, all := deletable(t, fsys, Options{}, 5)
	fail = true
	if got, err := l.DeleteBefore(30); !errors.Is(err, ErrFull) {
		t.Errorf("deleted before %d, %v", got, err)
	}
	checkStart(t, l.Log, 5, all)
	fail = false
	mustDo(t, d.checkpoint(false))
	l = start(t, crash.Restart(3), Options{}).mustOpen(t, "t-0", keepAll)
	checkStart(t, l.Log, 5, all)
}

// A lookup by time finds nothing of what was deleted.
func TestBatchForTimeAfterDelete(t *testing.T) {
	_, l, _ := deletable(t, disk.NewCrash(0), Options{}, 13)
	for timestamp, want := range map[int64]int64{0: 12, 600: 12, 601: 12, 602: 14, 1900: 38} {
		if b, found, err := l.BatchForTime(timestamp, 0, 40); !found || err != nil || b.BaseOffset() != want {
			t.Errorf("time %d: found %v, %v, want the batch at %d", timestamp, found, err, want)
		}
	}
	if b, found, err := l.BatchForTime(0, 14, 40); !found || err != nil || b.BaseOffset() != 14 {
		t.Errorf("from offset 14 on: found %v, %v", found, err)
	}
}

// A log that has the name of a deleted one has nothing of its checkpoints, which
// Kafka's files know by name alone.
func TestStartOfDeletedLog(t *testing.T) {
	crash := disk.NewCrash(0)
	d, _, _ := deletable(t, crash, Options{}, 13)
	mustDo(t, d.checkpoint(true))
	mustDo(t, d.DeleteLog("t-0"))
	l := must(d.open("t-0", topicB, keepAll))
	l.mustAppend(t, newBatch(20, 0, 1, 'n'))
	mustDo(t, l.await(20))
	crash = crash.Restart(5)
	if _, err := crash.Stat("data/" + checkpointFile); err == nil {
		mustDo(t, crash.Remove("data/"+checkpointFile))
	}
	d = start(t, crash, Options{})
	if l = must(d.open("t-0", topicB, keepAll)); l.StartOffset() != 0 || l.EndOffset() != 20 {
		t.Errorf("log is %d to %d, want 0 to 20", l.StartOffset(), l.EndOffset())
	}
}
