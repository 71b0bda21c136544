package mqtt

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// journal writes records to the store, in the order of add and many at a time: one
// append is under way while the next gathers.
type journal struct {
	store   Store
	log     *slog.Logger
	metrics *stateMetrics

	mu      sync.Mutex // guards below
	changed sync.Cond
	queue   []entry // that are not durable
	bytes   int     // of queue
	said    mark    // all that add was given
	durable uint64  // of said.records
	failed  error   // what the last append ended with
	stalled bool    // an append takes longer than anyone waits: nobody does until it ends
	closed  bool

	abandoned chan struct{} // closed when the disk has had its time after close
}

// mark is how much the journal was given at some moment.
type mark struct {
	records uint64
	lost    uint64 // and could not be taken
}

// entry is a record; a nil value takes back what was said of the key.
type entry struct {
	key   string
	value []byte
}

func (e entry) size() int { return len(e.key) + len(e.value) + entryOverhead }

func sizeOf(entries []entry) (size int) {
	for _, e := range entries {
		size += e.size()
	}
	return size
}

const (
	entryOverhead   = 64      // of a record in memory, about
	maxJournalBytes = 8 << 20 // that wait to be written
	maxGroupBytes   = 512 << 10
	maxGroupRecords = 4096

	waitTimeout = 10 * time.Second // for room, and for durability
	retryEvery  = time.Second      // after an append that failed
)

var (
	errStateLost   = errors.New("the session's state is not kept, for too much of it waits for the disk")
	errStateSlow   = errors.New("the session's state was not written in time")
	errStateClosed = errors.New("the session's state is not written any more, for the broker stops")
)

func newJournal(store Store, log *slog.Logger, m *stateMetrics) *journal {
	j := &journal{store: store, log: log, metrics: m, abandoned: make(chan struct{})}
	j.changed.L = &j.mu
	return j
}

// add has records written. It waits for room while the disk takes some; when it
// does not, they are lost, which wait tells.
func (j *journal) add(entries ...entry) {
	if len(entries) == 0 {
		return
	}
	size := sizeOf(entries)
	fits := func() bool { return len(j.queue) == 0 || j.bytes+size <= maxJournalBytes }
	j.mu.Lock()
	defer j.mu.Unlock()
	j.within(waitTimeout, func() bool { return fits() || j.failed != nil || j.stalled || j.closed })
	if !fits() || j.closed {
		j.stalled = j.stalled || j.failed == nil
		j.said.lost += uint64(len(entries))
		j.metrics.lost.Add(float64(len(entries)))
		return
	}
	j.queue = append(j.queue, entries...)
	j.bytes += size
	j.said.records += uint64(len(entries))
	j.changed.Broadcast()
}

// within waits for ok, timeout at most. j.mu is held.
func (j *journal) within(timeout time.Duration, ok func() bool) {
	if ok() {
		return
	}
	late := false
	timer := time.AfterFunc(timeout, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		late = true
		j.changed.Broadcast()
	})
	defer timer.Stop()
	for !ok() && !late {
		j.changed.Wait()
	}
}

// mark is where the journal stands.
func (j *journal) mark() mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.said
}

// wait waits until all is durable that was added between two marks.
func (j *journal) wait(from, to mark) error {
	if to.lost != from.lost {
		return errStateLost
	}
	if to.records == from.records {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.within(waitTimeout, func() bool {
		return j.durable >= to.records || j.failed != nil || j.stalled || j.closed && len(j.queue) == 0
	})
	switch {
	case j.durable >= to.records:
		return nil
	case j.failed != nil:
		return fmt.Errorf("the session's state is not written: %w", j.failed)
	case j.closed:
		return errStateClosed
	}
	j.stalled = true
	j.changed.Broadcast()
	return errStateSlow
}

// run writes until close, and then what is left, once.
func (j *journal) run() {
	for {
		group, last := j.next()
		if len(group) == 0 {
			return
		}
		err := j.append(group)
		if j.done(group, err); err != nil && last {
			return
		}
	}
}

// next waits for records; none comes after close. last says that it was closed.
func (j *journal) next() (group []entry, last bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil { // it is tried again, though not at once
		j.within(retryEvery, func() bool { return j.closed })
	}
	for len(j.queue) == 0 && !j.closed {
		j.changed.Wait()
	}
	n, size := 0, 0
	for n < len(j.queue) && n < maxGroupRecords {
		if size += j.queue[n].size(); n > 0 && size > maxGroupBytes {
			break
		}
		n++
	}
	return j.queue[:n:n], j.closed
}

// append writes group and waits for the disk.
func (j *journal) append(group []entry) error {
	keys, values := make([][]byte, len(group)), make([][]byte, len(group))
	for i, e := range group {
		keys[i], values[i] = []byte(e.key), e.value
	}
	done := make(chan error, 1)
	j.store.AppendState(keys, values, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-j.abandoned:
		return errStateClosed
	}
}

// done takes what was written off the queue, or tells those who wait that it was not.
func (j *journal) done(group []entry, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err == nil:
		if j.failed != nil {
			j.log.Info("MQTT state is written again")
		}
		j.bytes -= sizeOf(group)
		clear(group) // a part of the queue
		j.queue = j.queue[len(group):]
		j.durable += uint64(len(group))
		j.metrics.written.Add(float64(len(group)))
	default:
		if j.failed == nil {
			j.log.Error("MQTT state not written; publishes that cause some are refused", "records", len(j.queue), "err", err)
		}
		j.metrics.failures.Inc()
	}
	j.failed, j.stalled = err, false
	j.changed.Broadcast()
}

// close has run end: once all is written, or when the disk has had its time.
func (j *journal) close() (stopTimer func() bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.changed.Broadcast()
	return time.AfterFunc(waitTimeout, func() { close(j.abandoned) }).Stop
}
