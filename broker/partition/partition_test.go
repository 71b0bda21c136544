package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// slowFS is a disk whose syncs of log files wait for leave, and fail when told.
type slowFS struct {
	disk.FS
	leave chan error // nil: syncs do not wait
}

func (s slowFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil || len(name) < 4 || name[len(name)-4:] != ".log" {
		return f, err
	}
	return slowFile{f, s.leave}, nil
}

type slowFile struct {
	disk.File
	leave chan error
}

func (f slowFile) Sync() error {
	if err := <-f.leave; err != nil {
		return err
	}
	return f.File.Sync()
}

// box is a data directory with a running committer and one led partition.
type box struct {
	set   *Set
	leave chan error // send nil for a sync that succeeds
}

func openBox(t *testing.T, policy commitlog.Policy) *box {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	leave := make(chan error)
	dir, err := commitlog.OpenDir("/data", commitlog.Options{
		FS: slowFS{disk.NewCrash(1), leave}, Policy: policy, Interval: time.Second, Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dir.Run(ctx) })
	t.Cleanup(func() {
		close(leave) // what is still to sync, syncs
		cancel()
		running.Wait()
		dir.Close()
	})
	b := &box{NewSet(dir, policy == commitlog.Interval, quiet), leave}
	if _, err := b.set.Open("press", 0, topic.NewID(), topic.Defaults()); err != nil {
		t.Fatal(err)
	}
	b.set.Lead("press", 0, 4)
	return b
}

func (b *box) partition(t *testing.T) *Partition {
	t.Helper()
	p, err := b.set.Get("press", 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// batch makes one of n records, at timestamps from at upward, 10 ms apart.
func batch(n int, at int64) record.Batch {
	var bu record.Builder
	for i := range n {
		bu.Add(at+int64(i)*10, nil, fmt.Appendf(nil, "value %d", i), nil)
	}
	return bu.Batch()
}

func appendTo(t *testing.T, p *Partition, b record.Batch) (nextOffset int64) {
	t.Helper()
	_, nextOffset, err := p.Append(b)
	if err != nil {
		t.Fatal(err)
	}
	return nextOffset
}

// What is appended is neither acknowledged nor readable before the sync, and both
// after it.
func TestSyncBeforeAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		p := b.partition(t)
		acked := make(chan error, 1)
		wake := make(chan struct{}, 1)
		defer p.Watch(wake)()
		p.Await(appendTo(t, p, batch(3, 0)), func(err error) { acked <- err })

		synctest.Wait()
		if f, err := p.Read(0, 1<<20, true); err != nil || len(f.Records.Bytes) != 0 || f.HighWatermark != 0 {
			t.Errorf("before the sync: %d bytes up to %d, %v; want none up to 0", len(f.Records.Bytes), f.HighWatermark, err)
		}
		if len(acked) != 0 || len(wake) != 0 {
			t.Errorf("before the sync: %d acks, %d wakes, want none", len(acked), len(wake))
		}
		b.leave <- nil
		synctest.Wait()
		if len(acked) != 1 || len(wake) != 1 {
			t.Fatalf("after the sync: %d acks, %d wakes, want one of each", len(acked), len(wake))
		}
		if err := <-acked; err != nil {
			t.Error(err)
		}
		f, err := p.Read(1, 1<<20, true)
		if err != nil || f.HighWatermark != 3 {
			t.Fatalf("after the sync: up to %d, %v; want 3", f.HighWatermark, err)
		}
		got, _, err := record.Next(f.Records.Bytes)
		if err != nil || got.BaseOffset() != 0 || got.Count() != 3 || got.LeaderEpoch() != 4 {
			t.Errorf("read back %v, %v", got, err)
		}
	})
}

// One sync serves all that were appended before it began, whatever the order in
// which they came to wait.
func TestAwaitOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		p := b.partition(t)
		appendTo(t, p, batch(1, 0))
		synctest.Wait() // the first sync has begun and covers offset 0 only

		var acked []int64
		var next []int64
		for range 4 {
			next = append(next, appendTo(t, p, batch(2, 0)))
		}
		for _, i := range []int{2, 0, 3, 1} {
			p.Await(next[i], func(error) { acked = append(acked, next[i]) })
		}
		b.leave <- nil
		synctest.Wait()
		if len(acked) != 0 {
			t.Errorf("a sync that began before acknowledged %v", acked)
		}
		b.leave <- nil
		synctest.Wait()
		if want := []int64{3, 5, 7, 9}; !slices.Equal(acked, want) {
			t.Errorf("acknowledged %v, want %v", acked, want)
		}
	})
}

// A read that starts below the high watermark ends there: what is written behind
// it is not synced yet.
func TestReadEndsAtHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		p := b.partition(t)
		appendTo(t, p, batch(3, 0))
		b.leave <- nil
		synctest.Wait()
		appendTo(t, p, batch(2, 0))
		f, err := p.Read(0, 1<<20, true)
		if err != nil || f.HighWatermark != 3 {
			t.Fatalf("up to %d, %v; want 3", f.HighWatermark, err)
		}
		first, rest, err := record.Next(f.Records.Bytes)
		if err != nil || first.Count() != 3 || len(rest) != 0 {
			t.Errorf("read %d records and %d bytes behind them, %v; want 3 and none", first.Count(), len(rest), err)
		}
	})
}

// A failed sync takes the partition off line: those who wait learn it, so does
// who comes later, and the neighbour goes on.
func TestFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		p := b.partition(t)
		if _, err := b.set.Open("press", 1, topic.NewID(), topic.Defaults()); err != nil {
			t.Fatal(err)
		}
		b.set.Lead("press", 1, 4)
		errs := make(chan error, 2)
		next := appendTo(t, p, batch(1, 0))
		p.Await(next, func(err error) { errs <- err })
		b.leave <- errors.New("input/output error")
		synctest.Wait()
		p.Await(next, func(err error) { errs <- err })
		for range 2 {
			if err := <-errs; !errors.Is(err, commitlog.ErrOffline) {
				t.Errorf("got %v, want %v", err, commitlog.ErrOffline)
			}
		}
		if _, _, err := p.Append(batch(1, 0)); !errors.Is(err, commitlog.ErrOffline) {
			t.Errorf("append: %v, want %v", err, commitlog.ErrOffline)
		}
		if got := b.set.Offline(); len(got) != 1 || got[0].Name != "press-0" || !errors.Is(got[0].Err, commitlog.ErrOffline) {
			t.Errorf("offline %v, want press-0 and why", got)
		}
		other, err := b.set.Get("press", 1)
		if err != nil {
			t.Fatal(err)
		}
		other.Await(appendTo(t, other, batch(1, 0)), func(err error) { errs <- err })
		b.leave <- nil
		if err := <-errs; err != nil {
			t.Errorf("the neighbour: %v", err)
		}
	})
}

// Under the interval policy an append is acknowledged at once and readable once
// it is synced: readers never see what a power cut could take back.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Interval)
		p := b.partition(t)
		acked := false
		p.Await(appendTo(t, p, batch(1, 0)), func(error) { acked = true })
		if f, _ := p.Read(0, 1<<20, true); !acked || f.HighWatermark != 0 {
			t.Errorf("acknowledged %v, readable up to %d; want true and 0", acked, f.HighWatermark)
		}
		b.leave <- nil
		synctest.Wait()
		if f, _ := p.Read(0, 1<<20, true); f.HighWatermark != 1 {
			t.Errorf("after the sync readable up to %d, want 1", f.HighWatermark)
		}
	})
}

// Under the os policy there is nothing to wait for.
func TestOS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openBox(t, commitlog.OS).partition(t)
		acked := false
		p.Await(appendTo(t, p, batch(1, 0)), func(error) { acked = true })
		if f, err := p.Read(0, 1<<20, true); !acked || f.HighWatermark != 1 || len(f.Records.Bytes) == 0 || err != nil {
			t.Errorf("acknowledged %v, %d bytes readable up to %d, %v", acked, len(f.Records.Bytes), f.HighWatermark, err)
		}
	})
}

func TestReadRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openBox(t, commitlog.OS).partition(t)
		appendTo(t, p, batch(5, 0))
		for offset, want := range map[int64]error{-1: commitlog.ErrOffsetOutOfRange, 0: nil, 4: nil, 5: nil, 6: commitlog.ErrOffsetOutOfRange} {
			f, err := p.Read(offset, 1<<20, true)
			if !errors.Is(err, want) || f.HighWatermark != 5 || f.LogStartOffset != 0 {
				t.Errorf("offset %d: %+v, %v, want %v", offset, f, err, want)
			}
		}
	})
}

// The offset of a time is that of the first record at or after it, inside a batch
// too.
func TestOffsetForTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openBox(t, commitlog.OS).partition(t)
		appendTo(t, p, batch(3, 1000)) // 1000, 1010, 1020 at offsets 0 to 2
		appendTo(t, p, batch(3, 2000)) // 2000, 2010, 2020 at offsets 3 to 5
		for timestamp, want := range map[int64][2]int64{
			0: {0, 1000}, 1000: {0, 1000}, 1001: {1, 1010}, 1020: {2, 1020}, 1021: {3, 2000}, 2015: {5, 2020},
		} {
			offset, at, found, err := p.OffsetForTime(timestamp)
			if !found || err != nil || offset != want[0] || at != want[1] {
				t.Errorf("time %d: offset %d at %d, found %v, %v; want %v", timestamp, offset, at, found, err, want)
			}
		}
		if _, _, found, err := p.OffsetForTime(2021); found || err != nil {
			t.Errorf("after the last: found %v, %v", found, err)
		}
	})
}

// A partition that is deleted tells those who wait, and is unknown from then on.
func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		p := b.partition(t)
		told := make(chan error, 1)
		p.Await(appendTo(t, p, batch(1, 0)), func(err error) { told <- err })
		synctest.Wait()
		deleted := make(chan error)
		go func() { deleted <- b.set.Delete("press", 0) }()
		if err := <-told; !errors.Is(err, ErrUnknown) {
			t.Errorf("who waited was told %v, want %v", err, ErrUnknown)
		}
		b.leave <- nil // the sync under way ends
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
		if _, err := b.set.Get("press", 0); !errors.Is(err, ErrUnknown) {
			t.Errorf("get: %v, want %v", err, ErrUnknown)
		}
		if _, _, err := p.Append(batch(1, 0)); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotLeader) {
			t.Errorf("append to it: %v, want %v or %v", err, ErrUnknown, ErrNotLeader)
		}
		if onDisk, err := b.set.OnDisk(); len(onDisk) != 0 || err != nil {
			t.Errorf("on disk: %v, %v", onDisk, err)
		}
	})
}

func TestNotLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		if _, err := b.set.Open("press", 1, topic.NewID(), topic.Defaults()); err != nil {
			t.Fatal(err)
		}
		p, err := b.set.Get("press", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Append(batch(1, 0)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v, want %v", err, ErrNotLeader)
		}
	})
}

func TestParseKey(t *testing.T) {
	for name, want := range map[string]key{
		"press-0":      {"press", 0},
		"a-b-12":       {"a-b", 12},
		"a-b.c_d-007":  {},
		"press":        {},
		"press-":       {},
		"-3":           {},
		"press--3":     {"press-", 3},
		"press-+3":     {},
		"a/b-3":        {},
		"x-4294967296": {},
	} {
		if got, ok := parseKey(name); got != want && ok || ok != (want != key{}) {
			t.Errorf("%q: got %v, %v, want %v", name, got, ok, want)
		}
	}
}
