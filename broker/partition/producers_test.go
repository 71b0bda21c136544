package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// life is a data directory between a start and an end, with one led partition.
type life struct {
	*Set
	p   *Partition
	end func(clean bool) // stops what runs; a clean end saves and closes
}

var pressID = topic.NewID()

func live(fsys disk.FS, policy commitlog.Policy, limits ProducerLimits) (*life, error) {
	settings := topic.Defaults()
	settings.SegmentBytes = 1 << 20
	return liveWith(fsys, policy, limits, settings)
}

func liveWith(fsys disk.FS, policy commitlog.Policy, limits ProducerLimits, settings topic.Settings) (*life, error) {
	log := slog.New(slog.DiscardHandler)
	dir, err := commitlog.OpenDir("/data", commitlog.Options{FS: fsys, Policy: policy, Interval: time.Second, Log: log})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dir.Run(ctx) })
	l := &life{Set: NewSet(dir, false, log)}
	l.end = func(clean bool) {
		cancel()
		running.Wait()
		if clean {
			l.SaveProducers()
		}
		dir.Close()
	}
	l.LimitProducers(limits)
	if _, err = l.Open("press", 0, pressID, settings); err == nil {
		l.Lead("press", 0, 1)
		l.p, err = l.Get("press", 0)
	}
	if err != nil {
		l.end(false)
		return nil, err
	}
	return l, nil
}

func mustLive(t *testing.T, fsys disk.FS) *life {
	t.Helper()
	l, err := live(fsys, commitlog.Sync, DefaultProducerLimits())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustLiveWith(t *testing.T, fsys disk.FS, settings topic.Settings) *life {
	t.Helper()
	l, err := liveWith(fsys, commitlog.Sync, DefaultProducerLimits(), settings)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// put appends b and waits until it is durable.
func (l *life) put(b record.Batch) (baseOffset int64, err error) {
	baseOffset, nextOffset, err := l.p.Append(b)
	if err != nil {
		return -1, err
	}
	acked := make(chan error, 1)
	l.p.Await(nextOffset, func(err error) { acked <- err })
	return baseOffset, <-acked
}

func (l *life) mustPut(t *testing.T, b record.Batch, want int64) {
	t.Helper()
	if got, err := l.put(b); err != nil || got != want {
		t.Fatalf("producer %d, sequence %d: at offset %d, %v; want %d", b.ProducerID(), b.BaseSequence(), got, err, want)
	}
}

func (l *life) mustRefuse(t *testing.T, b record.Batch, want error) {
	t.Helper()
	if got, err := l.put(b); !errors.Is(err, want) {
		t.Fatalf("producer %d, sequence %d: at offset %d, %v; want %v", b.ProducerID(), b.BaseSequence(), got, err, want)
	}
}

func snapshots(t *testing.T, fsys disk.FS) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir("/data/press-0")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), snapshotExt) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// A partition that idempotent producers leave alone has no snapshot, keeps
// nothing, and reads nothing at a start.
func TestPlainCostsNothing(t *testing.T) {
	fsys := disk.NewCrash(1)
	for range 2 {
		l := mustLive(t, fsys)
		if _, err := l.put(batch(3, 0)); err != nil {
			t.Fatal(err)
		}
		if s := l.p.producers; s.active.Load() || s.known != nil || s.unsaved.Load() != 0 {
			t.Errorf("a plain batch is remembered: %+v", s)
		}
		l.end(true)
		if names := snapshots(t, fsys); names != nil {
			t.Errorf("snapshots %v, want none", names)
		}
	}
}

// However the process ends, the last five batches are known after it, with the
// offsets that they had, and what comes next is held against them.
func TestRepeatedAcrossRestart(t *testing.T) {
	for how, again := range map[string]func(*disk.Crash, *life) *disk.Crash{
		"stop":     func(c *disk.Crash, l *life) *disk.Crash { l.end(true); return c },
		"kill":     func(c *disk.Crash, l *life) *disk.Crash { next := c.Kill(); l.end(false); return next },
		"powerCut": func(c *disk.Crash, l *life) *disk.Crash { next := c.Restart(3); l.end(false); return next },
		"killAfterSaving": func(c *disk.Crash, l *life) *disk.Crash {
			l.p.producers.save()
			next := c.Kill()
			l.end(false)
			return next
		},
	} {
		t.Run(how, func(t *testing.T) {
			fsys := disk.NewCrash(1)
			l := mustLive(t, fsys)
			l.put(batch(4, 0))
			for i := range int32(7) {
				l.mustPut(t, sent(5, 2, 3*i, 3), int64(4+3*i))
				if i == 3 {
					l.p.producers.save()
				}
			}
			fsys = again(fsys, l)
			l = mustLive(t, fsys)
			for i := int32(2); i < 7; i++ {
				l.mustPut(t, sent(5, 2, 3*i, 3), int64(4+3*i))
			}
			l.mustRefuse(t, sent(5, 2, 3, 3), ErrOutOfOrderSequence)
			l.mustRefuse(t, sent(5, 2, 24, 3), ErrOutOfOrderSequence)
			l.mustRefuse(t, sent(5, 1, 21, 3), ErrProducerEpoch)
			l.mustPut(t, sent(5, 2, 21, 3), 25)
			l.end(true)
		})
	}
}

// Power cuts and kills at every operation, while a producer sends again what was
// not acknowledged: its records are all there, once each, in order.
func TestCrashAnywhere(t *testing.T) {
	for seed := range uint64(120) {
		fsys, client := disk.NewCrash(seed), &sender{}
		for life := range 6 {
			fsys.CrashAt(int(seed+1) * (life + 1) % 90)
			if l, err := live(fsys, commitlog.Sync, DefaultProducerLimits()); err == nil {
				client.run(t, l)
				l.end(seed%3 == 0)
			}
			if (seed+uint64(life))%2 == 0 {
				fsys = fsys.Kill()
			} else {
				fsys = fsys.Restart(seed + uint64(life))
			}
		}
		l := mustLive(t, fsys)
		for client.acked < client.next {
			client.send(t, l, 0)
		}
		checkOnce(t, l, client.next, fmt.Sprintf("seed %d", seed))
		l.end(true)
	}
}

// sender is a client with up to five batches in flight, of one record each.
type sender struct{ acked, next int32 } // sequence numbers

// run sends until the power goes.
func (c *sender) run(t *testing.T, l *life) {
	for i := 0; i < 12; i++ {
		if i == 3 || i == 8 {
			l.p.producers.save() // may fail, as everything may
		}
		if i == 5 {
			l.p.Append(batch(2, 0)) // of another, that is not idempotent
		}
		if !c.send(t, l, 5) {
			return
		}
	}
}

// send sends what was not acknowledged again, then more, and waits for all.
func (c *sender) send(t *testing.T, l *life, window int32) bool {
	t.Helper()
	c.next = max(c.next, c.acked+window)
	results := make(chan error, keptBatches)
	sentNow := 0
	for sequence := c.acked; sequence < c.next; sequence++ {
		_, nextOffset, err := l.p.Append(sent(1, 0, sequence, 1))
		if errors.Is(err, ErrOutOfOrderSequence) || errors.Is(err, ErrProducerEpoch) {
			t.Fatalf("sequence %d: %v", sequence, err)
		}
		if err != nil {
			break
		}
		sentNow++
		l.p.Await(nextOffset, func(err error) { results <- err })
	}
	ok := sentNow == int(c.next-c.acked)
	for range sentNow {
		if err := <-results; err != nil {
			ok = false
		} else if ok {
			c.acked++ // they are told in order
		}
	}
	return ok
}

// checkOnce holds that producer 1 has the sequences up to end, once each and in
// order.
func checkOnce(t *testing.T, l *life, end int32, what string) {
	t.Helper()
	want := int32(0)
	for at := int64(0); at < l.p.log.EndOffset(); {
		f, err := l.p.Read(at, 1<<20, true)
		if err != nil || len(f.Records.Bytes) == 0 {
			t.Fatalf("%s: read at %d: %d bytes, %v", what, at, len(f.Records.Bytes), err)
		}
		for rest := f.Records.Bytes; len(rest) > 0; {
			var b record.Batch
			if b, rest, err = record.Next(rest); err != nil {
				t.Fatal(err)
			}
			at = b.NextOffset()
			if b.ProducerID() != 1 {
				continue
			}
			if b.BaseSequence() != want {
				t.Fatalf("%s: offset %d holds sequence %d, want %d", what, b.BaseOffset(), b.BaseSequence(), want)
			}
			want++
		}
	}
	if want != end {
		t.Fatalf("%s: %d records, want %d", what, want, end)
	}
}

// The same batch from two connections at the same time is there once, and both
// are told where.
func TestRepeatedAtOnce(t *testing.T) {
	l := mustLive(t, disk.NewCrash(1))
	defer l.end(true)
	for i := range int32(200) {
		var offsets [4]int64
		var sending sync.WaitGroup
		for j := range offsets {
			sending.Go(func() {
				var err error
				if offsets[j], err = l.put(sent(1, 0, i, 1)); err != nil {
					t.Error(err)
				}
			})
		}
		sending.Wait()
		if want := [4]int64{int64(i), int64(i), int64(i), int64(i)}; offsets != want {
			t.Fatalf("told %v, want %v", offsets, want)
		}
	}
	checkOnce(t, l, 200, "four at once")
}

// A repetition is acknowledged when the batch that it repeats is durable, not
// before.
func TestRepeatedIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		p := b.partition(t)
		acked := 0
		for range 2 {
			p.Await(appendTo(t, p, sent(5, 0, 0, 3)), func(err error) {
				if err != nil {
					t.Error(err)
				}
				acked++
			})
		}
		synctest.Wait()
		if acked != 0 {
			t.Errorf("%d acks before the sync", acked)
		}
		b.leave <- nil
		synctest.Wait()
		if acked != 2 || p.log.EndOffset() != 3 {
			t.Errorf("%d acks, end %d; want 2 and 3", acked, p.log.EndOffset())
		}
	})
}

func TestInvalidProducer(t *testing.T) {
	l := mustLive(t, disk.NewCrash(1))
	defer l.end(true)
	l.mustRefuse(t, sent(5, -1, 0, 1), record.ErrInvalid)
	l.mustRefuse(t, sent(5, 0, -1, 1), record.ErrInvalid)
	if l.p.producers.active.Load() {
		t.Error("a batch that was refused is remembered")
	}
}

// Who appended longest ago makes room, and is taken at any sequence number again.
func TestTooManyProducers(t *testing.T) {
	fsys := disk.NewCrash(1)
	limits := DefaultProducerLimits()
	limits.Max = 3
	l, err := live(fsys, commitlog.Sync, limits)
	if err != nil {
		t.Fatal(err)
	}
	for i, producer := range []int64{1, 2, 3, 1, 4} { // 4 takes the place of 2
		l.mustPut(t, sent(producer, 0, int32(i/3), 1), int64(i))
	}
	if got, want := l.ProducerCounts(), (ProducerCounts{Known: 3, OverLimit: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	l.mustRefuse(t, sent(1, 0, 7, 1), ErrOutOfOrderSequence)
	l.mustPut(t, sent(2, 0, 7, 1), 5)
	l.end(true)

	limits.Max = 2 // what was saved under another limit
	if l, err = live(fsys, commitlog.Sync, limits); err != nil {
		t.Fatal(err)
	}
	if got := l.ProducerCounts(); got.Known != 2 || got.OverLimit != 1 {
		t.Errorf("after the restart: %+v, want 2 known and 1 dropped", got)
	}
	l.end(true)
}

// A producer that is silent for a day is forgotten; with the last of them go the
// snapshots. The wall clock has no part in it.
func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := disk.NewCrash(1)
		l := mustLive(t, fsys)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.RunProducers(ctx) })
		l.mustPut(t, sent(1, 0, 0, 1), 0)
		time.Sleep(20 * time.Hour)
		l.mustPut(t, sent(2, 0, 0, 1), 1)
		time.Sleep(5 * time.Hour)
		if got, want := l.ProducerCounts(), (ProducerCounts{Known: 1, Expired: 1}); got != want {
			t.Errorf("after 25 h: %+v, want %+v", got, want)
		}
		time.Sleep(20 * time.Hour)
		if got, want := l.ProducerCounts(), (ProducerCounts{Expired: 2}); got != want {
			t.Errorf("after 45 h: %+v, want %+v", got, want)
		}
		if names := snapshots(t, fsys); len(names) != 0 || l.p.producers.active.Load() {
			t.Errorf("with no producer left: %v", names)
		}
		l.mustPut(t, sent(2, 0, 9, 1), 2)
		if names := snapshots(t, fsys); len(names) != 1 {
			t.Errorf("with a producer again: %v", names)
		}
		stop()
		running.Wait()
		l.end(true)
	})
}

// Snapshots are taken as the log grows, and old ones go.
func TestSnapshotsAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := disk.NewCrash(1)
		l := mustLive(t, fsys)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.RunProducers(ctx) })
		time.Sleep(rememberEvery / 2) // no append meets a look: what is not durable yet keeps the snapshot before
		l.mustPut(t, sent(1, 0, 0, 1), 0)
		var bu record.Builder
		for i := range 40 {
			bu.Add(0, nil, make([]byte, 300<<10), nil)
			if _, err := l.put(bu.Batch()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(rememberEvery)
			if unsaved := l.p.producers.unsaved.Load(); unsaved > replayBytes+300<<10 {
				t.Fatalf("after %d batches a start would read %d bytes", i, unsaved)
			}
		}
		synctest.Wait()
		if names := snapshots(t, fsys); len(names) != 1 || names[0] < snapshotName(30) {
			t.Errorf("snapshots %v, want one near the end", names)
		}
		stop()
		running.Wait()
		fsys = fsys.Kill()
		l.end(false)
		l = mustLive(t, fsys)
		l.mustPut(t, sent(1, 0, 0, 1), 0)
		l.end(true)
	})
}

// place puts a file into the partition's directory.
func place(t *testing.T, fsys disk.FS, name string, data []byte) {
	t.Helper()
	if err := disk.WriteFile(fsys, filepath.Join("/data/press-0", name), data); err != nil {
		t.Fatal(err)
	}
}

// A snapshot beyond the log's end is of records that are no more: it is not
// believed, and gone before other records have their offsets.
func TestSnapshotBeyondTheEnd(t *testing.T) {
	for _, first := range []bool{true, false} { // is there another one?
		fsys := disk.NewCrash(1)
		l := mustLive(t, fsys)
		l.mustPut(t, sent(1, 0, 0, 1), 0)
		l.end(true)
		lost := &history{}
		lost.add(0, mark{lastOffset: 9, lastSequence: 9})
		place(t, fsys, snapshotName(10), encodeSnapshot(map[int64]*history{1: lost}))
		if !first {
			for _, name := range snapshots(t, fsys) {
				if name != snapshotName(10) {
					fsys.Remove("/data/press-0/" + name)
				}
			}
		}
		l = mustLive(t, fsys)
		if names, want := snapshots(t, fsys), []string{snapshotName(1)}; !slices.Equal(names, want) {
			t.Errorf("snapshots %v, want %v", names, want)
		}
		l.mustRefuse(t, sent(1, 0, 10, 1), ErrOutOfOrderSequence)
		l.mustPut(t, sent(1, 0, 0, 1), 0)
		for i := int32(1); i < 20; i++ {
			l.mustPut(t, sent(1, 0, i, 1), int64(i))
		}
		fsys = fsys.Kill()
		l.end(false)
		l = mustLive(t, fsys)
		l.mustPut(t, sent(1, 0, 20, 1), 20)
		l.end(true)
	}
}

// Without a good snapshot the log tells all of it.
func TestDamagedSnapshot(t *testing.T) {
	fsys := disk.NewCrash(1)
	l := mustLive(t, fsys)
	for i := range int32(8) {
		l.mustPut(t, sent(1, 0, i, 1), int64(i))
	}
	l.end(true)
	for _, name := range snapshots(t, fsys) {
		place(t, fsys, name, []byte("no snapshot"))
	}
	l = mustLive(t, fsys)
	if names, want := snapshots(t, fsys), []string{snapshotName(8)}; !slices.Equal(names, want) {
		t.Errorf("snapshots %v, want %v", names, want)
	}
	if data, err := disk.ReadFile(fsys, "/data/press-0/"+snapshotName(8), 1<<20); err != nil || bytes.Equal(data, []byte("no snapshot")) {
		t.Errorf("the damaged one is still there: %q, %v", data, err)
	}
	l.mustPut(t, sent(1, 0, 4, 1), 4)
	l.mustPut(t, sent(1, 0, 8, 1), 8)
	l.end(true)
}

// fullFS has no room for snapshots.
type fullFS struct {
	disk.FS
	full bool
}

func (f *fullFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if f.full && strings.Contains(name, snapshotExt) && flag&os.O_CREATE != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
	}
	return f.FS.OpenFile(name, flag, perm)
}

// On a full disk a producer's first batch is refused as any other is, and a
// partition starts all the same.
func TestFullDisk(t *testing.T) {
	fsys := &fullFS{FS: disk.NewCrash(1), full: true}
	l := mustLive(t, fsys)
	l.mustRefuse(t, sent(1, 0, 0, 1), commitlog.ErrFull)
	fsys.full = false
	l.mustPut(t, sent(1, 0, 0, 1), 0)
	l.end(true)
	for _, name := range snapshots(t, fsys) {
		place(t, fsys, name, []byte("no snapshot"))
	}
	fsys.full = true
	l = mustLive(t, fsys)
	l.mustPut(t, sent(1, 0, 0, 1), 0)
	l.mustPut(t, sent(1, 0, 1, 1), 1)
	l.end(true)
	fsys.full = false
	l = mustLive(t, fsys)
	l.mustPut(t, sent(1, 0, 1, 1), 1)
	l.end(true)
}

// gapLog is a log of batches, between which some are missing.
type gapLog struct {
	batches
	stored []record.Batch
	end    int64
	fail   error
}

func (l *gapLog) StartOffset() int64 { return 0 }
func (l *gapLog) EndOffset() int64   { return l.end }

func (l *gapLog) Read(fromOffset, _ int64, _ int, _ bool) ([]byte, error) {
	for _, b := range l.stored {
		if b.NextOffset() > fromOffset {
			return b, nil
		}
	}
	return nil, l.fail
}

// Where the log lost batches, nothing is known of those who may have sent them:
// they are not held to a sequence number that is long past.
func TestReplayOverAGap(t *testing.T) {
	at := func(b record.Batch, offset int64) record.Batch { b.Stamp(offset, 0); return b }
	stored := []record.Batch{at(sent(1, 0, 0, 2), 0), at(sent(2, 0, 0, 2), 2), at(sent(2, 0, 9, 1), 10)}
	for name, tc := range map[string]struct {
		log  gapLog
		want map[int64]int32 // last sequence by producer
	}{
		"whole":      {gapLog{stored: stored[:2], end: 4}, map[int64]int32{1: 1, 2: 1}},
		"gap":        {gapLog{stored: stored, end: 11}, map[int64]int32{2: 9}},
		"gapAtEnd":   {gapLog{stored: stored[:2], end: 8}, map[int64]int32{}},
		"unreadable": {gapLog{stored: stored[:2], end: 8, fail: errors.New("input/output error")}, map[int64]int32{}},
	} {
		s := &producers{log: &tc.log, limits: DefaultProducerLimits(), dropped: &droppedProducers{}, logger: slog.New(slog.DiscardHandler), known: map[int64]*producer{}}
		s.replay(0)
		got := map[int64]int32{}
		for id, who := range s.known {
			last, _ := who.last()
			got[id] = last.lastSequence
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestSuperfluous(t *testing.T) {
	for name, tc := range map[string]struct {
		snapshots  []int64
		durableEnd int64
		want       []int64
	}{
		"allDurable":   {[]int64{1, 5, 9}, 9, []int64{1, 5}},
		"newestIsNot":  {[]int64{1, 5, 9}, 8, []int64{1}},
		"onlyTheFirst": {[]int64{1, 5, 9}, 4, nil},
		"none":         {[]int64{5}, 4, nil},
	} {
		if got := superfluous(tc.snapshots, tc.durableEnd); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// What is written for a partition that is deleted does not land in the next one of
// its name.
func TestDeletedIsNotSaved(t *testing.T) {
	fsys := disk.NewCrash(1)
	l := mustLive(t, fsys)
	defer func() { l.end(true) }()
	l.mustPut(t, sent(1, 0, 0, 1), 0)
	old := l.p
	if err := l.Delete("press", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Open("press", 0, topic.NewID(), topic.Defaults()); err != nil {
		t.Fatal(err)
	}
	if err := old.producers.save(); err != nil {
		t.Error(err)
	}
	if _, _, err := old.producers.append(sent(2, 0, 0, 1), 1); !errors.Is(err, commitlog.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if names := snapshots(t, fsys); len(names) != 0 {
		t.Errorf("snapshots %v in a new partition", names)
	}
}
