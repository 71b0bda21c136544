package pull

import (
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// A turn is what a consumer gets before it is the next one's: so many deliveries, and
// so many records looked at, of a window of the log. Windows grow while all of one is
// used.
const (
	turnDeliveries = 1024
	turnRecords    = 16 << 10
	leastWindow    = 4 << 10
	mostWindow     = 256 << 10
	// dueDistance is how far apart records may be that are given again in one turn.
	dueDistance = 1024
)

const (
	retryAfter   = time.Second      // when the log could not be read, or nothing be sent
	lookForGone  = 30 * time.Second // how often it is looked whether pulls are still waited for
	lookNotMore  = time.Second      // but not more often
	msgSizeName  = "Nats-Msg-Size"
	emptyHeaders = headerVersion + "\r\n"
)

// buffers are one server's, used again for each message.
type buffers struct{ subject, headers, ackSubject, inbox []byte }

// work serves consumers until it is over.
func (t *consumers) work() {
	var b buffers
	for {
		c := t.take()
		if c == nil {
			return
		}
		t.serve(c, &b)
	}
}

// take waits for a consumer that has something to do; nil when it is over.
func (t *consumers) take() *consumer {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) == 0 && !t.stopping {
		t.turn.Wait()
	}
	if t.stopping {
		return nil
	}
	c := t.queue[0]
	t.queue[0] = nil
	t.queue = t.queue[1:]
	c.queued, c.busy, c.again = false, true, false
	return c
}

// serve gives a consumer its turn.
func (t *consumers) serve(c *consumer, b *buffers) {
	t.dropGone(c)
	r, says := t.plan(c)
	t.tell(says)
	if r.read {
		t.watch(c.stream)
		t.read(c, r, b)
	}
	t.release(c, r)
}

// round is one turn of a consumer.
type round struct {
	read   bool          // the log is read
	again  bool          // for records that come again, the first at from; else for new ones
	from   int64         // offset
	end    int64         // the high watermark; what lies before it is still to come
	now    time.Duration // when it began
	window int           // bytes to read at most

	looked, given int
	bytes         int
	stopped       bool  // by yield, at stoppedAt
	stoppedAt     int64 // what was not given
	atEnd         bool  // there are no more records
	more          bool  // there are, and pulls
	failed        error
}

// plan finds out what a turn is about, and what is to be said before it.
func (t *consumers) plan(c *consumer) (*round, []saying) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &round{now: t.now(), window: max(c.window, leastWindow)}
	c.stalled = false
	if c.gone {
		return r, c.sayAll()
	}
	t.look(c, r.now, false)
	if c.retryAt <= r.now {
		c.retryAt = 0
	}
	if len(c.pulls.waiting) > 0 && c.retryAt == 0 {
		r.from, r.again = c.progress.again(r.now)
		switch {
		case r.again:
			r.read = true
		case t.mayGive(c):
			r.read, r.from = true, c.progress.next
		default:
			c.stalled = true
		}
	}
	t.settle(c)
	return r, c.sayAll()
}

// look does what look of the consumer does, and tells those who listen to events
// of what is never given again.
func (t *consumers) look(c *consumer, now time.Duration, atEnd bool) {
	exhausted, next := c.look(now, atEnd)
	c.wakeAt = next
	if t.cfg.Interest != nil && len(c.pulls.waiting) > 0 {
		c.wakeAt = earlier(c.wakeAt, now+lookForGone)
	}
	for _, d := range exhausted {
		t.changed(c, now+t.cfg.CommitInterval)
		t.counts.exhausted.Inc()
		c.say(t.maxDeliveries(c, d.offset, d.count))
	}
}

// mayGive reports whether one more record may wait for this consumer's
// acknowledgement: by its own limit, and by what all together may have. A consumer
// always gets a few.
func (t *consumers) mayGive(c *consumer) bool {
	return c.room() > 0 && (c.progress.rules.policy == ackNone || t.pending < t.cfg.PendingAcks || len(c.progress.pending) < assuredAcks)
}

const assuredAcks = 16

// dropGone takes out pulls whose inbox nobody listens to any more.
func (t *consumers) dropGone(c *consumer) {
	if t.cfg.Interest == nil {
		return
	}
	t.mu.Lock()
	now := t.now()
	if now < c.lookedAt+lookNotMore {
		t.mu.Unlock()
		return
	}
	c.lookedAt = now
	inboxes := map[string]bool{}
	for _, p := range c.pulls.waiting {
		inboxes[p.inbox] = false
	}
	t.mu.Unlock()
	for inbox := range inboxes {
		inboxes[inbox] = t.cfg.Interest(inbox)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c.pulls.dropIf(func(p *pull) bool {
		heard, asked := inboxes[p.inbox]
		return asked && !heard
	})
	t.settle(c)
}

// watch has the room woken when the stream gets records.
func (t *consumers) watch(st stream) {
	t.mu.Lock()
	of := t.streams[st.name]
	watching := of == nil || of.stop != nil
	t.mu.Unlock()
	if watching {
		return
	}
	stop, err := t.reader.WatchPartition(st.topic, st.partition, t.wake)
	if err != nil {
		return // reading it tells why
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := t.streams[st.name]; of != nil && of.stop == nil {
		of.stop = stop
		return
	}
	stop() // another was faster, or the last consumer is gone
}

// read reads a window of the log and gives what is for the consumer.
func (t *consumers) read(c *consumer, r *round, b *buffers) {
	start, end, _, err := t.reader.Offsets(c.stream.topic, c.stream.partition)
	if err != nil {
		r.failed = err
		return
	}
	if r.end = end; r.from < start {
		t.lose(c, start)
		r.more = true // from where it begins now
		return
	}
	if r.from > end {
		r.failed = fmt.Errorf("the log ends at offset %d, before %d where the consumer is: was its topic made anew? Delete the consumer", end, r.from)
		return
	}
	if !r.again && r.from == end {
		r.atEnd = true
		return
	}
	seen := false // any record
	next, err := t.reader.ReadRecords(c.stream.topic, c.stream.partition, r.from, r.window, func(offset, timestamp int64, rec record.Record) bool {
		if r.again && !seen && offset > r.from {
			t.vanish(c, r.from)
		}
		seen = true
		r.looked++
		r.bytes += len(rec.Key) + len(rec.Value) + recordBytes
		more := t.consider(c, r, b, offset, timestamp, &rec)
		if !more {
			r.stopped, r.stoppedAt = true, offset
		}
		return more && r.looked < turnRecords && r.given < turnDeliveries
	})
	if r.failed == nil && err != nil {
		r.failed = err
	}
	if r.again && !seen && err == nil {
		t.vanish(c, r.from)
	}
	t.passed(c, r, next)
}

// passed notes how far a turn got.
func (t *consumers) passed(c *consumer, r *round, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.gone || r.failed != nil {
		return
	}
	c.failed = false
	if r.again {
		r.more = true
		return
	}
	if r.stopped {
		next = r.stoppedAt
		c.window = min(max(2*r.bytes, leastWindow), mostWindow)
	} else {
		c.window = min(2*r.window, mostWindow)
	}
	if next > c.progress.next {
		c.progress.skip(next)
		t.changed(c, r.now+t.cfg.CommitInterval)
	}
	r.atEnd = !r.stopped && next >= r.end
	r.more = !r.atEnd
	t.settle(c)
}

// lose goes on where the log begins now.
func (t *consumers) lose(c *consumer, start int64) {
	t.mu.Lock()
	unacked, unseen := c.progress.lose(start)
	t.changed(c, t.now()+t.cfg.CommitInterval)
	t.settle(c)
	t.mu.Unlock()
	if n := int64(unacked) + unseen; n > 0 {
		t.counts.missed.Add(float64(n))
		t.log.Warn("consumer was too late: records are gone", "stream", c.stream.name, "consumer", c.name, "records", n, "logStartOffset", start)
	}
}

// vanish forgets a record that was to be given again and is not in the log.
func (t *consumers) vanish(c *consumer, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.progress.vanish(offset)
	t.changed(c, t.now()+t.cfg.CommitInterval)
	t.settle(c)
}

// release ends a turn: what came up is said, and the consumer waits for its next one.
func (t *consumers) release(c *consumer, r *round) {
	if r.failed != nil {
		t.failed(c, r.failed)
	}
	for {
		says := t.rest(c, r)
		if len(says) == 0 {
			return
		}
		t.tell(says)
	}
}

// failed deletes a consumer whose topic was deleted, and has another one wait after
// an error.
func (t *consumers) failed(c *consumer, err error) {
	t.mu.Lock()
	deleted := t.cfg.Unknown(err)
	first := !c.failed
	if deleted {
		t.remove(c)
	} else {
		c.retryAt = t.now() + retryAfter
		c.failed = true
	}
	t.mu.Unlock()
	if first {
		t.log.Warn("consumer cannot go on", "stream", c.stream.name, "consumer", c.name, "deleted", deleted, "err", err)
	}
}

// rest has a consumer wait for its next turn, unless there is something to be said.
func (t *consumers) rest(c *consumer, r *round) []saying {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if !c.gone {
		t.look(c, now, r.atEnd && !c.again)
	}
	if says := c.sayAll(); len(says) > 0 {
		return says
	}
	c.busy = false
	_, due := c.progress.again(now)
	more := len(c.pulls.waiting) > 0 && c.retryAt == 0 && (due || r.more && !c.stalled)
	if !c.gone && (c.again || more) {
		t.rouse(c)
	}
	t.settle(c)
	return nil
}

// tell says what is to be said.
func (t *consumers) tell(says []saying) {
	for _, s := range says {
		var headers []byte
		if s.headers != "" {
			headers = []byte(s.headers)
		}
		var err error
		if s.aside {
			err = t.wire.PublishMsg([]byte(s.to), nil, headers, []byte(s.payload))
		} else {
			err = t.wire.Deliver([]byte(s.to), nil, nil, headers, nil)
		}
		if err != nil {
			t.counts.unsaid.Inc()
			t.log.Debug("status not sent", "err", err)
		}
	}
}
