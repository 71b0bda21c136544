package commitlog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
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
// up that is its boot time, whatever the wall clock does; what it was off is added
// once the wall clock can be believed. It never goes back while the process runs.
//
// A reading is a time.Duration on this clock; 0 is none.
type ageClock struct {
	fs      disk.FS
	path    string
	machine disk.Clock
	log     *slog.Logger

	base atomic.Pointer[clockBase]

	saveMu sync.Mutex // one save at a time; held across the disk, and taken before mu
	mu     sync.Mutex // guards all below, and changes of base
	first  glance     // of this boot
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
	c.resume(clockState{reading: firstReading}, c.glance())
	return c
}

// now is the reading of the clock.
func (c *ageClock) now() time.Duration {
	b := c.base.Load()
	return b.reading + max(0, c.machine.Boottime()-b.boottime)
}

func (c *ageClock) glance() glance {
	return glance{c.machine.BootID(), c.machine.Boottime(), c.machine.Wall().UnixMilli()}
}

// resume goes on from what was saved. Only within one boot is it known how long
// ago that was.
func (c *ageClock) resume(s clockState, now glance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first, c.known = now, s.known
	if passed := now.boottime - s.boottime; s.first.bootID == now.bootID && passed >= 0 {
		s.reading += passed
		c.first = s.first
	}
	c.base.Store(&clockBase{s.reading, now.boottime})
}

// raise makes the clock read at least reading.
func (c *ageClock) raise(reading time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.base.Load(); b.reading < reading {
		c.base.Store(&clockBase{reading, b.boottime})
	}
}

// look looks at the wall clock, and adds what the machine was off, once for each
// boot, when it is known. It reports whether it has.
func (c *ageClock) look() (added bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, reading := c.glance(), c.now()
	c.trust = trustIn(c.first, g, c.machine.Synchronized())
	before, now := c.known, sight{c.trust, g.bootID, g.wall, reading}
	if now.trust == untrusted || before.bootID == now.bootID && now.trust < before.trust {
		return false
	}
	if before.trust != untrusted && before.bootID != now.bootID {
		off, err := timeOff(before, now)
		if err != nil {
			c.log.Warn("time off not counted; records stay longer", "reason", err, "wallBefore", time.UnixMilli(before.wall).UTC(),
				"wall", time.UnixMilli(now.wall).UTC(), "uptimeSince", now.reading-before.reading)
		} else {
			c.log.Info("time off counted", "timeOff", off, "wallClock", now.trust, "ageClock", reading+off)
		}
		added = off > 0
		now.reading += off
		b := c.base.Load()
		c.base.Store(&clockBase{b.reading + off, b.boottime})
	}
	c.known = now
	return added
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
	known    sight
}

// format is the contents of the clock's file. Times are milliseconds.
func (s clockState) format() []byte {
	out := fmt.Appendf(nil, "0\nreading %d at %d\n", s.reading.Milliseconds(), s.boottime.Milliseconds())
	out = fmt.Appendf(out, "boot %s %d %d\n", cmp.Or(s.first.bootID, "-"), s.first.boottime.Milliseconds(), s.first.wall)
	out = fmt.Appendf(out, "wall %v %s %d %d\n", s.known.trust, cmp.Or(s.known.bootID, "-"), s.known.wall, s.known.reading.Milliseconds())
	return sealed(out, " ")
}

// maxReading is more than any box will run, and its milliseconds are a
// time.Duration.
const maxReading = 200 * 365 * 24 * time.Hour

// parseClock reads what format wrote.
func parseClock(data []byte) (s clockState, err error) {
	var readings [4]int64
	var trust string
	if !isSealed(data, " ") {
		return s, fmt.Errorf("%s is damaged", clockFile)
	}
	_, err = fmt.Fscanf(bytes.NewReader(data), "0\nreading %d at %d\nboot %s %d %d\nwall %s %s %d %d\n",
		&readings[0], &readings[1], &s.first.bootID, &readings[2], &s.first.wall, &trust, &s.known.bootID, &s.known.wall, &readings[3])
	if err != nil {
		return clockState{}, fmt.Errorf("%s: %w", clockFile, err)
	}
	if s.known.trust, err = parseTrust(trust); err != nil {
		return clockState{}, fmt.Errorf("%s: %w", clockFile, err)
	}
	for i, at := range []*time.Duration{&s.reading, &s.boottime, &s.first.boottime, &s.known.reading} {
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
	s := clockState{b.reading + max(0, boottime-b.boottime), boottime, c.first, c.known}
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
		if added := c.look(); !added && time.Since(saved) < clockSaved {
			continue
		}
		saved = time.Now()
		if err := c.save(); err != nil {
			c.log.Warn("age clock not saved", "err", err)
		}
	}
}
