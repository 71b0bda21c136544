package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
)

// box is a machine with a data directory in which one log is open. Every batch is
// a segment.
type box struct {
	t     *testing.T
	fs    *disk.Crash
	clock *fakeClock
	said  bytes.Buffer // what it logged
	d     *running
	l     *watched
}

var tenHours = Settings{SegmentBytes: 200, RetentionBytes: -1, Retention: 10 * time.Hour}

func newBox(t *testing.T) *box {
	b := &box{t: t, fs: disk.NewCrash(0), clock: newFakeClock()}
	b.start()
	t.Cleanup(func() { b.d.stop() })
	return b
}

func (b *box) start() {
	b.t.Helper()
	d, err := run(b.fs, "data", Options{Clock: b.clock, Log: slog.New(slog.NewTextHandler(&b.said, nil))})
	if err != nil {
		b.t.Fatal(err)
	}
	b.d, b.l = d, d.mustOpen(b.t, "t-0", tenHours)
}

// restart stops cleanly, lets something happen to the machine, and starts.
func (b *box) restart(meanwhile func()) {
	b.t.Helper()
	if err := b.d.stop(); err != nil {
		b.t.Fatal(err)
	}
	meanwhile()
	b.start()
}

// cut takes the power, and with it what was not synced, and starts.
func (b *box) cut(meanwhile func()) {
	b.t.Helper()
	b.fs.CrashAt(0)
	b.d.stop()
	b.fs = b.fs.Restart(1)
	meanwhile()
	b.start()
}

func (b *box) append() {
	b.t.Helper()
	b.l.mustAppend(b.t, newBatch(1, 0, 150, 'x'))
	if err := b.l.await(b.l.EndOffset()); err != nil {
		b.t.Fatal(err)
	}
}

// pass lets time go by, while the clock is looked at as often as it would be.
func (b *box) pass(d time.Duration) {
	for ; d > 0; d -= 10 * time.Minute {
		b.clock.pass(min(d, 10*time.Minute))
		b.d.clock.look()
	}
}

func (b *box) retainedFrom(want int64, when string) {
	b.t.Helper()
	b.d.Tidy()
	if _, err := b.l.Retain(b.l.EndOffset()); err != nil || b.l.StartOffset() != want {
		b.t.Errorf("%s: starts at %d, %v, want %d", when, b.l.StartOffset(), err, want)
	}
}

// years shifts the wall clock.
func (b *box) years(n int, synchronized bool) {
	b.clock.set(b.clock.Wall().AddDate(n, 0, 0), synchronized)
}

// Whatever happens to the wall clock, nothing goes before its time, and what has
// been there for its time goes. The time is what the machine was up.
func TestWallJumps(t *testing.T) {
	nothing := func() {}
	for name, jump := range map[string]func(b *box){
		"none":      func(b *box) {},
		"ahead":     func(b *box) { b.years(10, false) },
		"aheadSync": func(b *box) { b.years(10, true) },
		"back":      func(b *box) { b.years(-10, false) },
		"backSync":  func(b *box) { b.years(-10, true) },
		"to1970":    func(b *box) { b.clock.set(time.Unix(60, 0), false) },
		"thereAndBack": func(b *box) {
			b.years(10, true)
			b.d.clock.look()
			b.years(-10, true)
			b.d.clock.look()
		},
		"afterRestart":      func(b *box) { b.restart(nothing); b.years(10, true) },
		"beforeRestart":     func(b *box) { b.years(10, true); b.d.clock.look(); b.restart(nothing) },
		"overRestart":       func(b *box) { b.restart(func() { b.years(10, true) }) },
		"backOverRestart":   func(b *box) { b.restart(func() { b.years(-10, true) }) },
		"overCut":           func(b *box) { b.cut(func() { b.clock.boot("boot-2"); b.years(10, true) }) },
		"overBoot":          func(b *box) { b.restart(func() { b.clock.boot("boot-2"); b.years(10, true) }) },
		"overBootNotSync":   func(b *box) { b.restart(func() { b.clock.boot("boot-2"); b.years(10, false) }) },
		"backOverBoot":      func(b *box) { b.restart(func() { b.clock.boot("boot-2"); b.years(-10, true) }) },
		"backOverBootNoSyn": func(b *box) { b.restart(func() { b.clock.boot("boot-2"); b.years(-10, false) }) },
		"bootIn1970":        func(b *box) { b.restart(func() { b.clock.boot("boot-2"); b.clock.set(time.Unix(60, 0), false) }) },
		"bootIn1970ThenNTP": func(b *box) {
			wall := b.clock.Wall()
			b.restart(func() { b.clock.boot("boot-2"); b.clock.set(time.Unix(60, 0), false) })
			b.clock.set(wall, true)
		},
		"twoBoots": func(b *box) {
			b.restart(func() { b.clock.boot("boot-2"); b.years(10, true) })
			b.restart(func() { b.clock.boot("boot-3"); b.years(-10, true) })
		},
	} {
		for _, first := range []bool{false, true} { // what the kernel says of the clock before the jump
			t.Run(fmt.Sprintf("%s/%v", name, first), func(t *testing.T) {
				b := newBox(t)
				b.clock.set(b.clock.Wall(), first)
				b.append()
				b.pass(2 * time.Hour)
				b.append()
				b.append() // the active one; it goes as soon as the one before
				b.pass(3 * time.Hour)
				b.d.clock.save()
				if err := b.d.checkpoint(false); err != nil {
					t.Fatal(err)
				}
				b.d.Tidy()
				jump(b)
				b.d.clock.look()
				b.retainedFrom(0, "after the jump")
				b.pass(4 * time.Hour)
				b.retainedFrom(0, "after 9 hours")
				b.pass(time.Hour)
				b.retainedFrom(0, "after 10 hours")
				b.pass(5 * time.Millisecond) // files have whole milliseconds
				b.retainedFrom(1, "after more than 10 hours")
				b.pass(2 * time.Hour)
				b.retainedFrom(3, "after more than 12 hours")
			})
		}
	}
}

// A box without a clock chip begins in 1970, each time it is switched on, and may
// never hear of the time. It counts what it is up.
func TestAgeIn1970(t *testing.T) {
	b := newBox(t)
	for i := range 5 {
		b.restart(func() {
			b.clock.boot(fmt.Sprint("boot-", i))
			b.clock.set(time.Unix(60, 0), false)
		})
		if i == 0 {
			b.append()
			b.append()
		}
		b.retainedFrom(0, fmt.Sprint("boot ", i))
		b.pass(2*time.Hour + time.Second)
	}
	b.retainedFrom(2, "after five boots of more than two hours")
	if b.d.clock.trusted() != untrusted || strings.Contains(b.said.String(), "time off") {
		t.Errorf("trust %v in a clock that begins in 1970; it logged: %s", b.d.clock.trusted(), b.said.String())
	}
}

// What a box was off counts once, when the wall clock is known to be right, and
// not before.
func TestTimeOffCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after bool // what the kernel says
		off           time.Duration
		wait          time.Duration // until it counts
		counts        bool
		line          string
	}{
		"NTP":         {true, true, 6 * time.Hour, 0, true, "time off counted"},
		"clockChip":   {true, false, 6 * time.Hour, time.Hour, true, "time off counted"},
		"neverNTP":    {false, false, 6 * time.Hour, time.Hour, true, "time off counted"},
		"NTPAfter":    {false, true, 6 * time.Hour, 0, false, "time off not counted"},
		"tooLong":     {true, true, 73 * time.Hour, 0, false, "time off not counted"},
		"back":        {true, true, -6 * time.Hour, 0, false, "time off not counted"},
		"backAndChip": {true, false, -6 * time.Hour, time.Hour, false, "time off not counted"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.clock.set(b.clock.Wall(), tc.before)
			b.pass(2 * time.Hour)
			first := b.d.clock.now() - time.Millisecond // what is of the last moment does not count
			for i := range 3 {                          // of several starts in a boot, and of several looks, one counts it
				b.restart(func() {
					if i == 0 {
						b.clock.boot("boot-2")
						b.clock.set(b.clock.Wall().Add(tc.off), tc.after)
					}
				})
				if i == 0 && tc.wait > 0 {
					b.pass(tc.wait - time.Millisecond)
					if got := b.d.clock.ago(first, b.d.clock.now()) - time.Millisecond; got > tc.wait {
						t.Errorf("the clock went on by %v before the wall clock was known", got)
					}
					b.pass(time.Millisecond)
				}
				b.pass(time.Hour)
			}
			want := 3*time.Hour + tc.wait
			if tc.counts {
				want += tc.off
			}
			if got := b.d.clock.ago(first, b.d.clock.now()) - time.Millisecond; got > want || got < want-10*time.Millisecond {
				t.Errorf("the clock went on by %v, want %v", got, want)
			}
			if n := strings.Count(b.said.String(), "time off"); n != 1 || !strings.Contains(b.said.String(), tc.line) {
				t.Errorf("%d lines about time off, want one with %q; it logged: %s", n, tc.line, b.said.String())
			}
		})
	}
}

// What was recorded after the machine was off does not get older by it when the wall
// clock is known at last, in this boot or in a later one; what was recorded before
// does.
func TestTimeOffIsNotOfWhatCameAfter(t *testing.T) {
	for name, later := range map[string]func(b *box){
		"running":   func(b *box) {},
		"restarted": func(b *box) { b.restart(func() {}) },
		"nextBoot":  func(b *box) { b.restart(func() { b.clock.boot("boot-3") }) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.clock.set(b.clock.Wall(), true)
			b.pass(time.Hour)
			b.append()               // 0
			b.append()               // 1 seals it
			b.pass(time.Millisecond) // what is of the last moment does not count
			b.restart(func() { b.clock.boot("boot-2"); b.clock.set(b.clock.Wall().Add(9*time.Hour), false) })
			b.append() // 2 seals 1
			b.append() // 3 seals 2
			b.d.Tidy()
			b.pass(20 * time.Minute)
			b.retainedFrom(0, "before the clock is known")
			b.clock.set(b.clock.Wall(), true)
			b.d.clock.look()
			later(b)
			b.pass(30 * time.Minute)
			b.retainedFrom(0, "nine hours and fifty minutes later")
			b.pass(10*time.Minute + time.Second)
			b.retainedFrom(2, "ten hours later")
			b.pass(9 * time.Hour)
			b.retainedFrom(4, "ten hours of its own later")
		})
	}
}

// Of more times off than are known apart, none makes anything older than it is.
func TestTimesOffAreBounded(t *testing.T) {
	c := newAgeClock(disk.NewCrash(0), "data", newFakeClock(), slog.New(slog.DiscardHandler))
	for i := range maxTimesOff + 10 {
		c.add(time.Hour, sight{bootID: "another", reading: time.Duration(i) * time.Minute})
	}
	now := (maxTimesOff + 10) * time.Minute
	for reading := range maxTimesOff + 10 {
		at := time.Duration(reading) * time.Minute
		off := c.ago(at, now) - (now - at)
		if most := time.Duration(maxTimesOff+10-reading) * time.Hour; off > most || reading > 11 && off < most-time.Hour {
			t.Errorf("what was %v ago by the clock is older by %v, want %v", now-at, off, most)
		}
	}
	if n := len(*c.offs.Load()); n != maxTimesOff {
		t.Errorf("%d times off are kept, want %d", n, maxTimesOff)
	}
}

// A clock chip that stood still while the box was off, and that somebody sets, is no
// measure of the next time off.
func TestTimeOffAfterSetByHand(t *testing.T) {
	b := newBox(t)
	b.pass(2 * time.Hour) // steady, and nine hours late
	first := b.d.clock.now() - time.Millisecond
	b.clock.set(b.clock.Wall().Add(9*time.Hour), false)
	b.pass(2 * time.Hour)
	b.restart(func() { b.clock.boot("boot-2") })
	b.pass(2 * time.Hour) // steady, and right
	if got := b.d.clock.ago(first, b.d.clock.now()) - time.Millisecond; got != 4*time.Hour {
		t.Errorf("the clock went on by %v, want the 4 hours that it was up", got)
	}
}

// A kernel that no longer hears of the time does not make what it said before less
// known.
func TestTimeOffAfterNTPLost(t *testing.T) {
	b := newBox(t)
	b.clock.set(b.clock.Wall(), true)
	b.pass(time.Hour)
	b.clock.set(b.clock.Wall(), false)
	b.pass(time.Hour)
	first := b.d.clock.now() - time.Millisecond // what is of the last moment does not count
	b.restart(func() { b.clock.boot("boot-2"); b.clock.set(b.clock.Wall().Add(6*time.Hour), true) })
	if got := b.d.clock.ago(first, b.d.clock.now()) - time.Millisecond; got > 6*time.Hour || got < 6*time.Hour-10*time.Millisecond {
		t.Errorf("the clock went on by %v, want 6 hours", got)
	}
}

// The wall clock was set while nobody knew whether it is right. Then a steady one
// is no better than before.
func TestTimeOffAfterStep(t *testing.T) {
	b := newBox(t)
	b.pass(2 * time.Hour)
	first := b.d.clock.now() - time.Millisecond // what is of the last moment does not count
	b.restart(func() { b.clock.boot("boot-2") })
	b.clock.set(b.clock.Wall().Add(20*time.Hour), false)
	for range 3 {
		b.pass(3 * time.Hour)
		b.restart(func() {}) // a process that did not see the step
	}
	if got := b.d.clock.ago(first, b.d.clock.now()) - time.Millisecond; got > 9*time.Hour {
		t.Errorf("the clock went on by %v, want the 9 hours that it was up", got)
	}
}

// The clock goes on over a power cut from what was saved, at most a minute before.
func TestClockSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.clock.pass(time.Hour)
		time.Sleep(clockTick) // the first look saves
		synctest.Wait()
		b.clock.pass(time.Hour)
		time.Sleep(clockSaved - clockTick)
		synctest.Wait()
		if got := must(parseClock(get(t, b.fs, "data/"+clockFile))).reading; got > time.Hour+firstReading {
			t.Errorf("%v saved before it was due", got)
		}
		time.Sleep(clockTick)
		synctest.Wait()
		b.cut(func() { b.clock.boot("boot-2") })
		if got, want := b.d.clock.now(), 2*time.Hour+firstReading; got != want {
			t.Errorf("the clock goes on from %v, want %v", got, want)
		}
		b.d.stop() // within the bubble
	})
}

// That the clock is synchronized is not said before it was looked at, nor for longer
// than until the next look.
func TestSynchronizedAtLastLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newFakeClock()
		clock.set(clock.Wall(), true)
		d := &Dir{clock: newAgeClock(disk.NewCrash(0), "data", clock, slog.New(slog.DiscardHandler))}
		if d.WallSynchronized() {
			t.Error("synchronized before the first look")
		}
		b := newBox(t)
		for _, step := range []struct {
			kernelSays bool
			restart    bool
		}{{false, false}, {true, false}, {false, false}, {true, true}, {false, true}, {true, false}} {
			before := b.d.WallSynchronized()
			b.clock.set(b.clock.Wall(), step.kernelSays)
			if step.restart { // opening the directory looks
				b.restart(func() {})
			} else {
				time.Sleep(clockTick - time.Millisecond)
				synctest.Wait()
				if got := b.d.WallSynchronized(); got != before {
					t.Errorf("synchronized %v, was %v at the last look", got, before)
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			if got := b.d.WallSynchronized(); got != step.kernelSays {
				t.Errorf("%+v: synchronized %v", step, got)
			}
		}
		b.d.stop() // within the bubble
	})
}

// A clock that nobody put right is not synchronized, however steady it is, nor is one
// that stands at a time at which no box can be running, whatever the kernel says.
func TestSteadyIsNotSynchronized(t *testing.T) {
	b := newBox(t)
	b.pass(2 * steadyAfter)
	if !b.d.WallTrusted() || b.d.WallSynchronized() {
		t.Errorf("after two hours trusted %v, synchronized %v, want only trusted", b.d.WallTrusted(), b.d.WallSynchronized())
	}
	b.clock.set(time.Unix(60, 0), true)
	b.d.clock.look()
	if b.d.WallSynchronized() {
		t.Error("synchronized in 1970")
	}
}

// Without its file, or with a damaged one, the clock goes on from the youngest
// segment, sealed or active.
func TestClockLost(t *testing.T) {
	for name, lose := range map[string]func(b *box){
		"gone":    func(b *box) { must(0, b.fs.Remove("data/"+clockFile)) },
		"damaged": func(b *box) { put(b.t, b.fs, "data/"+clockFile, []byte("reading 99999999999\n")) },
		"flipped": func(b *box) {
			data := get(b.t, b.fs, "data/"+clockFile)
			data[12] ^= 1
			put(b.t, b.fs, "data/"+clockFile, data)
		},
		"checkpointToo": func(b *box) {
			must(0, b.fs.Remove("data/"+clockFile))
			must(0, b.fs.Remove("data/"+checkpointFile))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.append()
			b.pass(8 * time.Hour)
			b.append()
			b.append()
			b.pass(time.Hour)
			b.restart(func() { lose(b) })
			if got, want := b.d.clock.now(), 8*time.Hour+firstReading; got != want {
				t.Errorf("the clock goes on from %v, want %v", got, want)
			}
			b.pass(2 * time.Hour)
			b.retainedFrom(0, "of two hours and eight")
			b.pass(time.Millisecond)
			b.retainedFrom(1, "and a little")
		})
	}
}

func TestClockFile(t *testing.T) {
	s := clockState{
		reading: 5 * time.Hour, boottime: time.Hour, first: glance{"0b5c-11", time.Second, 1000},
		boot: bootStart{3 * time.Hour, "0b5c-10"}, known: sight{synchronized, "0b5c-10", may, 4 * time.Hour, true},
		offs: []timeOffAt{{time.Hour, 6 * time.Hour}, {3 * time.Hour, 50 * time.Hour}},
	}
	data := s.format()
	if got, err := parseClock(data); !reflect.DeepEqual(got, s) || err != nil {
		t.Errorf("%+v, %v, want %+v", got, err, s)
	}
	for i := range data {
		for bit := range 8 {
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << bit
			if got, err := parseClock(flipped); err == nil {
				t.Fatalf("bit %d of byte %d flipped: %+v", bit, i, got)
			}
		}
	}
	for n := range data {
		if _, err := parseClock(data[:n]); err == nil {
			t.Fatalf("%d bytes of %d are a clock", n, len(data))
		}
	}
}

// The power goes during each change that saving the clock makes to the disk. What
// is found afterwards is one of the readings that were saved, the last one or the
// one under way, and the clock never seems damaged.
func TestClockCrash(t *testing.T) {
	for seed := range uint64(50) {
		for k := 0; ; k++ {
			crash, clock := disk.NewCrash(seed), newFakeClock()
			must(0, crash.MkdirAll("data", 0o755))
			must(0, crash.SyncDir("."))
			c := newAgeClock(crash, "data", clock, slog.New(slog.DiscardHandler))
			crash.CrashAt(k)
			saved, tried := time.Duration(0), time.Duration(0)
			var err error
			for range 4 {
				clock.pass(time.Hour)
				tried = c.now()
				if err = c.save(); err != nil {
					break
				}
				saved = tried
			}
			if err != nil && !errors.Is(err, disk.ErrCrashed) {
				t.Fatal(err)
			}
			clock.boot("boot-2")
			var said bytes.Buffer
			after := newAgeClock(crash.Restart(uint64(k)), "data", clock, slog.New(slog.NewTextHandler(&said, nil)))
			found := after.load()
			if got := after.now(); found && got != saved && got != tried || !found && saved > 0 || said.Len() > 0 {
				t.Fatalf("seed %d, k %d: found %v, reads %v after %v was saved and %v begun; logged %q", seed, k, found, got, saved, tried, said.String())
			}
			if err == nil {
				break
			}
		}
	}
}

func TestClockMetrics(t *testing.T) {
	b := newBox(t)
	b.clock.pass(90 * time.Second)
	if got := testutil.ToFloat64(b.d.metrics.ageSeconds); got != 90.001 {
		t.Errorf("the clock reads %v s, want 90.001", got)
	}
	for _, synchronized := range []bool{false, true, false} {
		b.clock.set(b.clock.Wall(), synchronized)
		b.d.clock.look()
		if got := testutil.ToFloat64(b.d.metrics.wallTrusted); (got == 1) != synchronized {
			t.Errorf("trusted %v while the kernel says %v", got, synchronized)
		}
	}
}
