package group

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/headwater/headwater/broker/record"
)

// region is __consumer_offsets on several brokers: one log for each partition, which
// its leader appends to. A record counts when the high watermark has passed it, at
// once unless the partition is held.
type region struct {
	mu         sync.Mutex // guards all below
	partitions int32
	created    string // how the topic was made
	logs       map[int32]*regionLog
	held       bool          // the followers have stopped
	reading    chan struct{} // if set, reads wait until it is closed
	appending  chan struct{} // likewise appends
	reads      int           // that wait
	allReads   int
	failRead   error
	failAppend error
}

type regionLog struct {
	leader        string
	leaderEpoch   int32
	batches       []record.Batch
	highWatermark int64
	waiting       []waitingAppend
}

type waitingAppend struct {
	baseOffset, nextOffset int64
	done                   func(int64, error)
}

func (l *regionLog) end() int64 {
	if len(l.batches) == 0 {
		return 0
	}
	return l.batches[len(l.batches)-1].NextOffset()
}

func newRegion(partitions int32) *region {
	r := &region{partitions: partitions, logs: map[int32]*regionLog{}}
	for i := range partitions {
		r.logs[i] = &regionLog{}
	}
	return r
}

// catchUp has the followers of all partitions fetch to the end.
func (r *region) catchUp() {
	r.mu.Lock()
	var done []func()
	for _, l := range r.logs {
		l.highWatermark = l.end()
		for _, w := range l.waiting {
			done = append(done, func() { w.done(w.baseOffset, nil) })
		}
		l.waiting = nil
	}
	r.mu.Unlock()
	for _, f := range done {
		f()
	}
}

// elect makes another broker the leader of a partition. What no follower had fetched
// is lost, unless kept says that the new leader has it.
func (r *region) elect(index int32, broker string, kept bool) (leaderEpoch int32) {
	r.mu.Lock()
	l := r.logs[index]
	waiting := l.waiting
	l.waiting = nil
	l.leader = broker
	l.leaderEpoch++
	if !kept {
		l.batches = slices.DeleteFunc(l.batches, func(b record.Batch) bool { return b.NextOffset() > l.highWatermark })
	}
	if !r.held {
		l.highWatermark = l.end()
	}
	leaderEpoch = l.leaderEpoch
	r.mu.Unlock()
	for _, w := range waiting {
		w.done(-1, fmt.Errorf("partition %d: %w", index, ErrNotHere))
	}
	return leaderEpoch
}

// seat is the region as one broker sees it.
type seat struct {
	*region
	broker string
}

func (s seat) Partitions() int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partitions
}

func (s seat) Create(_ context.Context, partitions int32, replicationFactor int16) (int32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.partitions == 0 {
		s.created = fmt.Sprintf("%d partitions on %d brokers, asked by %s", partitions, replicationFactor, s.broker)
		s.partitions = partitions
		for i := range partitions {
			s.logs[i] = &regionLog{}
		}
	}
	return s.partitions, nil
}

func (s seat) Append(index int32, b record.Batch, done func(int64, error)) {
	s.mu.Lock()
	gate := s.appending
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	l := s.logs[index]
	err := s.failAppend
	if l.leader != s.broker {
		err = ErrNotHere
	}
	if err != nil {
		s.mu.Unlock()
		done(-1, err)
		return
	}
	at := l.end()
	b.Stamp(at, l.leaderEpoch)
	l.batches = append(l.batches, b)
	if s.held {
		l.waiting = append(l.waiting, waitingAppend{at, b.NextOffset(), done})
		s.mu.Unlock()
		return
	}
	l.highWatermark = l.end()
	s.mu.Unlock()
	done(at, nil)
}

func (s seat) Read(index int32, fromOffset int64, maxBytes int) (batches []byte, err error) {
	s.mu.Lock()
	gate := s.reading
	s.reads++
	s.allReads++
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads--
	for _, b := range s.logs[index].batches {
		if b.NextOffset() > fromOffset && b.NextOffset() <= s.logs[index].highWatermark && (len(batches) == 0 || len(batches)+len(b) <= maxBytes) {
			batches = append(batches, b...)
		}
	}
	return batches, s.failRead
}

func (s seat) Offsets(index int32) (int64, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 0, s.logs[index].highWatermark, nil
}

func (s seat) Settle(index int32, done func(error)) {
	s.mu.Lock()
	l := s.logs[index]
	switch {
	case l.leader != s.broker:
		s.mu.Unlock()
		done(ErrNotHere)
	case l.highWatermark >= l.end():
		s.mu.Unlock()
		done(nil)
	default:
		l.waiting = append(l.waiting, waitingAppend{-1, l.end(), func(_ int64, err error) { done(err) }})
		s.mu.Unlock()
	}
}

// hubs are coordinators at work over a region, in a synctest bubble.
type hubs struct {
	*region
	t  *testing.T
	by map[string]*running
}

func runHubs(t *testing.T, r *region, brokers ...string) *hubs {
	t.Helper()
	h := &hubs{r, t, map[string]*running{}}
	for _, name := range brokers {
		h.by[name] = run(t, seat{r, name}, func(c *Config) {
			c.Clustered, c.Partitions, c.ReplicationFactor = true, 5, 3
		})
	}
	return h
}

// move takes a partition from its leader to another, as the orders of a controller
// arrive at one broker and then at the other.
func (h *hubs) move(index int32, to string, kept bool) {
	h.t.Helper()
	h.mu.Lock()
	from, leaderEpoch := h.by[h.logs[index].leader], h.logs[index].leaderEpoch+1
	h.mu.Unlock()
	if from != nil {
		from.Resign(index, leaderEpoch)
	}
	h.elect(index, to, kept)
	h.by[to].Lead(index, leaderEpoch)
}

// settled waits until nothing moves.
func (h *hubs) settled() { synctest.Wait() }

func (h *hubs) set(f func(*region)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.region)
}
