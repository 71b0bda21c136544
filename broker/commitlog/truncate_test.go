package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

var fourASegment = Settings{SegmentBytes: 2000, RetentionBytes: -1, Retention: -1, KeepWhenFull: true}

// epochal is a log of 20 batches of two records, four batches in a segment, all durable;
// three batches are of each leader epoch.
func epochal(t testing.TB, fsys disk.FS, o Options) (*running, *watched, []record.Batch) {
	t.Helper()
	d := start(t, fsys, o)
	l := d.mustOpen(t, "t-0", fourASegment)
	for i := range 20 {
		if _, err := l.Append(newBatch(2, int64(100*i), 200, byte('a'+i)), int32(i/3)); err != nil {
			t.Fatal(err)
		}
	}
	mustDo(t, l.await(40))
	return d, l, split(t, everything(t, l.Log))
}

// upTo returns the batches that end at or before an offset, and where they end.
func upTo(all []record.Batch, offset int64) (kept []record.Batch, end int64) {
	for _, b := range all {
		if b.NextOffset() <= offset {
			kept, end = append(kept, b), b.NextOffset()
		}
	}
	return kept, end
}

// checkWhole looks for a log that has these batches, and nothing else, and is durable.
func checkWhole(t *testing.T, l *Log, start, end int64, want []record.Batch) {
	t.Helper()
	if l.StartOffset() != start || l.EndOffset() != end || l.DurableEnd() != end {
		t.Fatalf("log is %d to %d, durable to %d, want %d to %d", l.StartOffset(), l.EndOffset(), l.DurableEnd(), start, end)
	}
	if got := everything(t, l); !bytes.Equal(got, bytes.Join(asBytes(want), nil)) {
		t.Errorf("%d bytes in %d to %d, want %d batches", len(got), start, end, len(want))
	}
	var known epochs
	for _, b := range want {
		if b.LeaderEpoch() > known.last() {
			known = append(known, epochStart{b.LeaderEpoch(), b.BaseOffset()})
		}
	}
	known = known.from(start)
	if last, err := l.LastEpoch(); last != known.last() || err != nil {
		t.Errorf("last epoch %d, %v, want %d", last, err, known.last())
	}
	for epoch := range int32(10) {
		found, foundEnd, err := l.EndOffsetForEpoch(epoch)
		if wantEpoch, wantEnd := known.endOffset(epoch, end); found != wantEpoch || foundEnd != wantEnd || err != nil {
			t.Errorf("epoch %d ends as %d at %d, %v, want %d at %d", epoch, found, foundEnd, err, wantEpoch, wantEnd)
		}
	}
	for _, b := range want {
		if got, err := l.Read(max(b.BaseOffset(), start), end, len(b), false); !bytes.Equal(got, b) || err != nil {
			t.Errorf("offset %d: read %d bytes, %v", b.BaseOffset(), len(got), err)
		}
		if found, ok, err := l.BatchForTime(b.MaxTimestamp(), b.BaseOffset(), end); !ok || !bytes.Equal(found, b) || err != nil {
			t.Errorf("time %d: found %v, %v", b.MaxTimestamp(), ok, err)
		}
	}
	if n := testutil.ToFloat64(l.metrics.gaps); n != 0 {
		t.Errorf("%v gaps are counted", n)
	}
}

func asBytes(batches []record.Batch) (all [][]byte) {
	for _, b := range batches {
		all = append(all, b)
	}
	return all
}

// ends are the ways in which a process may end; each returns the disk that the next
// one finds.
var ends = map[string]func(t *testing.T, d *running, crash *disk.Crash) *disk.Crash{
	"clean": func(t *testing.T, d *running, crash *disk.Crash) *disk.Crash { mustDo(t, d.stop()); return crash },
	"kill":  func(_ *testing.T, _ *running, crash *disk.Crash) *disk.Crash { return crash.Kill() },
	"cut":   func(_ *testing.T, _ *running, crash *disk.Crash) *disk.Crash { return crash.Restart(7) },
}

// A truncated log ends at the last batch before the offset, at once and after a
// restart, and goes on from there with other batches, in segments of its own.
func TestTruncate(t *testing.T) {
	for name, end := range ends {
		for _, policy := range []Policy{Sync, OS} {
			for _, to := range []int64{39, 38, 37, 34, 33, 32, 31, 20, 16, 9, 8, 7, 2} {
				t.Run(fmt.Sprint(name, policy, to), func(t *testing.T) {
					crash := disk.NewCrash(1)
					d, l, all := epochal(t, crash, Options{Policy: policy})
					mustDo(t, d.checkpoint(true))
					mustDo(t, l.Truncate(to))
					kept, at := upTo(all, to)
					checkWhole(t, l.Log, 0, at, kept)
					crash = end(t, d, crash)
					d = start(t, crash, Options{Policy: policy})
					l = d.mustOpen(t, "t-0", fourASegment)
					checkWhole(t, l.Log, 0, at, kept)
					for i := range 12 {
						b := newBatch(3, int64(50*i), 180, byte('A'+i))
						if _, err := l.Append(b, 8); err != nil {
							t.Fatal(err)
						}
						kept = append(kept, b)
						at += 3
					}
					mustDo(t, l.Flush())
					checkWhole(t, l.Log, 0, at, kept)
				})
			}
		}
	}
}

// At or behind the log's end there is nothing to truncate but a leader epoch of which
// nothing was appended.
func TestTruncateAtTheEnd(t *testing.T) {
	_, l, all := epochal(t, disk.NewCrash(0), Options{})
	for _, to := range []int64{40, 41, 1000} {
		l.BeginEpoch(9)
		if epoch, end, _ := l.EndOffsetForEpoch(9); epoch != 9 || end != 40 {
			t.Fatalf("epoch 9 has begun, and ends as %d at %d", epoch, end)
		}
		mustDo(t, l.Truncate(to))
		checkWhole(t, l.Log, 0, 40, all)
	}
}

// An epoch that a failed append has begun goes with the truncation, in the file, too:
// batches of an earlier one may come.
func TestTruncateTakesAnEpochWithoutBatches(t *testing.T) {
	full := false
	crash := disk.NewCrash(0)
	fsys := &faulty{FS: crash, onWrite: func(name string, _ []byte) (int, error) {
		if full && filepath.Ext(name) == logExt {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}}
	_, l, all := epochal(t, fsys, Options{})
	full = true
	if _, err := l.Append(newBatch(1, 0, 1, 'x'), 9); !errors.Is(err, ErrFull) {
		t.Fatalf("appended to a full disk: %v", err)
	}
	full = false
	if last, _ := l.LastEpoch(); last != 9 {
		t.Fatalf("last epoch %d", last)
	}
	mustDo(t, l.Truncate(40))
	checkWhole(t, l.Log, 0, 40, all)
	b := newBatch(1, 0, 1, 'y')
	b.Stamp(40, 7)
	mustDo(t, l.AppendReplica(b))
	mustDo(t, l.Flush())
	known, err := parseEpochs(get(t, crash, "data/t-0/"+epochFile))
	if err != nil || known.last() != 7 {
		t.Errorf("the file says %v, %v", known, err)
	}
}

// Truncating to the log's start or before it leaves it empty there.
func TestTruncateAll(t *testing.T) {
	for name, end := range ends {
		for _, tc := range []struct{ deleteBefore, to, want int64 }{{0, 0, 0}, {0, 1, 0}, {13, 13, 13}, {13, 5, 5}, {13, 14, 14}, {13, 15, 14}, {12, 13, 12}, {13, 0, 0}} {
			crash := disk.NewCrash(1)
			d, l, all := epochal(t, crash, Options{})
			if _, err := l.DeleteBefore(tc.deleteBefore); err != nil {
				t.Fatal(err)
			}
			mustDo(t, l.Truncate(tc.to))
			var kept []record.Batch
			if tc.want > tc.deleteBefore {
				kept = all[6:7]
			}
			first := min(tc.want, max(tc.deleteBefore, 0))
			checkWhole(t, l.Log, first, tc.want, kept)
			crash = end(t, d, crash)
			l = start(t, crash, Options{}).mustOpen(t, "t-0", fourASegment)
			checkWhole(t, l.Log, first, tc.want, kept)
			if base := l.mustAppend(t, newBatch(1, 0, 1, 'x')); base != tc.want {
				t.Errorf("%s %v: the next batch is at %d", name, tc, base)
			}
		}
	}
	_, l, _ := epochal(t, disk.NewCrash(0), Options{})
	if err := l.Truncate(-1); !errors.Is(err, ErrOffsetOutOfRange) || l.EndOffset() != 40 {
		t.Errorf("truncated to -1: %v, the log ends at %d", err, l.EndOffset())
	}
}

// In a compacted log the last batch may end before the offset; none of the offsets
// between counts as lost.
func TestTruncateInAGap(t *testing.T) {
	for _, to := range []int64{100, 101, 149, 150, 151, 152} {
		crash := disk.NewCrash(1)
		d := start(t, crash, Options{})
		l := d.mustOpen(t, "t-0", fourASegment)
		var all []record.Batch
		for _, base := range []int64{10, 50, 98, 150, 200, 300} {
			b := newBatch(2, base, 200, 'x')
			b.Stamp(base, 3)
			mustDo(t, l.AppendReplica(b))
			all = append(all, b)
		}
		mustDo(t, l.Truncate(to))
		want, end := upTo(all, to)
		check := func() {
			t.Helper()
			if l.EndOffset() != end || !bytes.Equal(everything(t, l.Log), bytes.Join(asBytes(want), nil)) || counted(d.Dir) != 0 {
				t.Errorf("to %d: log ends at %d, want %d; %v gaps", to, l.EndOffset(), end, counted(d.Dir))
			}
		}
		check()
		d = start(t, crash.Restart(1), Options{})
		l = d.mustOpen(t, "t-0", fourASegment)
		check()
	}
}

// A file that is damaged is truncated as any other.
func TestTruncateDamaged(t *testing.T) {
	for _, flip := range []int64{200, 700, 1200} {
		crash := disk.NewCrash(1)
		d, l, all := epochal(t, crash, Options{})
		flipInPlace(t, crash, segmentPath(16, logExt), flip)
		mustDo(t, l.Truncate(21))
		end := l.EndOffset()
		if end > 20 || end < 16 {
			t.Fatalf("log ends at %d", end)
		}
		mustDo(t, d.stop())
		l = start(t, crash, Options{}).mustOpen(t, "t-0", fourASegment)
		if l.EndOffset() != end {
			t.Errorf("log ends at %d after a restart, and at %d before", l.EndOffset(), end)
		}
		for _, b := range split(t, everything(t, l.Log)) {
			if !bytes.Equal(b, all[b.BaseOffset()/2]) {
				t.Errorf("another batch is at %d", b.BaseOffset())
			}
		}
	}
}

// Who waits for the durable end is told of what is appended after a truncation, and of
// nothing from before it.
func TestTruncateIsTold(t *testing.T) {
	_, l, _ := epochal(t, disk.NewCrash(0), Options{})
	mustDo(t, l.Truncate(20))
	l.mustAppend(t, newBatch(3, 0, 1, 'x'))
	mustDo(t, l.awaitExactly(23))
}

// awaitExactly waits until the end that was told last is this one.
func (w *watched) awaitExactly(end int64) error {
	for {
		durable, _, err := w.told()
		if err != nil || durable == end {
			return err
		}
		<-w.changed
	}
}

// A notice that is under way when the log is truncated has come to its end when
// Truncate returns.
func TestTruncateWaitsForANotice(t *testing.T) {
	d := start(t, disk.NewCrash(0), Options{})
	l, err := d.OpenLog("t-0", topicA, keepAll)
	mustDo(t, err)
	entered, leave := make(chan struct{}), make(chan struct{})
	told := int64(0)
	l.Notify(func(durableEnd int64, _ error) {
		close(entered)
		<-leave
		told = durableEnd
	})
	if _, err := l.Append(newBatch(5, 0, 1, 'x'), 0); err != nil {
		t.Fatal(err)
	}
	<-entered
	l.Notify(func(int64, error) {})
	truncated := make(chan error, 1)
	go func() { truncated <- l.Truncate(0) }()
	for l.EndOffset() != 0 {
		if _, err := l.LastEpoch(); err != nil { // takes the lock that the truncation has
			t.Fatal(err)
		}
	}
	select {
	case <-truncated:
		close(leave)
		t.Fatal("truncated while the end from before is told")
	default:
	}
	close(leave)
	mustDo(t, <-truncated)
	if told != 5 {
		t.Errorf("told %d", told)
	}
}

// A read that has begun before a truncation, with an end offset from before, finds
// neither bytes of both logs nor those of the later one.
func TestTruncateUnderARead(t *testing.T) {
	for name, look := range map[string]func(l *Log) (found bool, err error){
		"read": func(l *Log) (bool, error) {
			got, err := l.Read(16, 40, 1<<20, true)
			return len(got) > 0, err
		},
		"time": func(l *Log) (bool, error) {
			_, found, err := l.BatchForTime(1300, 0, 40)
			return found, err
		},
	} {
		var meanwhile func()
		fsys := &onReadFS{FS: disk.NewCrash(0), name: segmentPath(24, logExt)}
		fsys.onRead = func() {
			if do := meanwhile; do != nil {
				meanwhile = nil
				do()
			}
		}
		_, l, _ := epochal(t, fsys, Options{})
		meanwhile = func() {
			mustDo(t, l.Truncate(26))
			for l.EndOffset() < 60 {
				l.mustAppend(t, newBatch(2, 3000, 300, 'z'))
			}
		}
		if found, err := look(l.Log); found || err != nil || meanwhile != nil {
			t.Errorf("%s: found %v, %v; overtaken: %v", name, found, err, meanwhile == nil)
		}
		meanwhile = func() { mustDo(t, l.Reset(100)) }
		if _, err := l.Read(26, 40, 1<<20, true); !errors.Is(err, ErrOffsetOutOfRange) || meanwhile != nil {
			t.Errorf("%s: reading a log that was reset ended with %v", name, err)
		}
		if counted(l.dir) != 0 {
			t.Errorf("%s: gaps are counted", name)
		}
	}
}

// onReadFS calls a function before each read of a file.
type onReadFS struct {
	disk.FS
	name   string
	onRead func()
}

func (o *onReadFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := o.FS.OpenFile(name, flag, perm)
	if err == nil && name == o.name {
		f = onReadFile{f, o}
	}
	return f, err
}

type onReadFile struct {
	disk.File
	o *onReadFS
}

func (f onReadFile) ReadAt(p []byte, off int64) (int, error) {
	f.o.onRead()
	return f.File.ReadAt(p, off)
}

// What goes is given back to the budget, and counted.
func TestTruncateCounts(t *testing.T) {
	d, l, all := epochal(t, disk.NewCrash(0), Options{})
	mustDo(t, l.Truncate(21))
	kept := int64(len(bytes.Join(asBytes(all[:10]), nil)))
	if used := d.budget.used.Load(); used != kept || l.Size() != kept {
		t.Errorf("the budget counts %d bytes, the log %d, want %d", used, l.Size(), kept)
	}
	records := testutil.ToFloat64(d.metrics.droppedRecords.WithLabelValues("truncation"))
	gone := testutil.ToFloat64(d.metrics.droppedBytes.WithLabelValues("truncation"))
	if records != 20 || gone != float64(len(bytes.Join(asBytes(all[10:]), nil))) {
		t.Errorf("%v records and %v bytes went", records, gone)
	}
}

// When the checkpoint cannot be written, nothing is truncated.
func TestTruncateOnAFullDisk(t *testing.T) {
	full := false
	fsys := &faulty{FS: disk.NewCrash(0), onWrite: func(string, []byte) (int, error) {
		if full {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}}
	for _, do := range []func(l *Log) error{
		func(l *Log) error { return l.Truncate(20) },
		func(l *Log) error { return l.Reset(20) },
	} {
		full = false
		fsys.FS = disk.NewCrash(0)
		d, l, all := epochal(t, fsys, Options{})
		mustDo(t, d.checkpoint(true))
		full = true
		if err := do(l.Log); !errors.Is(err, ErrFull) {
			t.Fatalf("on a full disk it ended with %v", err)
		}
		checkWhole(t, l.Log, 0, 40, all)
		full = false
		l.mustAppend(t, newBatch(1, 0, 1, 'x'))
		mustDo(t, d.stop())
	}
}

// A log that fails in the middle of a truncation is off line, and the next start finds
// nothing but what was there.
func TestTruncateFails(t *testing.T) {
	crash := disk.NewCrash(0)
	broken := false
	fsys := &faulty{FS: crash, onCut: func(string) error {
		if broken {
			return errors.New("bad block")
		}
		return nil
	}}
	d, l, all := epochal(t, fsys, Options{})
	broken = true
	if err := l.Truncate(21); !errors.Is(err, ErrOffline) {
		t.Fatalf("truncated: %v", err)
	}
	if _, err := l.Append(newBatch(1, 0, 1, 'x'), 9); !errors.Is(err, ErrOffline) {
		t.Errorf("appended: %v", err)
	}
	_ = d.stop()
	l = start(t, crash.Kill(), Options{}).mustOpen(t, "t-0", fourASegment)
	want, end := upTo(all, 24) // its segment is the last one
	checkWhole(t, l.Log, 0, end, want)
}

// Other logs, and what other rooms keep in the directory, are not touched.
func TestTruncateLeavesOthers(t *testing.T) {
	crash := disk.NewCrash(0)
	d, l, _ := epochal(t, crash, Options{})
	other := d.mustOpen(t, "t-1", keepAll)
	other.mustAppend(t, newBatch(1, 0, 1, 'x'))
	put(t, crash, "data/t-0/00000000000000000030.snapshot", []byte("s"))
	mustDo(t, l.Truncate(21))
	mustDo(t, l.Reset(3))
	if other.EndOffset() != 1 {
		t.Errorf("another log ends at %d", other.EndOffset())
	}
	names := strings.Join(namesIn(t, crash, "data/t-0"), " ")
	if want := "00000000000000000003.log 00000000000000000030.snapshot partition.metadata"; names != want {
		t.Errorf("%s is there, want %s", names, want)
	}
}

func namesIn(t testing.TB, fsys disk.FS, dir string) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	mustDo(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
