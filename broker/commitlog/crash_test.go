package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// story is what was done to one log, and what of it must be found later.
type story struct {
	topicID  string
	batches  []record.Batch // appended, or at least begun, in order
	durable  int64          // told to be
	maxStart int64          // as far as retention has got
	begun    bool           // OpenLog was called
	made     bool           // OpenLog returned
	ending   bool           // DeleteLog was called
}

// end is the offset that follows the last batch that may be found.
func (s *story) end() int64 {
	if len(s.batches) == 0 {
		return 0
	}
	return s.batches[len(s.batches)-1].NextOffset()
}

// world is a disk, and what must be on it.
type world struct {
	t       *testing.T
	what    string // which run this is, for failures
	fs      *disk.Crash
	policy  Policy
	stories map[string][]*story // by log, the latest last
	rng     *rand.Rand
	ids     int
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s: %s", w.what, fmt.Sprintf(format, args...))
}

func (w *world) story(name string) *story {
	all := w.stories[name]
	if len(all) == 0 || all[len(all)-1].ending {
		w.ids++
		w.stories[name] = append(all, &story{topicID: fmt.Sprintf("%020dAA", w.ids)})
	}
	all = w.stories[name]
	return all[len(all)-1]
}

var crashSettings = Settings{SegmentBytes: 500, RetentionBytes: 1200, Retention: -1}

// live runs a process: it goes through everything that writes to the disk, and
// ends at the first error, which only the disk can be the cause of.
func (w *world) live() error {
	d, err := run(w.fs, "data", Options{Policy: w.policy, BrokerID: 1})
	if err != nil {
		return err
	}
	defer d.stop()
	if err := w.work(d, 14); err != nil {
		return err
	}
	if err := d.stop(); err != nil {
		return err
	}
	if d, err = run(w.fs, "data", Options{Policy: w.policy, BrokerID: 1}); err != nil {
		return err
	}
	defer d.stop()
	if err := w.work(d, 5); err != nil {
		return err
	}
	w.story("t-0").ending = true
	if err := d.DeleteLog("t-0"); err != nil {
		return err
	}
	if err := w.work(d, 4); err != nil {
		return err
	}
	return d.stop()
}

// work appends to two logs, of which one is under retention.
func (w *world) work(d *running, appends int) error {
	logs := map[string]*watched{}
	for _, name := range []string{"t-0", "t-1"} {
		s := w.story(name)
		l := d.opened[name]
		if l == nil || l.Log != d.find(name) {
			s.begun = true
			var err error
			if l, err = d.open(name, s.topicID, crashSettings); err != nil {
				return err
			}
			s.made = true
			w.check(l, s)
		}
		logs[name] = l
	}
	for i := range appends {
		name := "t-0"
		if i%4 == 3 {
			name = "t-1"
		}
		if err := w.append(logs[name], w.story(name), i); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) append(l *watched, s *story, i int) error {
	b := newBatch(1+w.rng.IntN(3), int64(i), w.rng.IntN(150), byte(w.rng.IntN(256)))
	b.Stamp(l.EndOffset(), 7)
	s.batches = append(s.batches, bytes.Clone(b)) // from now on it may be found
	base, err := l.Append(b, 7)
	if err != nil {
		return err
	}
	if base != b.BaseOffset() || !bytes.Equal(b, s.batches[len(s.batches)-1]) {
		w.fatalf("appended at %d, want %d", base, b.BaseOffset())
	}
	if i%3 != 0 {
		if err := l.await(b.NextOffset()); err != nil {
			return err
		}
		s.durable = max(s.durable, b.NextOffset())
	}
	if i%5 == 4 {
		if w.policy == OS {
			l.dir.syncAll()
		}
		if err := l.dir.checkpoint(i%2 == 0); err != nil {
			return err
		}
	}
	if i%7 != 6 {
		return nil
	}
	_, err = l.Retain(s.durable)
	s.maxStart = max(s.maxStart, l.StartOffset())
	return err
}

// workUntilCut runs a process that does a little before the power goes.
func (w *world) workUntilCut(life int) {
	d, err := run(w.fs, "data", Options{Policy: w.policy, BrokerID: 1})
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
	if first > s.maxStart || end > s.end() || l.DurableEnd() != end {
		w.fatalf("%s: log is %d to %d, durable to %d; it can be %d to %d", l.name, first, end, l.DurableEnd(), s.maxStart, s.end())
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
	for _, b := range s.batches {
		switch {
		case bytes.HasPrefix(got, b):
			got = got[len(b):]
			kept = append(kept, b)
		case b.BaseOffset() >= first && b.NextOffset() <= s.durable && w.policy != OS:
			w.fatalf("%s: %d to %d has not the batch at %d, which was durable", l.name, first, end, b.BaseOffset())
		}
	}
	if len(got) > 0 {
		w.fatalf("%s: %d to %d has %d bytes that were not appended", l.name, first, end, len(got))
	}
	s.batches = kept
	s.durable = end // what a process has shown stays
}

// checkNames looks at which logs there are, and drops the stories of those that
// are not.
func (w *world) checkNames() {
	w.t.Helper()
	d, err := OpenDir("data", Options{FS: w.fs, BrokerID: 1})
	if err != nil {
		w.fatalf("the directory does not open: %v", err)
	}
	defer d.Close()
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
	return 8
}()

// crashAt reports whether the first process got as far as its k-th change.
func crashAt(t *testing.T, policy Policy, seed uint64, k int) bool {
	w := &world{
		t: t, what: fmt.Sprintf("policy %v, seed %d, k %d", policy, seed, k), fs: disk.NewCrash(seed), policy: policy,
		stories: map[string][]*story{}, rng: rand.New(rand.NewPCG(seed, uint64(k))),
	}
	w.fs.CrashAt(k)
	crashed := w.end(0, seed%2 == 1)
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
	w.fs = w.fs.Restart(w.rng.Uint64())
	w.checkNames()
	return crashed
}
