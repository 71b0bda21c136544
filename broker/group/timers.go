package group

import (
	"container/heap"
	"sync"
	"time"
)

// timers knows which group has something to do next. It has one entry for each
// group that waits for anything, and no timer of its own.
type timers struct {
	mu    sync.Mutex // guards all below, and at and index of every cell
	queue queue
	wake  chan struct{} // gets one when the earliest time has become earlier
}

func newTimers() *timers { return &timers{wake: make(chan struct{}, 1)} }

// set has the cell come up at the given time or before. A later time than the one
// that is set changes nothing: heartbeats move their group's end out all the time,
// and the queue is put right when the earlier time has come.
func (t *timers) set(k *cell, at time.Time) {
	if at.IsZero() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case k.index < 0:
		k.at = at
		heap.Push(&t.queue, k)
	case at.Before(k.at):
		k.at = at
		heap.Fix(&t.queue, k.index)
	default:
		return
	}
	if k.index == 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// remove takes the cell out.
func (t *timers) remove(k *cell) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k.index >= 0 {
		heap.Remove(&t.queue, k.index)
	}
}

// due takes a cell out whose time has come; without one, it returns when the next
// will be due, zero for never.
func (t *timers) due(now time.Time) (k *cell, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return nil, time.Time{}
	}
	if k := t.queue[0]; k.at.After(now) {
		return nil, k.at
	}
	return heap.Pop(&t.queue).(*cell), time.Time{}
}

// queue is a heap of cells, the earliest first. index is -1 for a cell that is not
// in it.
type queue []*cell

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	k := x.(*cell)
	k.index = len(*q)
	*q = append(*q, k)
}

func (q *queue) Pop() any {
	old := *q
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	k.index = -1
	return k
}
