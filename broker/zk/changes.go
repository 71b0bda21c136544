package zk

import (
	"context"
	"sync"

	"github.com/headwater/headwater/broker/cluster"
)

// changes hands changes from those who tell them, who do not wait, to the one who
// reads them. What waits is said once, however often it was told: so as much waits as
// there are topics, at most.
type changes struct {
	out chan cluster.Change

	mu      sync.Mutex // guards all below
	waiting []cluster.Change
	known   map[cluster.Change]struct{} // those in waiting
	some    chan struct{}               // holds a token when something waits
}

func newChanges() *changes {
	return &changes{out: make(chan cluster.Change), known: map[cluster.Change]struct{}{}, some: make(chan struct{}, 1)}
}

func (c *changes) tell(change cluster.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[change]; ok {
		return
	}
	c.known[change] = struct{}{}
	c.waiting = append(c.waiting, change)
	select {
	case c.some <- struct{}{}:
	default:
	}
}

// next takes the first that waits. From then on it can be told again: the reader may
// have begun to read what it is about.
func (c *changes) next() (change cluster.Change, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.waiting = nil
		return cluster.Change{}, false
	}
	change = c.waiting[0]
	c.waiting = c.waiting[1:]
	delete(c.known, change)
	return change, true
}

// run hands out changes until ctx is done.
func (c *changes) run(ctx context.Context) {
	for {
		change, ok := c.next()
		if !ok {
			select {
			case <-c.some:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case c.out <- change:
		case <-ctx.Done():
			return
		}
	}
}
