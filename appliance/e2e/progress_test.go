package e2e

import (
	"sync"
	"testing"

	"github.com/headwater/headwater/appliance/process"
)

// progress counts what happens, and lets a test wait for it.
type progress struct {
	mu    sync.Mutex // guards all below
	count int64
	moved chan struct{} // closed, and replaced, when count grows
}

func newProgress() *progress { return &progress{moved: make(chan struct{})} }

func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count += n
	close(p.moved)
	p.moved = make(chan struct{})
}

func (p *progress) get() (count int64, moved <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, p.moved
}

// await waits until the count is goal or more. The process must live meanwhile.
func (p *progress) await(t *testing.T, of *process.Process, goal int64, what string) {
	t.Helper()
	enough := within(t, patience).Done()
	for {
		count, moved := p.get()
		if count >= goal {
			return
		}
		select {
		case <-moved:
		case <-of.Ended():
			t.Fatalf("the process ended after %d %s, want %d", count, what, goal)
		case <-enough:
			t.Fatalf("%d %s in %v, want %d", count, what, patience, goal)
		}
	}
}

// awaitMore waits until the count has grown by n.
func (p *progress) awaitMore(t *testing.T, of *process.Process, n int64, what string) {
	t.Helper()
	count, _ := p.get()
	p.await(t, of, count+n, what)
}
