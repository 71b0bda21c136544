package pull

import (
	"container/heap"
	"time"
)

// timeHeap has the consumer on top that has something to do first.
type timeHeap []timed

type timed struct {
	at       time.Duration
	consumer *consumer
}

// set says when a consumer has something to do; 0 for never.
func (h *timeHeap) set(c *consumer, at time.Duration) {
	switch {
	case at == 0 && c.place >= 0:
		heap.Remove(h, c.place)
	case at == 0:
	case c.place >= 0:
		(*h)[c.place].at = at
		heap.Fix(h, c.place)
	default:
		heap.Push(h, timed{at, c})
	}
}

func (h timeHeap) Len() int           { return len(h) }
func (h timeHeap) Less(i, j int) bool { return h[i].at < h[j].at }

func (h timeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].consumer.place, h[j].consumer.place = i, j
}

func (h *timeHeap) Push(x any) {
	t := x.(timed)
	t.consumer.place = len(*h)
	*h = append(*h, t)
}

func (h *timeHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = timed{}
	*h = old[:len(old)-1]
	t.consumer.place = -1
	return t
}
