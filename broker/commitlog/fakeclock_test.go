package commitlog

import (
	"sync"
	"time"
)

// fakeClock is a machine's clock that stands still until it is told.
type fakeClock struct {
	mu           sync.Mutex // guards all below
	wall         time.Time
	boottime     time.Duration
	bootID       string
	synchronized bool
	total        time.Duration // that has passed, with the machine up or off
}

func newFakeClock() *fakeClock {
	return &fakeClock{wall: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), boottime: time.Minute, bootID: "boot-1"}
}

func (c *fakeClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *fakeClock) Boottime() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boottime
}

func (c *fakeClock) BootID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bootID
}

func (c *fakeClock) Synchronized() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synchronized
}

// pass lets time go by with the machine up.
func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.boottime, c.total = c.wall.Add(d), c.boottime+d, c.total+d
}

// rest lets time go by with the machine off. Its wall clock stands still.
func (c *fakeClock) rest(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total += d
}

// right is what the wall clock would say if nobody had set it.
func (c *fakeClock) right() time.Time { return newFakeClock().wall.Add(c.passed()) }

// passed is how much time has gone by.
func (c *fakeClock) passed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// set sets the wall clock, and what the kernel says of it.
func (c *fakeClock) set(wall time.Time, synchronized bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.synchronized = wall, synchronized
}

// boot starts the machine anew. Its wall clock is what the last one left it.
func (c *fakeClock) boot(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bootID, c.boottime, c.synchronized = id, time.Minute, false
}
