package commitlog

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
)

var (
	errNoSpace = fmt.Errorf("write: %w", syscall.ENOSPC)
	errDisk    = fmt.Errorf("sync: %w", syscall.EIO)
)

// What is appended while a sync runs waits for the next one, and shares it.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int32
		gate := make(chan struct{})
		fsys := &faulty{FS: disk.NewCrash(0), onSync: func(name string) error {
			if strings.HasSuffix(name, logExt) {
				syncs.Add(1)
				<-gate
			}
			return nil
		}}
		d := start(t, fsys, Options{})
		l := d.mustOpen(t, "t-0", keepAll)

		l.mustAppend(t, newBatch(1, 0, 10, 'a'))
		synctest.Wait() // the first sync has begun
		for range 100 {
			l.mustAppend(t, newBatch(1, 0, 10, 'b'))
		}
		synctest.Wait()
		if durable, calls, _ := l.told(); durable != 0 || calls != 0 || syncs.Load() != 1 {
			t.Fatalf("told %d in %d calls after %d syncs begun; want nothing yet, and one", durable, calls, syncs.Load())
		}
		gate <- struct{}{}
		synctest.Wait()
		if durable, _, _ := l.told(); durable != 1 || l.DurableEnd() != 1 {
			t.Fatalf("after the first sync told %d, want 1: what came during it is not covered", durable)
		}
		gate <- struct{}{}
		synctest.Wait()
		if durable, calls, _ := l.told(); durable != 101 || calls != 2 || syncs.Load() != 2 {
			t.Fatalf("told %d in %d calls after %d syncs; want 101, 2 and 2", durable, calls, syncs.Load())
		}
		close(gate)
	})
}

// A sync that hangs holds up its own log only.
func TestOtherLogsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		fsys := &faulty{FS: disk.NewCrash(0), onSync: func(name string) error {
			if strings.Contains(name, "slow-0/") && strings.HasSuffix(name, logExt) {
				<-gate
			}
			return nil
		}}
		d := start(t, fsys, Options{})
		slow, quick := d.mustOpen(t, "slow-0", keepAll), d.mustOpen(t, "quick-0", keepAll)
		slow.mustAppend(t, newBatch(1, 0, 10, 'a'))
		quick.mustAppend(t, newBatch(1, 0, 10, 'a'))
		synctest.Wait()
		if durable, _, _ := quick.told(); durable != 1 {
			t.Errorf("the quick log is durable to %d, want 1", durable)
		}
		close(gate)
	})
}

func TestFailedSync(t *testing.T) {
	var broken atomic.Bool
	var syncs atomic.Int32
	inner := disk.NewCrash(0)
	fsys := &faulty{FS: inner, onSync: func(name string) error {
		if broken.Load() && strings.Contains(name, "bad-0/") {
			syncs.Add(1)
			return errDisk
		}
		return nil
	}}
	reg := prometheus.NewPedanticRegistry()
	d := start(t, fsys, Options{Registerer: reg})
	bad, well := d.mustOpen(t, "bad-0", keepAll), d.mustOpen(t, "well-0", keepAll)
	bad.mustAppend(t, newBatch(1, 0, 10, 'a'))
	if err := bad.await(1); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	bad.mustAppend(t, newBatch(1, 0, 10, 'b'))
	if err := bad.await(2); !errors.Is(err, ErrOffline) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("those who wait are told %v, want ErrOffline and its cause", err)
	}
	broken.Store(false)
	if _, err := bad.Append(newBatch(1, 0, 10, 'c'), 1); !errors.Is(err, ErrOffline) {
		t.Errorf("a later append: %v, want ErrOffline", err)
	}
	if bad.DurableEnd() != 1 {
		t.Errorf("durable end %d, want 1", bad.DurableEnd())
	}
	if got, err := bad.Read(0, 1, 1<<20, true); err != nil || len(got) == 0 {
		t.Errorf("what is durable cannot be read: %v", err)
	}
	well.mustAppend(t, newBatch(1, 0, 10, 'a'))
	if err := well.await(1); err != nil {
		t.Errorf("the other log: %v", err)
	}
	if got := testutil.ToFloat64(d.metrics.logsOffline); got != 1 {
		t.Errorf("logs offline: %v, want 1", got)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	if _, calls, _ := bad.told(); calls != 2 || syncs.Load() != 1 {
		t.Errorf("%d calls and %d failed syncs, want 2 and 1: a failed sync is final", calls, syncs.Load())
	}
}

// Without space nothing is appended, not even a part, and all is well again once
// there is some.
func TestFullDisk(t *testing.T) {
	var full, sick atomic.Bool
	fsys := &faulty{FS: disk.NewCrash(0)}
	fsys.onWrite = func(name string, p []byte) (int, error) {
		if full.Load() {
			return len(p) / 2, errNoSpace
		}
		return 0, nil
	}
	fsys.onCut = func(name string) error {
		if sick.Load() {
			return errDisk
		}
		return nil
	}
	d := start(t, fsys, Options{})
	small := Settings{SegmentBytes: 500, RetentionBytes: -1, Retention: -1}
	l := d.mustOpen(t, "t-0", small)
	for i := range 6 { // at every place within a segment, and at its roll
		l.mustAppend(t, newBatch(1, int64(i), 100, 'a'))
		before := everything(t, l.Log)
		full.Store(true)
		if _, err := l.Append(newBatch(1, 0, 100, 'x'), 1); !errors.Is(err, ErrFull) || errors.Is(err, ErrOffline) {
			t.Fatalf("append %d to a full disk: %v, want ErrFull", i, err)
		}
		full.Store(false)
		if got := everything(t, l.Log); string(got) != string(before) {
			t.Fatalf("%d bytes after a failed append, want %d", len(got), len(before))
		}
	}
	if err := l.await(6); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	sick.Store(true)
	if _, err := l.Append(newBatch(1, 0, 10, 'x'), 1); !errors.Is(err, ErrOffline) {
		t.Fatalf("a write that cannot be taken back: %v, want ErrOffline", err)
	}
	if err := l.await(7); !errors.Is(err, ErrOffline) {
		t.Errorf("told %v, want ErrOffline", err)
	}
}

// Any other failure of a write means that the disk cannot be believed.
func TestFailedWrite(t *testing.T) {
	fsys := &faulty{FS: disk.NewCrash(0)}
	l := start(t, fsys, Options{}).mustOpen(t, "t-0", keepAll)
	fsys.onWrite = func(string, []byte) (int, error) { return 3, errDisk }
	if _, err := l.Append(newBatch(1, 0, 10, 'x'), 1); !errors.Is(err, ErrOffline) {
		t.Errorf("append: %v, want ErrOffline", err)
	}
}

// Each step of a roll can fail: a sync for good, anything else until the next
// append.
func TestFailedRoll(t *testing.T) {
	small := Settings{SegmentBytes: 100, RetentionBytes: -1, Retention: -1}
	second := segmentPath(1, logExt)
	for name, tc := range map[string]struct {
		faulty
		want error
	}{
		"syncLog":     {faulty{onSync: failFor(firstFile, errDisk)}, ErrOffline},
		"fullSync":    {faulty{onSync: failFor(segmentPath(0, indexExt), errNoSpace)}, ErrOffline},
		"syncIndex":   {faulty{onSync: failFor(segmentPath(0, timeIndexExt), errDisk)}, ErrOffline},
		"syncDir":     {faulty{onSyncDir: failFor(logDir, errDisk)}, ErrOffline},
		"createFull":  {faulty{onOpen: failFor(second, errNoSpace)}, ErrFull},
		"createFails": {faulty{onOpen: failFor(second, syscall.EMFILE)}, syscall.EMFILE},
		"indexFull":   {faulty{onOpen: failFor(segmentPath(0, indexExt), errNoSpace)}, ErrFull},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := &faulty{FS: disk.NewCrash(0)}
			d := start(t, fsys, Options{Policy: OS}) // nothing but the roll syncs
			l := d.mustOpen(t, "t-0", small)
			l.mustAppend(t, newBatch(1, 0, 100, 'a'))
			tc.FS = fsys.FS
			inner := fsys.FS
			*fsys = tc.faulty
			if _, err := l.Append(newBatch(1, 0, 100, 'b'), 1); !errors.Is(err, tc.want) {
				t.Fatalf("append: %v, want %v", err, tc.want)
			}
			*fsys = faulty{FS: inner}
			_, err := l.Append(newBatch(1, 0, 100, 'b'), 1)
			if final := tc.want == ErrOffline; final != errors.Is(err, ErrOffline) || !final && err != nil {
				t.Errorf("the next append: %v", err)
			}
		})
	}
}

func failFor(path string, err error) func(string) error {
	return func(name string) error {
		if name == path {
			return err
		}
		return nil
	}
}

func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, disk.NewCrash(0), Options{Policy: Interval, Interval: 3 * time.Second})
		l := d.mustOpen(t, "t-0", keepAll)
		begin := time.Now()
		for range 5 {
			l.mustAppend(t, newBatch(2, 0, 10, 'a'))
			synctest.Wait()
		}
		if l.DurableEnd() != 0 {
			t.Errorf("durable to %d before the interval is over", l.DurableEnd())
		}
		if err := l.await(10); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begin); waited != 3*time.Second {
			t.Errorf("durable after %v, want 3s", waited)
		}
		l.mustAppend(t, newBatch(2, 0, 10, 'a'))
		if err := l.await(12); err != nil || time.Since(begin) != 6*time.Second {
			t.Errorf("durable after %v, want 6s: %v", time.Since(begin), err)
		}
		if got := testutil.ToFloat64(d.metrics.syncs); got != 2 {
			t.Errorf("%v syncs, want 2", got)
		}
		l.mustAppend(t, newBatch(2, 0, 10, 'a'))
		if err := d.stop(); err != nil || time.Since(begin) != 6*time.Second {
			t.Errorf("stopped after %v: %v", time.Since(begin), err)
		}
		if durable, _, _ := l.told(); durable != 14 {
			t.Errorf("told %d at the stop, want 14", durable)
		}
	})
}

// Under OS the durable end moves within the append, which wakes nobody; no one
// syncs. Those who are told learn it with the next tick, a burst at once.
func TestPolicyOS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, disk.NewCrash(0), Options{Policy: OS, Interval: time.Second})
		l := d.mustOpen(t, "t-0", keepAll)
		for range 5 {
			end := l.mustAppend(t, newBatch(2, 0, 10, 'a')) + 2
			if l.DurableEnd() != end {
				t.Errorf("durable to %d, want %d", l.DurableEnd(), end)
			}
			synctest.Wait()
		}
		if durable, calls, _ := l.told(); calls != 0 {
			t.Errorf("told %d at the append", durable)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if durable, calls, err := l.told(); durable != 10 || calls != 1 || err != nil {
			t.Errorf("told %d in %d calls after a tick, %v; want 10 in one", durable, calls, err)
		}
		if got := testutil.ToFloat64(d.metrics.syncs); got != 0 {
			t.Errorf("%v syncs, want none", got)
		}
	})
}

// When Run ends, whatever was appended has been answered, however many append.
func TestRunAnswersAll(t *testing.T) {
	for _, policy := range []Policy{Sync, Interval, OS} {
		d := start(t, disk.NewCrash(0), Options{Policy: policy, Interval: time.Hour})
		l := d.mustOpen(t, "t-0", Settings{SegmentBytes: 2000, RetentionBytes: -1, Retention: -1})
		var clients sync.WaitGroup
		var appended atomic.Int64
		begun := make(chan struct{})
		for range 8 {
			clients.Go(func() {
				for i := 0; ; i++ {
					_, err := l.Append(newBatch(1, 0, 10, 'a'), 1)
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if appended.Add(1) == 100 {
						close(begun)
					}
				}
			})
		}
		<-begun
		if err := d.stop(); err != nil {
			t.Error(err)
		}
		clients.Wait()
		if durable, _, err := l.told(); err != nil || durable != appended.Load() {
			t.Errorf("%v: told %d, %v; %d were appended", policy, durable, err, appended.Load())
		}
	}
}

func TestPolicyNames(t *testing.T) {
	for _, p := range []Policy{Sync, Interval, OS} {
		if got, err := ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("%v parses to %v, %v", p, got, err)
		}
	}
	if _, err := ParsePolicy("fsync"); err == nil {
		t.Error("fsync is a policy")
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	d := start(t, disk.NewCrash(0), Options{Registerer: reg})
	l := d.mustOpen(t, "t-0", keepAll)
	b := newBatch(1, 0, 10, 'a')
	l.mustAppend(t, b)
	if err := l.await(1); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(d.metrics.appendedBytes); got != float64(len(b)) {
		t.Errorf("%v bytes appended, want %d", got, len(b))
	}
	want := 38
	if d.metrics.deviceBytes != nil {
		want++
	}
	if n, err := testutil.GatherAndCount(reg); n != want || err != nil {
		t.Errorf("%d metrics, %v, want %d", n, err, want)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	if n, _ := testutil.GatherAndCount(reg); n != 0 {
		t.Errorf("%d metrics after Close, want none", n)
	}
}

// A sync that another goroutine had begun may move the durable end once a log has
// failed. Those who were told of the failure are told nothing more.
func TestNothingIsToldAfterAFailure(t *testing.T) {
	d := start(t, disk.NewCrash(0), Options{})
	l := d.mustOpen(t, "t-0", keepAll)
	l.mustAppend(t, newBatch(1, 0, 10, 'a'))
	if err := l.await(1); err != nil {
		t.Fatal(err)
	}
	_ = l.fail("remove a segment", errors.New("bad block"))
	if err := l.await(2); !errors.Is(err, ErrOffline) {
		t.Fatalf("told %v, want %v", err, ErrOffline)
	}
	l.Log.durable.Store(5)
	d.committer.dirty(l.Log, true)
	if err := d.stop(); err != nil { // the committer has no more to tell
		t.Error(err)
	}
	if durable, calls, err := l.told(); durable != 1 || calls != 2 || err == nil {
		t.Errorf("told %d times, last %d, %v; want twice, 1 and the failure", calls, durable, err)
	}
}
