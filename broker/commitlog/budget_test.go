package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
)

func TestOldestToFit(t *testing.T) {
	at := func(minute int) time.Duration { return time.Duration(minute) * time.Minute }
	all := func() []candidate {
		return []candidate{{bytes: 10, lastAppend: at(3)}, {bytes: 20, lastAppend: at(5)}, {bytes: 30, lastAppend: at(1)}, {bytes: 40, lastAppend: at(5)}}
	}
	for name, tc := range map[string]struct {
		need int64
		want []int64
	}{
		"oldest":   {1, []int64{30}},
		"exactly":  {30, []int64{30}},
		"next":     {31, []int64{30, 10}},
		"inOrder":  {41, []int64{30, 10, 20}}, // of two of one age, the first listed
		"all":      {100, []int64{30, 10, 20, 40}},
		"tooMuch":  {101, nil},
		"farToBig": {1 << 40, nil},
	} {
		var got []int64
		for _, c := range oldestToFit(all(), tc.need) {
			got = append(got, c.bytes)
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %v go, want %v", name, got, tc.want)
		}
	}
}

// boxed are logs of small segments under one budget.
func boxed(t *testing.T, budget int64, settings ...Settings) (d *running, logs []*watched) {
	t.Helper()
	d = start(t, disk.NewCrash(0), Options{Budget: budget})
	for i, s := range settings {
		logs = append(logs, d.mustOpen(t, fmt.Sprintf("t-%d", i), s))
	}
	return d, logs
}

var (
	drops = Settings{SegmentBytes: 1000, RetentionBytes: -1, Retention: -1}
	keeps = Settings{SegmentBytes: 1000, RetentionBytes: -1, Retention: -1, KeepWhenFull: true}
)

// The oldest segments go first, whatever log they are of, and no more than needed.
func TestBudgetDropsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := int64(len(newBatch(1, 0, 400, 'x')))
		d, logs := boxed(t, 12*size, drops, drops, drops)
		write := func(log int) {
			t.Helper()
			b := newBatch(1, 0, 400, 'x')
			logs[log].mustAppend(t, b)
			time.Sleep(time.Second)
			if used := d.budget.used.Load(); used > 12*size || used != logs[0].Size()+logs[1].Size()+logs[2].Size() {
				t.Fatalf("%d bytes are counted of %d, and the logs hold %d, %d, %d", used, 12*size, logs[0].Size(), logs[1].Size(), logs[2].Size())
			}
		}
		starts := func(want ...int64) {
			t.Helper()
			for i, l := range logs {
				if l.StartOffset() != want[i] {
					t.Errorf("log %d starts at %d, want %d", i, l.StartOffset(), want[i])
				}
			}
		}
		for _, log := range []int{1, 1, 1, 0, 0, 0, 0, 1, 2, 0, 1, 0} { // two a segment
			write(log)
		}
		starts(0, 0, 0)
		write(2)
		starts(0, 2, 0) // log 1 wrote its first segment before the others theirs
		write(0)
		starts(0, 2, 0)
		write(2)
		starts(2, 2, 0)
		for range 9 {
			write(0)
		}
		starts(6, 5, 2) // log 1's active segment was the oldest once
		if got := testutil.ToFloat64(d.metrics.droppedRecords.WithLabelValues("budget")); got != 6+5+2 {
			t.Errorf("%v records counted as dropped, want 13", got)
		}
		if got := testutil.ToFloat64(d.metrics.droppedBytes.WithLabelValues("budget")); got != float64(13*size) {
			t.Errorf("%v bytes counted as dropped, want %d", got, 13*size)
		}
	})
}

// What keeps its records refuses more when nothing else may go, loses none, and
// goes on by itself once there is room.
func TestBudgetRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := func() []byte { return newBatch(1, 0, 400, 'x') }
		size := int64(len(b()))
		d, logs := boxed(t, 10*size, keeps, drops)
		for range 6 {
			logs[1].mustAppend(t, b())
		}
		for range 10 { // pushes out the other log's, all of them
			logs[0].mustAppend(t, b())
		}
		if logs[1].Size() != 0 || logs[0].StartOffset() != 0 || logs[0].Size() != 10*size {
			t.Fatalf("%d bytes of the one that drops, %d from offset %d of the one that keeps", logs[1].Size(), logs[0].Size(), logs[0].StartOffset())
		}
		before := everything(t, logs[0].Log)
		for i := range 100 {
			if _, err := logs[i%2].Append(b(), 1); !errors.Is(err, ErrFull) {
				t.Fatalf("append to a full box: %v, want ErrFull", err)
			}
		}
		if !bytes.Equal(before, everything(t, logs[0].Log)) || d.budget.used.Load() != 10*size {
			t.Errorf("refused appends changed what there is: %d bytes counted", d.budget.used.Load())
		}
		if got := testutil.ToFloat64(d.metrics.refusedAppends); got != 100 {
			t.Errorf("%v appends counted as refused, want 100", got)
		}

		for name, makeRoom := range map[string]func(){
			"retention": func() {
				s := keeps
				s.RetentionBytes = 5 * size
				logs[0].Configure(s)
				must(logs[0].Retain(logs[0].EndOffset()))
			},
			"policy": func() { logs[0].Configure(drops); time.Sleep(refusalHolds) },
		} {
			makeRoom()
			if _, err := logs[0].Append(b(), 1); err != nil {
				t.Errorf("%s: still refused: %v", name, err)
			}
			logs[0].Configure(keeps)
			for err := error(nil); err == nil; _, err = logs[0].Append(b(), 1) { // fills it again
			}
		}
		if err := d.DeleteLog("t-0"); err != nil || d.budget.used.Load() != 0 {
			t.Errorf("%v; %d bytes are counted after the deletion of all, want none", err, d.budget.used.Load())
		}
		logs[1].mustAppend(t, b())
	})
}

// A batch that the box cannot hold pushes nothing out; nor does one for which what
// may go is not enough.
func TestBudgetDropsNothingInVain(t *testing.T) {
	size := int64(len(newBatch(1, 0, 400, 'x')))
	_, logs := boxed(t, 10*size, keeps, drops)
	for range 7 {
		logs[0].mustAppend(t, newBatch(1, 0, 400, 'x'))
	}
	logs[1].mustAppend(t, newBatch(1, 0, 400, 'x'))
	for _, valueBytes := range []int{2000, 5000} {
		if _, err := logs[1].Append(newBatch(1, 0, valueBytes, 'x'), 1); !errors.Is(err, ErrFull) || logs[1].Size() != size {
			t.Errorf("a batch of %d: %v, and %d bytes are left, want ErrFull and %d", valueBytes, err, logs[1].Size(), size)
		}
	}
}

// segmentBytes is a disk that counts the bytes of segments on it.
type segmentBytes struct {
	*faulty
	mu         sync.Mutex // guards both below
	held, most int64
}

func newSegmentBytes() *segmentBytes {
	d := &segmentBytes{faulty: &faulty{FS: disk.NewCrash(0)}}
	d.onWrite = func(name string, p []byte) (int, error) {
		if filepath.Ext(name) == logExt {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.held += int64(len(p))
			d.most = max(d.most, d.held)
		}
		return 0, nil
	}
	return d
}

func (d *segmentBytes) Remove(name string) error {
	if info, err := d.Stat(name); err == nil && filepath.Ext(name) == logExt {
		d.mu.Lock()
		d.held -= info.Size()
		d.mu.Unlock()
	}
	return d.faulty.Remove(name)
}

// Together, many writers never go over the budget, and all of them go on. What they
// hold is counted on the disk: the logs' sizes cannot be read all at one moment.
func TestBudgetTogether(t *testing.T) {
	const limit = 40_000
	fsys := newSegmentBytes()
	d := start(t, fsys, Options{Budget: limit})
	var logs []*watched
	for i := range 4 {
		logs = append(logs, d.mustOpen(t, fmt.Sprintf("t-%d", i), drops))
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 300 {
				if _, err := logs[i%4].Append(newBatch(1, 0, 100, 'x'), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	held := logs[0].Size() + logs[1].Size() + logs[2].Size() + logs[3].Size()
	if fsys.most > limit || held != d.budget.used.Load() || held != fsys.held {
		t.Errorf("%d bytes held at most, %d allowed; %d are held in the end, %d on the disk, %d counted", fsys.most, limit, held, fsys.held, d.budget.used.Load())
	}
}

// A segment whose age says that it is older than those before it in its log does
// not go first, and so does not have appends refused.
func TestBudgetGoesByOrderBeforeAge(t *testing.T) {
	size := int64(len(newBatch(1, 0, 400, 'x')))
	d, logs := boxed(t, 6*size, drops)
	l := logs[0]
	for range 6 { // two a segment
		l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	}
	segments := l.view.Load().segments
	l.mu.Lock()
	segments[1].lastAppend, segments[2].lastAppend = 1, 0
	l.mu.Unlock()
	l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	if l.StartOffset() != 2 || d.budget.used.Load() != 5*size {
		t.Errorf("the log starts at %d and %d bytes are counted, want 2 and %d", l.StartOffset(), d.budget.used.Load(), 5*size)
	}
}

// Who looks for room while appends go on sees no bytes without their age: they would
// be the oldest, and go first.
func TestBudgetSeesAges(t *testing.T) {
	_, logs := boxed(t, 0, Settings{SegmentBytes: 200, RetentionBytes: 1000, Retention: -1}) // a batch a segment
	l, done := logs[0], make(chan struct{})
	go func() {
		defer close(done)
		for range 3000 {
			if _, err := l.Append(newBatch(1, 0, 100, 'x'), 1); err != nil {
				t.Error(err)
				return
			}
			if _, err := l.Retain(l.EndOffset()); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	ageless := 0
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		l.mu.Lock()
		if s := l.view.Load().active(); s.size.Load() > 0 && s.lastAppend == 0 {
			ageless++
		}
		l.mu.Unlock()
	}
	if ageless > 0 {
		t.Errorf("seen %d times: a segment that holds bytes and has no age", ageless)
	}
}

// What is found at the start counts, and a budget that has become smaller is kept
// by the next append.
func TestBudgetAfterRestart(t *testing.T) {
	fsys := disk.NewCrash(0)
	d := must(run(fsys, "data", Options{}))
	l := d.mustOpen(t, "t-0", drops)
	for range 20 {
		l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	held := l.Size()
	d = must(run(fsys, "data", Options{Budget: held / 2}))
	defer d.stop()
	l = d.mustOpen(t, "t-0", drops)
	if d.budget.used.Load() != held || l.StartOffset() != 0 {
		t.Errorf("%d bytes counted from offset %d, want %d from 0", d.budget.used.Load(), l.StartOffset(), held)
	}
	l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	if l.Size() > held/2 || l.EndOffset() != 21 {
		t.Errorf("%d bytes to offset %d, want at most %d to 21", l.Size(), l.EndOffset(), held/2)
	}
}

// roomy is a file system that tells how much room there is.
type roomy struct {
	disk.FS
	free int64
}

func (r roomy) Free(string) (int64, error) { return r.free, nil }

// The automatic budget counts what is free and what is ours, so that it is the
// same after each start.
func TestAutoBudget(t *testing.T) {
	if got := autoBudget(700, 300); got != 900 {
		t.Errorf("700 free and 300 held: %d, want 900", got)
	}
	fsys := roomy{disk.NewCrash(0), 1_000_000}
	d, err := OpenDir("data", Options{FS: fsys, Budget: BudgetAuto})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.OpenLog("t-0", topicA, drops); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Run(ctx); err != nil || d.budget.limit.Load() != 900_000 {
		t.Errorf("%v; budget %d, want 900000", err, d.budget.limit.Load())
	}
}

// smallDisk has room for so many bytes of batches; what is removed makes room.
type smallDisk struct {
	*faulty
	room atomic.Int64
}

func newSmallDisk(room int64) *smallDisk {
	d := &smallDisk{faulty: &faulty{FS: disk.NewCrash(0)}}
	d.room.Store(room)
	d.onWrite = func(name string, p []byte) (int, error) {
		if left := d.room.Add(-int64(len(p))); left < 0 {
			d.room.Add(int64(len(p)))
			return min(len(p)/2, int(left)+len(p)), errNoSpace
		}
		return 0, nil
	}
	return d
}

func (d *smallDisk) Remove(name string) error {
	if info, err := d.Stat(name); err == nil {
		d.room.Add(info.Size())
	}
	return d.faulty.Remove(name)
}

// A file system that is full before the budget is: old segments go all the same,
// if they may, and what may not go is refused.
func TestFullDiskDropsOldest(t *testing.T) {
	fsys := newSmallDisk(20_000)
	d := start(t, fsys, Options{Budget: 1 << 30})
	l := d.mustOpen(t, "t-0", drops)
	for range 200 {
		l.mustAppend(t, newBatch(1, 0, 400, 'x'))
	}
	if err := l.await(200); err != nil {
		t.Fatal(err)
	}
	if dropped := testutil.ToFloat64(d.metrics.droppedRecords.WithLabelValues("disk_full")); int64(dropped) != l.StartOffset() || dropped == 0 {
		t.Errorf("%v records counted as dropped, and the log starts at %d", dropped, l.StartOffset())
	}
	l.Configure(keeps)
	var err error
	for err == nil {
		_, err = l.Append(newBatch(1, 0, 400, 'x'), 1)
	}
	start, end, held := l.StartOffset(), l.EndOffset(), d.budget.used.Load()
	if _, err := l.Append(newBatch(1, 0, 4000, 'x'), 1); !errors.Is(err, ErrFull) {
		t.Errorf("append to a full disk: %v, want ErrFull", err)
	}
	if l.StartOffset() != start || l.EndOffset() != end || d.budget.used.Load() != held || held != l.Size() {
		t.Errorf("refused, and the log went from %d-%d to %d-%d; %d bytes counted, %d held", start, end, l.StartOffset(), l.EndOffset(), held, l.Size())
	}
	everything(t, l.Log)
	fsys.room.Add(10_000)
	if got := l.mustAppend(t, newBatch(1, 0, 400, 'x')); got != end {
		t.Errorf("with room again: appended at %d, want %d", got, end)
	}
}

// The disk is full at the k-th write to it, once or from then on, for each k. No
// log goes off line, nothing that was durable is lost, and with room again the log
// goes on.
func TestFullDiskAtEveryWrite(t *testing.T) {
	for _, lasting := range []bool{false, true} {
		for k := int64(0); ; k++ {
			if writes := fullAt(t, k, lasting); writes <= k {
				if k < 30 {
					t.Errorf("only %d writes were made", writes)
				}
				break
			}
		}
	}
}

func fullAt(t *testing.T, k int64, lasting bool) (writes int64) {
	what := fmt.Sprintf("full at write %d, lasting %v", k, lasting)
	var made atomic.Int64
	var full, emptied atomic.Bool
	crash := disk.NewCrash(0)
	fsys := &faulty{FS: crash, onWrite: func(_ string, p []byte) (int, error) {
		if n := made.Add(1) - 1; !emptied.Load() && (n == k || full.Load()) {
			full.Store(lasting)
			return len(p) / 2, errNoSpace
		}
		return 0, nil
	}}
	d, err := run(fsys, "data", Options{})
	if err != nil {
		return made.Load() // it has no identity yet, and could not have one
	}
	defer d.stop()
	l, err := d.open("t-0", topicA, keeps)
	if err != nil {
		if !noSpace(err) {
			t.Fatalf("%s: %v", what, err)
		}
		return made.Load()
	}
	end := int64(0)
	add := func() error {
		_, err := l.Append(newBatch(1, 0, 400, byte(end)), 1)
		if err == nil {
			end++
			err = l.await(end)
		} else if !errors.Is(err, ErrFull) {
			t.Fatalf("%s: %v", what, err)
		}
		return err
	}
	for range 20 {
		_ = add()
	}
	emptied.Store(true)
	full.Store(false)
	for range 5 {
		if err := add(); err != nil {
			t.Fatalf("%s: with room again: %v", what, err)
		}
	}
	if l.EndOffset() != end || len(everything(t, l.Log)) != int(end)*len(newBatch(1, 0, 400, 0)) {
		t.Fatalf("%s: the log ends at %d, want %d", what, l.EndOffset(), end)
	}
	if err := d.stop(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	d2, err := run(crash, "data", Options{})
	if err != nil {
		t.Fatalf("%s: restart: %v", what, err)
	}
	defer d2.stop()
	if l := d2.mustOpen(t, "t-0", keeps); l.EndOffset() != end {
		t.Fatalf("%s: after a restart the log ends at %d, want %d", what, l.EndOffset(), end)
	}
	return made.Load()
}

// Of a burst one line tells that it began, and one what it came to.
func TestBurstIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		d := start(t, disk.NewCrash(0), Options{Budget: 5000, Log: slog.New(slog.NewTextHandler(&lines, nil))})
		l := d.mustOpen(t, "t-0", drops)
		told := func(want int) {
			t.Helper()
			d.Tidy()
			if got := bytes.Count(lines.Bytes(), []byte("dropped")); got != want {
				t.Errorf("%d lines, want %d:\n%s", got, want, &lines)
			}
		}
		for range 100 {
			l.mustAppend(t, newBatch(1, 0, 400, 'x'))
		}
		told(1)
		time.Sleep(burstPause)
		told(2)
		if want := fmt.Sprintf("segments=%d", l.StartOffset()/2); !bytes.Contains(lines.Bytes(), []byte(want)) {
			t.Errorf("want %s in\n%s", want, &lines)
		}
		time.Sleep(burstPause)
		told(2)
		for range 120 { // a long one
			l.mustAppend(t, newBatch(1, 0, 400, 'x'))
			time.Sleep(burstPause / 4)
			d.Tidy()
		}
		told(2 + 1 + 3)
	})
}

// sized is a disk that tells its size and what is free.
type sized struct{ roomy }

func (s sized) Capacity(string) (int64, error) { return 5000, nil }

// A directory tells what its file system tells, and -1 for what it does not.
func TestVolume(t *testing.T) {
	for name, tc := range map[string]struct {
		fsys     disk.FS
		capacity int64
		free     int64
	}{
		"both":    {sized{roomy{disk.NewCrash(0), 300}}, 5000, 300},
		"free":    {roomy{disk.NewCrash(0), 300}, -1, 300},
		"neither": {disk.NewCrash(0), -1, -1},
	} {
		d := must(OpenDir("data", Options{FS: tc.fsys}))
		if capacity, free := d.Volume(); capacity != tc.capacity || free != tc.free {
			t.Errorf("%s: %d bytes, %d free; want %d, %d", name, capacity, free, tc.capacity, tc.free)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
