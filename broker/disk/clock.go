package disk

import (
	"crypto/rand"
	"sync/atomic"
	"time"
)

// Clock is what a machine knows of the time. Its methods may be called from any
// goroutine.
type Clock interface {
	// Wall is the time of day, which people and programs set, forward and back.
	Wall() time.Time
	// Boottime is how long the machine has been up, asleep or not. It never goes
	// back within a boot, and is cheap to ask for.
	Boottime() time.Duration
	// BootID names the boot that Boottime counts from.
	BootID() string
	// Synchronized reports whether the kernel knows that Wall is kept right. It is
	// false where that cannot be known.
	Synchronized() bool
}

// askEvery is how long MachineClock goes on from what the kernel said of the boot
// time by the process's own clock, which is cheaper to read, and stands still
// while the machine sleeps.
const askEvery = time.Second

// MachineClock is the Clock of this machine.
type MachineClock struct {
	bootID string
	last   atomic.Pointer[bootReading]
}

// bootReading is what Boottime is when the process's clock says at.
type bootReading struct {
	boottime time.Duration
	at       time.Time
}

// NewMachineClock returns the clock of this machine. Where the kernel does not
// name its boots, this process counts as one.
func NewMachineClock() *MachineClock {
	id := bootID()
	if id == "" {
		id = rand.Text()
	}
	return &MachineClock{bootID: id}
}

// Wall implements Clock.
func (c *MachineClock) Wall() time.Time { return time.Now().Round(0) }

// BootID implements Clock.
func (c *MachineClock) BootID() string { return c.bootID }

// Synchronized implements Clock.
func (c *MachineClock) Synchronized() bool { return synchronized() }

// Boottime implements Clock.
func (c *MachineClock) Boottime() time.Duration {
	last, now := c.last.Load(), time.Now()
	if last == nil {
		next := &bootReading{boottime(), now}
		c.last.CompareAndSwap(nil, next)
		return c.last.Load().boottime
	}
	passed := now.Sub(last.at)
	if passed < askEvery {
		return last.boottime + passed
	}
	// The two clocks are not read at one moment: what was told already holds.
	next := &bootReading{max(boottime(), last.boottime+passed), now}
	c.last.CompareAndSwap(last, next)
	return next.boottime
}

var started = time.Now()

// sinceStart is all that is known where the kernel does not tell the boot time.
func sinceStart() time.Duration { return time.Since(started) }
