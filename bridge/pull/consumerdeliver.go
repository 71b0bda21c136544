package pull

import (
	"strconv"

	"github.com/headwater/headwater/broker/record"
)

// consider gives a record to the consumer, if it is for it. It returns false when
// the record was not given and could not be now.
func (t *consumers) consider(c *consumer, r *round, b *buffers, offset, timestamp int64, rec *record.Record) (more bool) {
	if r.again {
		switch due, far := t.isDue(c, r, offset); {
		case far:
			return false
		case !due:
			return true
		}
	}
	var keyShown bool
	b.subject, keyShown = appendSubject(b.subject[:0], c.stream.topic, rec)
	if !r.again && !c.takes(b.subject) {
		return true
	}
	payload := t.compose(c, b, rec, keyShown)
	inbox, ok := t.assign(c, r, b, offset, timestamp, len(payload))
	if !ok {
		return false
	}
	if err := t.wire.Deliver(inbox, b.ackSubject, b.subject, b.headers, payload); err != nil {
		t.unsent(c, r, offset, string(inbox), err)
		return false
	}
	t.counts.delivered.Inc()
	r.given++
	return true
}

// compose puts a record's headers into b and returns the payload: none where the
// consumer wants only headers, or it is larger than messages may be.
func (t *consumers) compose(c *consumer, b *buffers, rec *record.Record, keyShown bool) (payload []byte) {
	b.headers = appendHeaders(b.headers[:0], rec, keyShown)
	most := t.cfg.MaxPayload
	tooLarge := len(b.headers)+len(rec.Value) > most
	if !tooLarge && !c.config.HeadersOnly {
		return rec.Value
	}
	if len(b.headers) == 0 || len(b.headers)+msgSizeRoom > most {
		b.headers = append(b.headers[:0], emptyHeaders...)
	}
	b.headers = b.headers[:len(b.headers)-len("\r\n")]
	b.headers = append(b.headers, msgSizeName+": "...)
	b.headers = strconv.AppendInt(b.headers, int64(len(rec.Value)), 10)
	b.headers = append(b.headers, "\r\n\r\n"...)
	if tooLarge && !c.config.HeadersOnly {
		t.counts.cut.Inc()
	}
	return nil
}

// msgSizeRoom is for the header that says a payload's size.
const msgSizeRoom = 64

// isDue reports whether the record at an offset is to be given again. far says that
// no such record is near any more.
func (t *consumers) isDue(c *consumer, r *round, offset int64) (due, far bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.progress.isDue(offset, r.now) {
		return true, false
	}
	first, ok := c.progress.again(r.now)
	return false, !ok || first < offset || offset-r.from > dueDistance
}

// assign finds the pull that a record goes to, and notes that it was given. ok is
// false when there is none, or nothing more may be given.
func (t *consumers) assign(c *consumer, r *round, b *buffers, offset, timestamp int64, payloadLen int) (inbox []byte, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.settle(c)
	if c.gone || t.stopping {
		return nil, false
	}
	now := t.now()
	count, sequence := 1, c.progress.sequence+1
	if r.again {
		if !c.progress.isDue(offset, r.now) { // acknowledged meanwhile
			return nil, false
		}
		count = c.progress.pending[offset].count + 1
	} else if !t.mayGive(c) {
		c.stalled = true
		return nil, false
	}
	left := max(0, r.end-max(c.progress.next, offset+1))
	b.ackSubject = appendAckSubject(b.ackSubject[:0], c.stream.name, c.name, count, offset, sequence, timestamp, left)
	size := len(b.subject) + len(b.ackSubject) + len(b.headers) + payloadLen
	p := c.pulls.next(size, now, c.say)
	if p == nil {
		return nil, false
	}
	b.inbox = append(b.inbox[:0], p.inbox...)
	if r.again {
		c.progress.giveAgain(offset, now)
		t.counts.redelivered.Inc()
	} else {
		c.progress.give(offset, now)
	}
	c.pulls.took(size, now, c.say)
	c.lastActive, c.lastGiven = now, now
	t.changed(c, now+t.cfg.CommitInterval)
	return b.inbox, true
}

// unsent takes back what could not be sent, and ends the pulls of that inbox: their
// client is not told of what it does not get.
func (t *consumers) unsent(c *consumer, r *round, offset int64, inbox string, err error) {
	r.failed = err
	t.mu.Lock()
	defer t.mu.Unlock()
	c.progress.unsent(offset, t.now(), retryAfter)
	c.pulls.dropIf(func(p *pull) bool { return p.inbox == inbox })
	t.settle(c)
}
