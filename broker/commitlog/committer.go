package commitlog

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// syncers is how many logs are synced at the same time. The disk, not the number
// of logs, says how much that helps.
const syncers = 8

// committer knows which logs have something to sync or to tell. Each is in one
// place at a time, so that what is appended to a log while it is synced waits for
// the next sync of that log, and shares it.
type committer struct {
	policy   Policy
	interval time.Duration
	stopping atomic.Bool // nothing is appended any more

	mu    sync.Mutex // guards all below, and every log's pending and urgent
	some  sync.Cond  // ready has got longer, or ended is set
	ready []*Log     // first come, first synced
	later []*Log     // for the next tick
	ended bool       // workers end once nothing is ready
}

// commitState is where a log stands with the committer.
type commitState uint8

const (
	clean        commitState = iota
	waiting                  // in later
	queued                   // in ready
	working                  // with a worker
	workingDirty             // with a worker, and there is more by now
)

// telling is what a log's notify function knows.
type telling struct {
	durableEnd int64
	failure    bool
	cuts       int64 // of the log, when that was
}

func newCommitter(o Options) *committer {
	c := &committer{policy: o.Policy, interval: o.Interval}
	c.some.L = &c.mu
	return c
}

// dirty says that l has something to sync or, when urgent, to tell at once.
func (c *committer) dirty(l *Log, urgent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch l.pending {
	case working, workingDirty:
		l.pending, l.urgent = workingDirty, l.urgent || urgent
	case waiting:
		if urgent {
			c.push(l) // its place in later comes to nothing
		}
	case clean:
		if c.policy != Sync && !urgent && !c.ended {
			l.pending = waiting
			c.later = append(c.later, l)
		} else {
			c.push(l)
		}
	}
}

func (c *committer) push(l *Log) {
	l.pending = queued
	c.ready = append(c.ready, l)
	c.some.Signal()
}

// tick makes ready what has waited for the interval.
func (c *committer) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushLater()
}

func (c *committer) pushLater() {
	for _, l := range c.later {
		if l.pending == waiting {
			c.push(l)
		}
	}
	clear(c.later)
	c.later = c.later[:0]
}

// work commits what is ready until there is nothing more and there will not be.
func (c *committer) work() {
	for l := c.next(); l != nil; l = c.next() {
		l.commit()
		c.done(l)
	}
}

// next takes a log off ready, for which it waits. It returns nil when there will
// be none.
func (c *committer) next() *Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.ready) == 0 {
		if c.ended {
			return nil
		}
		c.some.Wait()
	}
	l := c.ready[0]
	c.ready[0] = nil
	c.ready = c.ready[1:]
	l.pending, l.urgent = working, false
	return l
}

// queued is how many logs are in ready or in later.
func (c *committer) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.ready)
	for _, l := range c.later {
		if l.pending == waiting {
			n++
		}
	}
	return n
}

// done puts back a log that got dirty while a worker had it.
func (c *committer) done(l *Log) {
	c.mu.Lock()
	again, urgent := l.pending == workingDirty, l.urgent
	l.pending = clean
	c.mu.Unlock()
	if again {
		c.dirty(l, urgent)
	}
}

// end makes the workers end once all is committed. Nothing is appended any more.
func (c *committer) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.pushLater()
	c.some.Broadcast()
}

// Run commits what is appended until ctx is done. Then appends are refused, what
// was appended before is synced, and those who wait for it are told.
func (d *Dir) Run(ctx context.Context) error {
	d.startBudget()
	var workers sync.WaitGroup
	for range syncers {
		workers.Go(d.committer.work)
	}
	workers.Go(func() { d.checkpointUntil(ctx) })
	workers.Go(func() { d.clock.keep(ctx) })
	d.tickUntil(ctx)
	d.committer.stopping.Store(true)
	for _, l := range d.openLogs() {
		l.awaitAppend()
	}
	d.committer.end()
	workers.Wait()
	return nil
}

// awaitAppend returns when no append that began before is under way: one has told
// the committer by the time it lets go of the lock.
func (l *Log) awaitAppend() {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
}

// tickUntil ticks under Interval, for the syncs. Under OS nothing is to be synced,
// and who appends knows that it is durable: so that it is told need not wake a
// worker for each append.
func (d *Dir) tickUntil(ctx context.Context) {
	if d.committer.policy == Sync {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(d.committer.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			d.committer.tick()
		}
	}
}

// commit syncs l as the policy wants it, and tells what has changed. Only one
// worker has l.
func (l *Log) commit() {
	if l.committer.policy != OS {
		runtime.Gosched() // who can append at once shares this sync
		l.syncAppended()
	}
	l.tell()
}

// syncAppended makes durable all that was appended before it began.
func (l *Log) syncAppended() {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	tail := l.tail // before the sync: what comes during it may not be covered
	l.mu.Unlock()
	if l.closed.Load() || l.failure() != nil || l.durable.Load() >= tail.offset {
		return
	}
	l.metrics.group(l.unsynced.take())
	if !l.syncDirty() {
		return
	}
	l.durable.Store(tail.offset) // what is in sealed segments was synced when they were
}

// tell calls the log's notify function with what it does not know yet. Of what a
// sync that was under way makes durable after a failure nobody is told.
func (l *Log) tell() {
	if l.told.failure {
		return
	}
	l.tellMu.Lock()
	defer l.tellMu.Unlock()
	if cuts := l.cuts.Load(); cuts != l.told.cuts { // before the end is looked at: it is not an earlier one then
		l.told.durableEnd, l.told.cuts = -1, cuts
	}
	l.mu.Lock()
	notify, failure := l.notify, l.failed
	l.mu.Unlock()
	durableEnd := l.durable.Load() // after: what was durable before a failure is told before it
	if notify == nil {
		notify = func(int64, error) {}
	}
	if durableEnd > l.told.durableEnd {
		l.told.durableEnd = durableEnd
		notify(durableEnd, nil)
	}
	if failure == nil {
		return
	}
	l.told.failure = true
	if errors.Is(failure, ErrOffline) {
		l.metrics.logsOffline.Inc()
		l.log.Error("log offline", "log", l.name, "durableEnd", durableEnd, "err", failure)
	}
	notify(durableEnd, failure)
}

// awaitTelling returns when no call of notify is under way that may tell of what was
// before.
func (l *Log) awaitTelling() {
	l.tellMu.Lock()
	defer l.tellMu.Unlock()
}
