package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// story is what was done to one log, and what of it must be found later.
type story struct {
	topicID  string
	settings Settings
	batches  []record.Batch          // appended, or at least begun, in order; of a compacted log what is gone, too
	times    map[int64]time.Duration // by base offset, when they were, in the world's time
	keys     keyStory                // of a compacted log
	maxEnd   int64                   // that follows the last batch that may be found
	durable  int64                   // told to be
	minStart int64                   // that was shown, or answered
	maxStart int64                   // as far as retention and deletion have got
	emptyAt  int64                   // it may be empty, and start here; -1: it may not
	epoch    int32                   // that the next append is of
	kept     int32                   // the latest of what is durable, or was; -1
	begun    bool                    // OpenLog was called
	made     bool                    // OpenLog returned
	ending   bool                    // DeleteLog was called
}

// settled notes that all before end is there to stay.
func (s *story) settled(end int64) {
	for _, b := range s.batches {
		if b.NextOffset() <= end {
			s.kept = max(s.kept, b.LeaderEpoch())
		}
	}
	s.durable = max(s.durable, end)
}

// world is a disk, and what must be on it.
type world struct {
	t        *testing.T
	what     string // which run this is, for failures
	fs       *disk.Crash
	clock    *fakeClock
	unsaved  time.Duration // that the age clock has lost
	policy   Policy
	options  Options
	cleaner  CleanerOptions
	settings map[string]Settings // of the logs
	stories  map[string][]*story // by log, the latest last
	rng      *rand.Rand
	ids      int
	crashes  int
	byHand   bool     // nothing runs beside the test, so that a seed is one history
	trace    []string // what a history came to, life by life
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s: %s", w.what, fmt.Sprintf(format, args...))
}

func (w *world) story(name string) *story {
	all := w.stories[name]
	if len(all) == 0 || all[len(all)-1].ending {
		w.ids++
		w.stories[name] = append(all, &story{
			topicID: fmt.Sprintf("%020dAA", w.ids), kept: -1, emptyAt: -1, settings: w.settings[name], times: map[int64]time.Duration{}, keys: newKeyStory(),
		})
	}
	all = w.stories[name]
	return all[len(all)-1]
}

// names are the logs' names.
func (w *world) names() []string { return slices.Sorted(maps.Keys(w.settings)) }

var (
	crashSettings  = Settings{SegmentBytes: 500, RetentionBytes: 1200, Retention: -1}
	agingSettings  = Settings{SegmentBytes: 500, SegmentAge: 12 * time.Hour, RetentionBytes: -1, Retention: 8 * time.Hour}
	keyedSettings  = Settings{SegmentBytes: 500, RetentionBytes: -1, Retention: -1, KeepWhenFull: true, Compact: true, DeleteRetention: 4 * time.Hour}
	keyedAndAging  = Settings{SegmentBytes: 600, RetentionBytes: -1, Retention: 8 * time.Hour, Compact: true, DeleteRetention: 2 * time.Hour, MinCompactionLag: time.Hour}
	keyedAndShort  = Settings{SegmentBytes: 600, RetentionBytes: 900, Retention: -1, Compact: true, MinDirtyRatio: 0.3, MaxCompactionLag: time.Hour}
	crashKeyMemory = []int64{slotBytes * 6, 1 << 20} // the first is full after a few keys
)

// start opens the data directory for a process.
func (w *world) start() (*running, error) {
	o := w.options
	o.Policy, o.BrokerID, o.Clock = w.policy, 1, w.clock
	if !w.byHand {
		return run(w.fs, "data", o)
	}
	o.FS = w.fs
	d, err := OpenDir("data", o)
	if err != nil {
		return nil, err
	}
	if now := d.clock.now(); now > w.clock.passed()+firstReading {
		w.fatalf("the age clock reads %v, and only %v have passed", now, w.clock.passed())
	}
	return &running{Dir: d, opened: map[string]*watched{}, stop: sync.OnceValue(func() error {
		d.committer.stopping.Store(true)
		d.committer.end()
		d.committer.work()
		return d.Close()
	})}, nil
}

// commit does by hand what the committer has to do.
func (w *world) commit(c *committer) {
	for w.byHand && len(c.ready) > 0 {
		l := c.next()
		l.commit()
		c.done(l)
	}
}

// live runs a process: it goes through everything that writes to the disk, and
// ends at the first error, which only the disk can be the cause of.
func (w *world) live() error {
	d, err := w.start()
	if err != nil {
		return err
	}
	defer d.stop()
	if err := w.work(d, 16); err != nil {
		return err
	}
	if err := d.stop(); err != nil {
		return err
	}
	if d, err = w.start(); err != nil {
		return err
	}
	defer d.stop()
	if err := w.work(d, 8); err != nil {
		return err
	}
	names := w.names()
	name := names[w.rng.IntN(len(names))]
	w.story(name).ending = true
	if err := d.DeleteLog(name); err != nil {
		return err
	}
	if err := w.work(d, 6); err != nil {
		return err
	}
	return d.stop()
}

// work opens the logs and does something to one or the other, so many times.
func (w *world) work(d *running, steps int) error {
	names := w.names()
	for _, name := range names {
		if l := d.opened[name]; l != nil && l.Log == d.find(name) {
			continue
		}
		s := w.story(name)
		s.begun = true
		l, err := d.open(name, s.topicID, s.settings)
		if err != nil {
			return err
		}
		s.made = true
		s.epoch += int32(w.rng.IntN(2)) // a leader of the same epoch goes on, or there is a new one
		w.check(l, s)
	}
	c := NewCleaner(d.Dir, w.cleaner)
	for i := range steps {
		name := names[0]
		if w.rng.IntN(len(names)+1) != 0 {
			name = names[w.rng.IntN(len(names))]
		}
		l, s := d.opened[name], w.story(name)
		if err := w.step(d, c, l, s, i); err != nil {
			return err
		}
		if w.fs.Crashed() { // what need not succeed does not say so
			return disk.ErrCrashed
		}
		w.checkCounts(d)
		if s.minStart = max(s.minStart, l.StartOffset()); w.rng.IntN(8) == 0 && !w.fs.Crashed() {
			w.checkEpochs(l, s)
		}
	}
	return nil
}

// step does one thing to a log, or to all.
func (w *world) step(d *running, c *Cleaner, l *watched, s *story, i int) (err error) {
	switch w.rng.IntN(26) {
	case 0:
		if w.policy == OS {
			l.dir.syncAll()
		}
		return l.dir.checkpoint(true)
	case 1:
		return l.dir.checkpoint(false)
	case 2, 3:
		w.mayGo(s, l.DurableEnd()) // if it is cut off
		_, err = l.Retain(s.durable)
		return err
	case 4:
		return w.deleteBefore(l, s)
	case 5:
		s.epoch += 1 + int32(w.rng.IntN(3))
	case 6:
		w.commit(l.committer)
	case 7:
		d.Tidy()
	case 8:
		return w.pass(d, time.Duration(w.rng.IntN(200))*time.Minute)
	case 9:
		w.setWall()
		if d.clock.look() {
			_ = d.clock.save() // a crash is noticed below
		}
	case 10, 11, 12:
		return w.clean(d, c)
	case 13, 14:
		return w.truncate(l, s)
	case 15:
		return w.reset(l, s)
	case 16, 17, 18:
		return w.appendReplicas(d, l, s, i)
	case 19:
		return w.saveHighWatermarks(d)
	default:
		return w.append(d, l, s, i)
	}
	return nil
}

// pass lets time go by. Of that the age clock saves each minute: if it cannot, what
// is lost may be taken for time that the machine was off, and make records older.
func (w *world) pass(d *running, time time.Duration) error {
	w.clock.pass(time)
	d.clock.look()
	err := d.clock.save()
	if err != nil {
		w.unsaved += time
	}
	return err
}

// waited is how old a record can seem that was there at a time.
func (w *world) waited(since time.Duration) time.Duration {
	return w.clock.passed() - since + w.unsaved
}

// setWall sets the wall clock, right or wrong by years, and reports whether the
// kernel says that it is right.
func (w *world) setWall() (synchronized bool) {
	wrong := []time.Duration{0, 10 * 365 * 24 * time.Hour, -50 * 365 * 24 * time.Hour}[w.rng.IntN(3)]
	synchronized = wrong == 0 && w.rng.IntN(2) == 0
	w.clock.set(w.clock.right().Add(wrong), synchronized)
	return synchronized
}

// mayGo notes what retention may take of a log: by bytes all before end, and by age
// what was appended long enough ago.
func (w *world) mayGo(s *story, end int64) {
	if s.settings.RetentionBytes < 0 {
		aged := s.maxStart
		for _, b := range s.batches {
			if w.waited(s.times[b.BaseOffset()]) > s.settings.Retention && s.settings.Retention >= 0 {
				aged = max(aged, b.NextOffset())
			}
		}
		end = min(end, aged)
	}
	s.maxStart = max(s.maxStart, end)
}

func (w *world) append(d *running, l *watched, s *story, i int) error {
	b := w.newBatch(s, i)
	b.Stamp(l.EndOffset(), s.epoch)
	s.batches = append(s.batches, bytes.Clone(b)) // from now on it may be found
	s.times[b.BaseOffset()] = w.clock.passed()
	s.maxEnd = b.NextOffset()
	if w.options.Budget > 0 {
		w.mayMakeRoom(d)
	}
	base, err := l.Append(b, s.epoch)
	if errors.Is(err, ErrFull) && w.options.Budget > 0 {
		s.batches, s.maxEnd = s.batches[:len(s.batches)-1], l.EndOffset()
		return nil
	}
	if err != nil {
		return err
	}
	if base != b.BaseOffset() || !bytes.Equal(b, s.batches[len(s.batches)-1]) {
		w.fatalf("appended at %d, want %d", base, b.BaseOffset())
	}
	if w.rng.IntN(3) != 0 {
		w.commit(l.committer)
		if err := l.await(b.NextOffset()); err != nil {
			return err
		}
		s.settled(b.NextOffset())
	}
	return nil
}

// newBatch returns what is appended next.
func (w *world) newBatch(s *story, i int) record.Batch {
	if s.settings.Compact {
		return w.newKeyed(s)
	}
	return newBatch(1+w.rng.IntN(3), int64(i), w.rng.IntN(150), byte(w.rng.IntN(256)))
}

// mayMakeRoom notes that any log that gives room may lose all that it has. The
// budget forgets that there was none: that holds for a time by the machine's clock.
func (w *world) mayMakeRoom(d *running) {
	d.budget.mu.Lock()
	d.budget.refusedAt = time.Time{}
	d.budget.mu.Unlock()
	for name, l := range d.opened {
		if s := w.story(name); !s.settings.KeepWhenFull && l.Log == d.find(name) {
			s.maxStart = max(s.maxStart, l.EndOffset())
		}
	}
}

// deleteBefore deletes up to anywhere, and often all.
func (w *world) deleteBefore(l *watched, s *story) error {
	start, end := l.StartOffset(), l.DurableEnd()
	offset := end
	if w.rng.IntN(4) != 0 {
		offset = start + w.rng.Int64N(end-start+1)
	}
	s.maxStart = max(s.maxStart, offset)
	got, err := l.DeleteBefore(offset)
	if err != nil {
		return err
	}
	if got != offset || l.StartOffset() != offset {
		w.fatalf("%s: deleted before %d of %d to %d, and it starts at %d, %d", l.name, offset, start, end, got, l.StartOffset())
	}
	s.minStart = offset
	return nil
}

// workUntilCut runs a process that does a little before the power goes.
func (w *world) workUntilCut(life int) {
	d, err := w.start()
	if err == nil {
		err = w.work(d, w.rng.IntN(5))
		w.fs.CrashAt(0)
		d.stop()
	}
	if err != nil {
		w.fatalf("life %d, after a kill: %v", life, err)
	}
}

// check compares what a process found with the story.
func (w *world) check(l *watched, s *story) {
	w.t.Helper()
	first, end := l.StartOffset(), l.EndOffset()
	if s.emptyAt >= 0 && first == s.emptyAt && end == first {
		s.emptied(first)
	}
	s.emptyAt = -1
	if first < s.minStart || first > s.maxStart || end < first || end > s.maxEnd || l.DurableEnd() != end {
		w.fatalf("%s: log is %d to %d, durable to %d; it can be from %d or up to %d, to %d", l.name, first, end, l.DurableEnd(), s.minStart, s.maxStart, s.maxEnd)
	}
	if w.policy != OS && end < s.durable {
		w.fatalf("%s: log ends at %d, and was durable to %d", l.name, end, s.durable)
	}
	got, err := readAll(l.Log)
	if w.fs.Crashed() { // reading repairs, and builds indexes
		return
	}
	if err != nil {
		w.fatalf("%s: %v", l.name, err)
	}
	kept := s.batches[:0]
	missing := false
	if s.settings.Compact {
		kept, got = w.checkKeys(l, s, got), nil
	}
	for _, b := range s.batches {
		switch {
		case s.settings.Compact:
		case bytes.HasPrefix(got, b):
			if missing && len(kept) > 0 {
				w.fatalf("%s: %d to %d has the batch at %d, and not all before it", l.name, first, end, b.BaseOffset())
			}
			got = got[len(b):]
			kept, missing = append(kept, b), false
		case b.NextOffset() > first && b.NextOffset() <= s.durable && w.policy != OS:
			w.fatalf("%s: %d to %d has not the batch at %d, which was durable", l.name, first, end, b.BaseOffset())
		default:
			missing = true
		}
	}
	if len(got) > 0 {
		w.fatalf("%s: %d to %d has %d bytes that were not appended", l.name, first, end, len(got))
	}
	s.batches, s.maxEnd, s.durable = kept, end, 0
	s.minStart, s.maxStart = first, first // what a process has shown stays
	if s.settled(end); w.policy == OS {
		s.kept = -1
	}
	if n := testutil.ToFloat64(l.metrics.gaps); n != 0 {
		w.fatalf("%s: %v gaps are counted", l.name, n)
	}
	w.checkOffsets(l)
	if w.rng.IntN(2) == 0 {
		w.checkEpochs(l, s)
	}
}

// checkEpochs compares what the log says of its leader epochs with its batches.
func (w *world) checkEpochs(l *watched, s *story) {
	w.t.Helper()
	all, err := readAll(l.Log)
	if err != nil {
		w.fatalf("%s: %v", l.name, err)
	}
	start, end := l.StartOffset(), l.EndOffset()
	var want epochs
	batches := split(w.t, all)
	lowest := int32(-1)
	if len(batches) > 0 && batches[0].BaseOffset() > start { // a leader's log had a gap, and an earlier epoch may end in it
		lowest = batches[0].LeaderEpoch()
	}
	if s.settings.Compact { // of an epoch nothing may be left
		batches = s.batches
	}
	for _, b := range batches {
		if b.LeaderEpoch() > want.last() {
			want = append(want, epochStart{b.LeaderEpoch(), b.BaseOffset()})
		}
	}
	want = want.from(start)
	last, err := l.LastEpoch()
	if last < s.kept || len(all) > 0 && last != want.last() || err != nil {
		w.fatalf("%s: last epoch %d, %v; the batches have %v, and there was %d", l.name, last, err, want, s.kept)
	}
	if len(all) == 0 { // its batches are deleted, and what is known of them may be forgotten
		want = epochs{{last, start}}
		if last < 0 {
			want = nil
		}
	}
	for epoch := lowest; epoch <= last+1; epoch++ {
		found, endOffset, err := l.EndOffsetForEpoch(epoch)
		if wantEpoch, wantEnd := want.endOffset(epoch, end); found != wantEpoch || endOffset != wantEnd || err != nil {
			w.fatalf("%s: %d to %d: epoch %d ends as %d at %d, %v; want %d at %d by %v", l.name, start, end, epoch, found, endOffset, err, wantEpoch, wantEnd, want)
		}
	}
}

// checkFiles compares the checkpoints in Kafka's format with one another. What they
// say of a deleted log is taken out of the recovery points first.
func (w *world) checkFiles(d *Dir) {
	w.t.Helper()
	start, highWatermark, recoveryPoint := d.loadOffsets(startOffsetFile), d.loadOffsets(highWatermarkFile), d.loadOffsets(recoveryPointFile)
	for name := range recoveryPoint {
		if start[name] > highWatermark[name] || start[name] > recoveryPoint[name] {
			w.fatalf("%s: checkpoints say start %d, high watermark %d, recovery point %d", name, start[name], highWatermark[name], recoveryPoint[name])
		}
	}
}

// checkOffsets compares them with a log that was just opened.
func (w *world) checkOffsets(l *watched) {
	w.t.Helper()
	start, recoveryPoint, highWatermark := l.dir.loadOffsets(startOffsetFile)[l.name], l.dir.loadOffsets(recoveryPointFile)[l.name], l.dir.loadOffsets(highWatermarkFile)[l.name]
	if start > l.StartOffset() || recoveryPoint > l.EndOffset() || highWatermark > l.EndOffset() {
		w.fatalf("%s is %d to %d; checkpoints say start %d, high watermark %d, recovery point %d", l.name, l.StartOffset(), l.EndOffset(), start, highWatermark, recoveryPoint)
	}
}

// checkNames looks at which logs there are, and drops the stories of those that
// are not.
func (w *world) checkNames() {
	w.t.Helper()
	d, err := OpenDir("data", Options{FS: w.fs, BrokerID: 1, Clock: w.clock})
	if err != nil {
		w.fatalf("the directory does not open: %v", err)
	}
	defer d.Close()
	w.checkFiles(d)
	names, err := d.Names()
	if err != nil {
		w.fatalf("%v", err)
	}
	for name, all := range w.stories {
		found := ""
		if slices.Contains(names, name) {
			if found, err = d.TopicID(name); err != nil {
				w.fatalf("%v", err)
			}
		}
		w.stories[name] = nil
		known := found == ""
		for i, s := range all {
			later := i < len(all)-1 && all[i+1].begun
			switch {
			case s.topicID == found:
				known = true
				if !s.begun || later {
					w.fatalf("%s: topic id %s is there, %+v", name, found, s)
				}
				s.ending = false
				w.stories[name] = []*story{s}
			case s.made && !s.ending:
				w.fatalf("%s: topic id %q is there, not %s", name, found, s.topicID)
			}
		}
		if !known {
			w.fatalf("%s: topic id %s was never given", name, found)
		}
	}
}

// The power goes during the k-th change to the disk, for each k of a process's
// life, and again somewhere in the next one's. Whatever survives: everything opens,
// what was durable is there with the bytes and offsets it was appended with, and
// nothing else is. In between, processes die without the power going.
func TestCrash(t *testing.T) {
	for _, policy := range []Policy{Sync, OS} {
		t.Run(policy.String(), func(t *testing.T) {
			for seed := range uint64(crashSeeds) {
				t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
					t.Parallel()
					k := 0
					for crashAt(t, policy, seed, k) {
						k++
					}
					if k < 100 {
						t.Errorf("a life made %d changes only", k)
					}
				})
			}
		})
	}
}

// crashSeeds is how many ways to survive are tried for every k: each is a run of
// some hundred crashes. HEADWATER_CRASH_SEEDS asks for others.
var crashSeeds = func() int {
	if n, err := strconv.Atoi(os.Getenv("HEADWATER_CRASH_SEEDS")); err == nil {
		return n
	}
	return 3
}()

// newWorld returns one with two logs: of every other seed one of them is compacted.
func newWorld(t *testing.T, what string, policy Policy, seed uint64) *world {
	w := &world{t: t, what: what, fs: disk.NewCrash(seed), clock: newFakeClock(), policy: policy, cleaner: cleanerOptions, stories: map[string][]*story{}, rng: rand.New(rand.NewPCG(seed, 0))}
	w.settings = map[string]Settings{"t-0": crashSettings, "t-1": crashSettings}
	if seed%2 == 1 {
		w.settings = map[string]Settings{"t-0": crashSettings, "c-0": keyedSettings}
	}
	return w
}

// crashAt reports whether the first process got as far as its k-th change.
func crashAt(t *testing.T, policy Policy, seed uint64, k int) bool {
	w := newWorld(t, fmt.Sprintf("policy %v, seed %d, k %d", policy, seed, k), policy, seed)
	w.fs.CrashAt(k)
	crashed := w.end(0, seed%2 == 1)
	w.rng = rand.New(rand.NewPCG(seed, uint64(k))) // so far, every k had the same life
	w.fs.CrashAt(w.rng.IntN(150))
	w.end(1, w.rng.IntN(2) == 0)
	w.end(2, false)
	return crashed
}

// end lives a life and the death after it, and reports whether the disk was the
// cause of that. With kill the process goes first, and the power later.
func (w *world) end(life int, kill bool) (crashed bool) {
	err := w.live()
	crashed = w.fs.Crashed()
	if crashed != errors.Is(err, disk.ErrCrashed) || !crashed && err != nil {
		w.fatalf("life %d: crashed %v, and ended with %v", life, crashed, err)
	}
	if kill {
		w.fs = w.fs.Kill()
		// What the next process finds it shows, though only memory may hold it so far.
		w.checkNames()
		if w.rng.IntN(2) == 0 {
			w.workUntilCut(life)
		}
	}
	w.trace = append(w.trace, fmt.Sprint(w.fs.Ops(), " changes, crashed ", crashed))
	w.fs = w.fs.Restart(w.rng.Uint64())
	w.clock.boot(fmt.Sprint("boot-", w.rng.Uint64()))
	w.clock.rest(time.Duration(w.rng.IntN(20)) * time.Hour)
	w.setWall() // the start counts what the machine was off, or a later look does
	w.checkNames()
	return crashed
}

// crashHistories is how many histories TestCrashHistories goes through.
// HEADWATER_CRASH_HISTORIES asks for others.
var crashHistories = func() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_CRASH_HISTORIES"), 10, 32); err == nil {
		return n
	}
	return 400
}()

// A history is some lives of one disk, each of which ends by a crash at any of its
// changes, or by a kill, or well. A seed is a history, the same each time: nothing
// runs beside the test.
func TestCrashHistories(t *testing.T) {
	const together = 100
	for from := uint64(0); from < crashHistories; from += together {
		to := min(from+together, crashHistories)
		t.Run(fmt.Sprintf("seeds%dto%d", from, to-1), func(t *testing.T) {
			t.Parallel()
			crashes := 0
			for seed := from; seed < to; seed++ {
				crashes += history(t, seed).crashes
			}
			if t.Logf("histories %d to %d are well, with %d crashes", from, to-1, crashes); uint64(crashes) < to-from {
				t.Errorf("%d histories had %d crashes only", to-from, crashes)
			}
		})
	}
}

// history goes through the lives of a seed.
func history(t *testing.T, seed uint64) *world {
	policy := Sync
	if seed%4 == 3 {
		policy = OS
	}
	w := newWorld(t, fmt.Sprintf("history %d, policy %v", seed, policy), policy, seed)
	w.byHand = true
	w.settings = map[string]Settings{"t-0": crashSettings, "t-1": agingSettings, "c-0": keyedSettings, "c-1": keyedAndAging}
	if seed%2 == 1 {
		w.settings["c-1"] = keyedAndShort
	}
	w.cleaner.BufferBytes = crashKeyMemory[seed/2%2]
	w.options.OpenFiles = 3 + w.rng.IntN(6)
	if w.rng.IntN(4) == 0 {
		w.options.Budget = 2000 + w.rng.Int64N(3000)
	}
	for life := range 3 + w.rng.IntN(3) {
		w.fs.CrashAt(w.rng.IntN(400))
		if w.end(life, w.rng.IntN(2) == 0) {
			w.crashes++
		}
	}
	return w
}

// A history that a failure names can be gone through again.
func TestCrashHistoryRepeats(t *testing.T) {
	for seed := range uint64(20) {
		first, second := history(t, seed), history(t, seed)
		if !slices.Equal(first.trace, second.trace) {
			t.Errorf("history %d is %q, and then %q", seed, first.trace, second.trace)
		}
	}
}
