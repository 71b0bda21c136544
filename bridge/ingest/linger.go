package ingest

import (
	"container/heap"
	"time"
)

// lingerAtMost sees to it that g's open batch goes when a message that was received
// then has lingered so long, if it would not before: the least patient message
// decides for the batch.
func (in *Ingest) lingerAtMost(g *gather, received time.Time, linger time.Duration) {
	if g.openAt > 0 && linger >= g.linger {
		return // the one that decides now came before this one
	}
	deadline := received.Add(linger)
	if g.openAt > 0 && !deadline.Before(g.deadline) {
		return
	}
	g.deadline, g.linger = deadline, linger
	if g.openAt == 0 {
		heap.Push(&in.open, g)
	} else {
		heap.Fix(&in.open, g.openAt-1)
	}
	if in.open.first() == g {
		wake(in.wakeSender) // which must now mind this one
	}
}

// sealLingered seals what has lingered long enough, and returns how long it will be
// until there is more to do.
func (in *Ingest) sealLingered() time.Duration {
	for g := in.open.first(); g != nil; g = in.open.first() {
		if left := time.Until(g.deadline); left > 0 {
			return left
		}
		in.seal(g)
	}
	return time.Hour // a batch that opens wakes the sender
}

// sealExcess keeps what lingers to half of the memory, so that patience alone never
// has a message turned away.
func (in *Ingest) sealExcess() {
	for in.lingering > in.cfg.BufferBytes/2 {
		in.seal(in.open.first())
	}
}

// openHeap holds the gathers with an open batch, the one that has to go first in
// front. It is as long as partitions are remembered, at most.
type openHeap []*gather

func (h openHeap) first() *gather {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

func (h *openHeap) remove(g *gather) { heap.Remove(h, g.openAt-1) }

// The methods that container/heap asks for.

func (h openHeap) Len() int           { return len(h) }
func (h openHeap) Less(i, j int) bool { return h[i].deadline.Before(h[j].deadline) }

func (h openHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].openAt, h[j].openAt = i+1, j+1
}

func (h *openHeap) Push(g any) {
	*h = append(*h, g.(*gather))
	g.(*gather).openAt = len(*h)
}

func (h *openHeap) Pop() any {
	last := len(*h) - 1
	g := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	g.openAt = 0
	return g
}
