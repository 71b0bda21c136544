package network

import (
	"context"
	"sync"
	"time"
)

// faults are what proxies do to bytes, by the names of seats. Who has no seat is "".
type faults struct {
	mu      sync.Mutex // guards all below
	cut     map[direction]bool
	delay   map[string]time.Duration // on connections to the seat
	rate    map[string]int           // bytes a second from the seat, and to it
	changed chan struct{}            // closed, and replaced, when a cut ends or begins
}

type direction struct{ from, to string }

func newFaults() *faults {
	f := &faults{changed: make(chan struct{})}
	f.clear()
	return f
}

// clear ends all faults.
func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut, f.delay, f.rate = map[direction]bool{}, map[string]time.Duration{}, map[string]int{}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *faults) setCut(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut[direction{from, to}] = true
}

func (f *faults) setDelay(to string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay[to] = d
}

func (f *faults) setRate(name string, bytesPerSecond int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate[name] = bytesPerSecond
}

func (f *faults) delayTo(to string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delay[to]
}

// passing waits until bytes from one seat may arrive at the other, and returns how long
// n of them take. It returns false when ctx is done before.
func (f *faults) passing(ctx context.Context, d direction, n int) (time.Duration, bool) {
	for {
		f.mu.Lock()
		cut, changed := f.cut[d], f.changed
		var takes time.Duration
		for _, name := range []string{d.from, d.to} {
			if rate := f.rate[name]; rate > 0 {
				takes = max(takes, time.Duration(n)*time.Second/time.Duration(rate))
			}
		}
		f.mu.Unlock()
		if !cut {
			return takes, ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false
		}
	}
}
