package commitlog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// clockFile is where the age clock is kept in the data directory.
const clockFile = "headwater.clock"

const (
	clockTick  = 10 * time.Second // how often the wall clock is looked at
	clockSaved = time.Minute      // and the age clock saved
)

// firstReading is what the clock of a new data directory begins with, so that 0
// can say that something never was.
const firstReading = time.Millisecond

// ageClock tells how long its data directory has been in use: the time by which
// everything in it has an age. It counts only what is proven. While the machine is
// up that is its boot time, whatever the wall clock does; it never goes back while
// the process runs. What the machine was off is no part of a reading: it is kept
// beside, once the wall clock can be believed, with the reading before which things
// are older by it. So nothing that was recorded after it gets older.
//
// A reading is a time.Duration on this clock; 0 is none.
type ageClock struct {
	fs      disk.FS
	path    string
	machine disk.Clock
	log     *slog.Logger

	base atomic.Pointer[clockBase]
	offs atomic.Pointer[[]timeOffAt] // never changed; replaced under mu

	synchronized atomic.Bool // trust says so; apart, for who asks with every record

	saveMu sync.Mutex // one save at a time; held across the disk, and taken before mu
	mu     sync.Mutex // guards all below, and changes of base
	first  glance     // of this boot
	boot   bootStart  // likewise
	known  sight      // the last that is worth comparing a later boot with
	trust  trust      // in the wall clock, at the last look
}

// clockBase is what the clock reads at a boot time.
type clockBase struct {
	reading  time.Duration
	boottime time.Duration
}

func newAgeClock(fsys disk.FS, dir string, machine disk.Clock, log *slog.Logger) *ageClock {
	c := &ageClock{fs: fsys, path: filepath.Join(dir, clockFile), machine: machine, log: log}
	c.offs.Store(&[]timeOffAt{})
	c.resume(clockState{reading: firstReading}, c.glance())
	return c
}

// now is the reading of the clock.
func (c *ageClock) now() time.Duration {
	b := c.base.Load()
	return b.reading + max(0, c.machine.Boottime()-b.boottime)
}

// ago is how long before now, a reading, another reading was: with what the machine
// was off between the two, as far as that is known.
func (c *ageClock) ago(reading, now time.Duration) time.Duration {
	passed := now - reading
	for _, off := range slices.Backward(*c.offs.Load()) {
		if off.before <= reading {
			break
		}
		passed += off.off
	}
	return passed
}

func (c *ageClock) glance() glance {
	return glance{c.machine.BootID(), c.machine.Boottime(), c.machine.Wall().UnixMilli()}
}

// resume goes on from what was saved. Only within one boot is it known how long
// ago that was.
func (c *ageClock) resume(s clockState, now glance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = s.known
	c.offs.Store(&s.offs)
	if passed := now.boottime - s.boottime; s.first.bootID == now.bootID && passed >= 0 {
		s.reading += passed
		c.first, c.boot = s.first, s.boot
	} else {
		c.first, c.boot = now, bootStart{s.reading, s.first.bootID}
	}
	c.base.Store(&clockBase{s.reading, now.boottime})
}

// raise makes the clock read at least reading.
func (c *ageClock) raise(reading time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.base.Load(); b.reading < reading {
		c.base.Store(&clockBase{reading, b.boottime})
		c.boot.reading = reading
	}
}

// bootStart is where a boot began.
type bootStart struct {
	reading  time.Duration // nothing earlier is later, but for what a power cut took of the clock
	previous string        // the boot before, as far as this clock knows
}

// timeOffAt is for how long the machine was off, and what is older by it: what has an
// earlier reading than before.
type timeOffAt struct{ before, off time.Duration }

// maxTimesOff bounds those that are known apart. Of more, the oldest two are one.
const maxTimesOff = 64

// add notes for how long the machine was off between two sights. If there were other
// boots in between, it is not known when: then only what is from before the first
// sight gets older. mu is held.
func (c *ageClock) add(off time.Duration, last sight) {
	before := last.reading
	if c.boot.previous == last.bootID {
		before = c.boot.reading
	}
	offs := append(slices.Clone(*c.offs.Load()), timeOffAt{before, off})
	if len(offs) > maxTimesOff {
		offs[1] = timeOffAt{offs[0].before, offs[0].off + offs[1].off}
		offs = offs[1:]
	}
	c.offs.Store(&offs)
}

// look looks at the wall clock, and notes what the machine was off, once for each
// boot, when it is known. It reports whether there is news that should be saved.
func (c *ageClock) look() (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, reading := c.glance(), c.now()
	c.trust = trustIn(c.first, g, c.machine.Synchronized())
	c.synchronized.Store(c.trust == synchronized)
	if c.trust == untrusted && wasSet(c.first, g) && !c.known.set {
		c.known.set, news = true, true
	}
	before, now := c.known, sight{trust: c.trust, bootID: g.bootID, wall: g.wall, reading: reading}
	if now.trust == untrusted || before.bootID == now.bootID && now.trust < before.trust {
		return news
	}
	if before.trust != untrusted && before.bootID != now.bootID {
		off, err := timeOff(before, now)
		if err != nil {
			c.log.Warn("time off not counted; records stay longer", "reason", err, "wallBefore", time.UnixMilli(before.wall).UTC(),
				"wall", time.UnixMilli(now.wall).UTC(), "uptimeSince", now.reading-before.reading)
		} else {
			c.log.Info("time off counted", "timeOff", off, "wallClock", now.trust)
		}
		if off > 0 {
			c.add(off, before)
			news = true
		}
	}
	c.known = now
	return news
}

// trusted is the trust in the wall clock at the last look.
func (c *ageClock) trusted() trust {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trust
}

// clockState is what is kept of the clock.
type clockState struct {
	reading  time.Duration
	boottime time.Duration // when it was that
	first    glance        // of the boot that this was in
	boot     bootStart
	known    sight
	offs     []timeOffAt
}

// format is the contents of the clock's file. Times are milliseconds.
func (s clockState) format() []byte {
	out := fmt.Appendf(nil, "0\nreading %d at %d\n", s.reading.Milliseconds(), s.boottime.Milliseconds())
	out = fmt.Appendf(out, "boot %s %d %d\n", cmp.Or(s.first.bootID, "-"), s.first.boottime.Milliseconds(), s.first.wall)
	out = fmt.Appendf(out, "from %d after %s\n", s.boot.reading.Milliseconds(), cmp.Or(s.boot.previous, "-"))
	out = fmt.Appendf(out, "wall %v %s %d %d %t\n", s.known.trust, cmp.Or(s.known.bootID, "-"), s.known.wall, s.known.reading.Milliseconds(), s.known.set)
	for _, off := range s.offs {
		out = fmt.Appendf(out, "off %d %d\n", off.before.Milliseconds(), off.off.Milliseconds())
	}
	return sealed(out, " ")
}

// maxReading is more than any box will run, and its milliseconds are a
// time.Duration.
const maxReading = 200 * 365 * 24 * time.Hour

// parseClock reads what format wrote.
func parseClock(data []byte) (s clockState, err error) {
	var readings [5]int64
	var trust string
	if !isSealed(data, " ") {
		return s, fmt.Errorf("%s is damaged", clockFile)
	}
	r := bytes.NewReader(data)
	_, err = fmt.Fscanf(r, "0\nreading %d at %d\nboot %s %d %d\nfrom %d after %s\nwall %s %s %d %d %t\n",
		&readings[0], &readings[1], &s.first.bootID, &readings[2], &s.first.wall, &readings[4], &s.boot.previous, &trust, &s.known.bootID, &s.known.wall, &readings[3], &s.known.set)
	if err != nil {
		return clockState{}, fmt.Errorf("%s: %w", clockFile, err)
	}
	for range maxTimesOff {
		var before, off int64
		if _, err := fmt.Fscanf(r, "off %d %d\n", &before, &off); err != nil {
			break // the seal, or what the last check finds
		}
		s.offs = append(s.offs, timeOffAt{readingOf(before), readingOf(off)})
	}
	if s.known.trust, err = parseTrust(trust); err != nil {
		return clockState{}, fmt.Errorf("%s: %w", clockFile, err)
	}
	for i, at := range []*time.Duration{&s.reading, &s.boottime, &s.first.boottime, &s.known.reading, &s.boot.reading} {
		if readings[i] < 0 || readings[i] > maxReading.Milliseconds() {
			return clockState{}, fmt.Errorf("%s: %d ms is no time that a box can run", clockFile, readings[i])
		}
		*at = time.Duration(readings[i]) * time.Millisecond
	}
	if !bytes.Equal(s.format(), data) {
		return clockState{}, fmt.Errorf("%s has more in it than is known of", clockFile)
	}
	return s, nil
}

// load goes on from the file. It reports whether there was one that is good.
func (c *ageClock) load() bool {
	data, err := disk.ReadFile(c.fs, c.path, maxMetaBytes)
	if err == nil {
		var s clockState
		if s, err = parseClock(data); err == nil {
			c.resume(s, c.glance())
			return true
		}
	}
	if !removed(err) {
		c.log.Error("age clock not used; it goes on from the youngest segment", "err", err)
	}
	return false
}

// save puts the clock on stable storage.
func (c *ageClock) save() error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	c.mu.Lock()
	boottime := c.machine.Boottime()
	b := c.base.Load()
	s := clockState{b.reading + max(0, boottime-b.boottime), boottime, c.first, c.boot, c.known, *c.offs.Load()}
	c.mu.Unlock()
	return disk.WriteFile(c.fs, c.path, s.format())
}

// keep looks at the clocks and saves this one, now and then until ctx is done.
func (c *ageClock) keep(ctx context.Context) {
	ticker := time.NewTicker(clockTick)
	defer ticker.Stop()
	for saved := (time.Time{}); ; { // what was added at the start is saved with the first tick
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if news := c.look(); !news && time.Since(saved) < clockSaved {
			continue
		}
		saved = time.Now()
		if err := c.save(); err != nil {
			c.log.Warn("age clock not saved", "err", err)
		}
	}
}
