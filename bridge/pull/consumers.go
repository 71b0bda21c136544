package pull

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// consumers are all consumers, and what makes them work: a few goroutines that serve
// those that have something to do, each for a turn, and one with a timer that knows
// when. Nothing runs for a consumer that nobody pulls from.
//
// mu is held for moments only: neither while the log is read nor while something is
// sent or committed.
type consumers struct {
	*Service
	counts  *consumerCounts
	started time.Time
	wake    chan struct{} // a watched partition has something new
	kick    chan struct{} // the timer has to be set anew
	making  chan struct{} // holds one token: whose it is makes, changes or deletes a consumer

	mu       sync.Mutex
	turn     *sync.Cond // something is in queue, or it is over
	streams  map[string]*consumed
	count    int         // of consumers
	queue    []*consumer // to be served, in this order
	times    timeHeap    // of those that have something to do later
	timer    time.Duration
	pending  int           // deliveries that wait for acknowledgements, of all
	waiting  int           // pulls, of all
	commits  int           // that are on their way
	ended    chan struct{} // one of them has ended
	early    []*call       // that came before consumers were loaded
	loaded   bool
	stopping bool
}

// consumed is a stream that has consumers.
type consumed struct {
	stream
	byName map[string]*consumer
	stop   func() // watching; nil when it is not watched
}

func newConsumers(s *Service, reg prometheus.Registerer) *consumers {
	t := &consumers{
		Service: s,
		started: time.Now(),
		wake:    make(chan struct{}, 1),
		kick:    make(chan struct{}, 1),
		making:  make(chan struct{}, 1),
		ended:   make(chan struct{}, 1),
		streams: map[string]*consumed{},
	}
	t.turn = sync.NewCond(&t.mu)
	t.counts = newConsumerCounts(reg, t)
	return t
}

// now is the time on the clock of this room: since it was made, never 0.
func (t *consumers) now() time.Duration { return time.Since(t.started) + 1 }

// find returns a consumer, nil when there is none of that name.
func (t *consumers) find(stream, name []byte) *consumer {
	if of := t.streams[string(stream)]; of != nil {
		return of.byName[string(name)]
	}
	return nil
}

// of is how many consumers a stream has.
func (t *consumers) of(st stream) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := t.streams[st.name]; of != nil {
		return len(of.byName)
	}
	return 0
}

// add puts a new consumer among the others.
func (t *consumers) add(c *consumer) {
	of := t.streams[c.stream.name]
	if of == nil {
		of = &consumed{stream: c.stream, byName: map[string]*consumer{}}
		t.streams[c.stream.name] = of
	}
	of.byName[c.name] = c
	c.place = -1
	c.lastActive = t.now()
	t.count++
	t.settle(c)
}

// remove takes a consumer out. Who waits is told, by the one who serves it.
func (t *consumers) remove(c *consumer) {
	if c.gone {
		return
	}
	c.gone = true
	c.pulls.endAll(409, "Consumer Deleted", c.say)
	c.progress.restart(c.progress.next)
	c.acked = nil
	t.settle(c)
	of := t.streams[c.stream.name]
	delete(of.byName, c.name)
	t.count--
	if len(of.byName) == 0 {
		if of.stop != nil {
			of.stop()
		}
		delete(t.streams, c.stream.name)
	}
	t.rouse(c)
}

// rouse has a consumer served.
func (t *consumers) rouse(c *consumer) {
	switch {
	case c.busy:
		c.again = true
	case !c.queued:
		c.queued = true
		t.queue = append(t.queue, c)
		t.turn.Signal()
	}
}

// settle is called after every change of a consumer: it keeps the sums, and when the
// consumer has something to do.
func (t *consumers) settle(c *consumer) {
	t.pending += len(c.progress.pending) - c.countedPending
	t.waiting += len(c.pulls.waiting) - c.countedWaiting
	c.countedPending, c.countedWaiting = len(c.progress.pending), len(c.pulls.waiting)

	at := time.Duration(0)
	if !c.gone {
		if !c.busy && !c.queued {
			at = earlier(c.wakeAt, c.retryAt)
			at = earlier(at, c.idleAt())
		}
		if c.dirty && !c.committing {
			at = earlier(at, c.commitAt)
		}
	}
	t.times.set(c, at)
	if at > 0 && (t.timer == 0 || at < t.timer) {
		select {
		case t.kick <- struct{}{}:
		default:
		}
	}
}

// changed says that a durable consumer has something to commit, by when.
func (t *consumers) changed(c *consumer, by time.Duration) {
	if !c.config.durable() {
		return
	}
	if !c.dirty {
		c.dirty, c.commitAt = true, by
		return
	}
	c.commitAt = min(c.commitAt, by)
}

// run serves consumers until ctx is done; then it commits what is left.
func (t *consumers) run(ctx context.Context) {
	var all sync.WaitGroup
	for range t.cfg.ConsumerWorkers {
		all.Go(t.work)
	}
	t.keepTime(ctx)
	t.mu.Lock()
	t.stopping = true
	t.turn.Broadcast()
	t.mu.Unlock()
	all.Wait()
	t.finish()
}

// keepTime has everything done that is due, until ctx is done.
func (t *consumers) keepTime(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	tidyAt, loadAt := t.now()+tidyEvery, t.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
			t.wakeWatching()
		case <-t.kick:
		case <-timer.C:
		}
		if now := t.now(); loadAt > 0 && now >= loadAt {
			if loadAt = 0; !t.load() {
				loadAt = now + loadEvery
			}
		}
		if now := t.now(); now >= tidyAt {
			tidyAt = now + tidyEvery
			t.tidy()
		}
		next := earlier(t.due(), tidyAt)
		next = earlier(next, loadAt)
		timer.Reset(max(0, next-t.now()))
	}
}

const (
	tidyEvery = 10 * time.Second
	loadEvery = 50 * time.Millisecond
)

// due does what is due, and returns when there is something to do next.
func (t *consumers) due() (next time.Duration) {
	var commits []*consumer
	var idle []*consumer
	t.mu.Lock()
	t.timer = 0 // so that what comes meanwhile kicks
	now := t.now()
	for len(t.times) > 0 && t.times[0].at <= now {
		c := t.times[0].consumer
		t.times.set(c, 0)
		switch {
		case c.idleAt() > 0 && c.idleAt() <= now:
			idle = append(idle, c)
			t.remove(c)
			continue
		case c.dirty && !c.committing && c.commitAt <= now:
			t.claim(c)
			commits = append(commits, c)
		}
		if at := earlier(c.wakeAt, c.retryAt); at > 0 && at <= now {
			t.rouse(c)
		}
		t.settle(c)
	}
	t.mu.Unlock()
	for _, c := range commits {
		t.commit(c)
	}
	for _, c := range idle {
		t.log.Info("consumer forgotten: nobody used it", "stream", c.stream.name, "consumer", c.name, "after", c.config.InactiveThreshold)
		if c.config.durable() {
			t.forget(c, func(error) {})
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.times) > 0 {
		next = t.times[0].at
	}
	t.timer = next
	return next
}

// wakeWatching has those served who wait for records that are there now.
func (t *consumers) wakeWatching() {
	type end struct {
		of            *consumed
		highWatermark int64
	}
	var watched []end
	t.mu.Lock()
	for _, of := range t.streams {
		if of.stop != nil {
			watched = append(watched, end{of: of})
		}
	}
	t.mu.Unlock()
	for i := range watched {
		_, highWatermark, _, err := t.reader.Offsets(watched[i].of.topic, watched[i].of.partition)
		if err != nil {
			highWatermark = 1 << 62 // whoever is served next finds out
		}
		watched[i].highWatermark = highWatermark
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range watched {
		for _, c := range w.of.byName {
			if len(c.pulls.waiting) > 0 && !c.stalled && c.progress.next < w.highWatermark {
				t.rouse(c)
				t.settle(c)
			}
		}
	}
}

// tidy stops watching where nobody waits, and looks at what is committed.
func (t *consumers) tidy() {
	var durable []*consumer
	t.mu.Lock()
	now := t.now()
	for _, of := range t.streams {
		waiting := false
		for _, c := range of.byName {
			waiting = waiting || len(c.pulls.waiting) > 0 || c.busy || c.queued
			if c.config.durable() && !c.committing {
				if c.refreshAt <= now {
					t.changed(c, now)
					t.settle(c)
				}
				durable = append(durable, c)
			}
		}
		if !waiting && of.stop != nil {
			of.stop()
			of.stop = nil
		}
	}
	t.mu.Unlock()
	for _, c := range durable {
		t.honour(c)
	}
	t.removeDeleted()
}

// removeDeleted removes the consumers of topics that were deleted.
func (t *consumers) removeDeleted() {
	var all []stream
	t.mu.Lock()
	for _, of := range t.streams {
		all = append(all, of.stream)
	}
	t.mu.Unlock()
	for _, st := range all {
		_, err := t.bounds(st)
		if err == nil || !t.cfg.Unknown(err) {
			continue
		}
		t.mu.Lock()
		if of := t.streams[st.name]; of != nil {
			for _, c := range of.byName {
				t.remove(c)
			}
		}
		t.mu.Unlock()
		t.log.Info("consumers deleted with their topic", "stream", st.name)
	}
}
