package pull

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// pull is a client's wish for messages, at its inbox.
type pull struct {
	inbox     string
	batch     int           // messages that it may still bring
	maxBytes  int           // likewise bytes; 0 for no limit
	arrived   time.Duration // as all times here, since some moment
	expires   time.Duration // 0: it waits until it is filled
	noWait    bool          // it ends when there is no more
	heartbeat time.Duration // 0: none
	beat      time.Duration // when the next one is due
	given     int
}

// maxInboxLen bounds the subject that messages are wanted on, for the memory of
// those that wait.
const maxInboxLen = 512

// parsePull reads what a client asks for: nothing for one message, a number, or JSON.
func parsePull(inbox, payload []byte, now time.Duration) (pull, error) {
	p := pull{inbox: string(inbox), batch: 1, arrived: now}
	payload = bytes.TrimSpace(payload)
	switch {
	case len(payload) == 0:
		return p, nil
	case payload[0] != '{':
		n, err := strconv.Atoi(string(payload))
		if err != nil || n < 1 {
			return p, fmt.Errorf("want a number of messages or JSON, got %.40q", payload)
		}
		p.batch = n
		return p, nil
	}
	return p, p.decode(payload, now)
}

func (p *pull) decode(payload []byte, now time.Duration) error {
	var r struct {
		Expires       time.Duration `json:"expires"`
		Batch         int           `json:"batch"`
		MaxBytes      int           `json:"max_bytes"`
		NoWait        bool          `json:"no_wait"`
		Heartbeat     time.Duration `json:"idle_heartbeat"`
		Group         string        `json:"group"`
		MinPending    int64         `json:"min_pending"`
		MinAckPending int64         `json:"min_ack_pending"`
		ID            string        `json:"id"`
		Priority      int           `json:"priority"`
	}
	if err := json.Unmarshal(payload, &r); err != nil {
		return err
	}
	switch {
	case r.Batch < 0 || r.MaxBytes < 0 || r.Expires < 0 || r.Heartbeat < 0:
		return fmt.Errorf("numbers must not be negative")
	case r.Heartbeat > 0 && r.Heartbeat < minHeartbeat:
		return fmt.Errorf("heartbeat value too small, want %v or more", minHeartbeat)
	case r.Heartbeat > r.Expires/2:
		return fmt.Errorf("heartbeat value too large")
	case r.Group != "" || r.ID != "" || r.MinPending != 0 || r.MinAckPending != 0 || r.Priority != 0:
		return fmt.Errorf("priority groups are not spoken here")
	}
	p.batch, p.maxBytes, p.noWait = max(r.Batch, 1), r.MaxBytes, r.NoWait
	if r.Expires > 0 {
		p.expires = now + min(r.Expires, maxExpires)
	}
	if r.Heartbeat > 0 {
		p.heartbeat, p.beat = r.Heartbeat, now+r.Heartbeat
	}
	return nil
}

// A heartbeat that is shorter would be work for nothing; one that is not sensible in
// length is cut, so that sums of times do not run over.
const (
	minHeartbeat = 10 * time.Millisecond
	maxExpires   = 365 * 24 * time.Hour
)

// remaining are the headers that say what of a pull was left open.
func (p *pull) remaining() string {
	return fmt.Sprintf("Nats-Pending-Messages: %d\r\nNats-Pending-Bytes: %d\r\n", p.batch, p.maxBytes)
}

// saying is something to be said to one who waits, in its place among the messages.
type saying struct {
	to      string
	headers string // a whole block; "" for an empty message
	payload string
	// aside says that nobody minds in which order it comes: to is no inbox of a pull.
	aside bool
}

// statusSaying is a status line, perhaps with headers under it.
func statusSaying(inbox string, code int, text, headers string) saying {
	return saying{to: inbox, headers: fmt.Sprintf("NATS/1.0 %d %s\r\n%s\r\n", code, text, headers)}
}

// pulls are those that wait at one consumer, served in turn. Not for several
// goroutines at once.
type pulls struct {
	waiting []*pull // whose turn it is comes first
}

func (w *pulls) add(p *pull) { w.waiting = append(w.waiting, p) }

// next is the pull that a message of size bytes goes to: nil when none waits. Those
// whose limit it exceeds end, which say tells.
func (w *pulls) next(size int, now time.Duration, say func(saying)) *pull {
	for len(w.waiting) > 0 {
		p := w.waiting[0]
		switch {
		case p.expires > 0 && p.expires <= now:
			w.end(0, statusSaying(p.inbox, 408, "Request Timeout", p.remaining()), say)
		case p.maxBytes > 0 && size > p.maxBytes:
			w.end(0, statusSaying(p.inbox, 409, "Message Size Exceeds MaxBytes", p.remaining()), say)
		default:
			return p
		}
	}
	return nil
}

// took tells that a message of size bytes went to the pull whose turn it was. Then
// it is the next one's; say tells when that one is filled.
func (w *pulls) took(size int, now time.Duration, say func(saying)) {
	p := w.waiting[0]
	p.batch--
	p.given++
	if p.heartbeat > 0 {
		p.beat = now + p.heartbeat
	}
	full := p.batch == 0
	if p.maxBytes > 0 {
		p.maxBytes -= size
		if p.maxBytes > 0 && full { // the client would wait for these bytes
			w.end(0, statusSaying(p.inbox, 409, "Batch Completed", p.remaining()), say)
			return
		}
		full = full || p.maxBytes == 0
	}
	if full {
		w.waiting = slices.Delete(w.waiting, 0, 1)
		return
	}
	if n := len(w.waiting) - 1; n > 0 {
		copy(w.waiting, w.waiting[1:])
		w.waiting[n] = p
	}
}

func (w *pulls) end(i int, last saying, say func(saying)) {
	w.waiting = slices.Delete(w.waiting, i, i+1)
	say(last)
}

// look ends the pulls whose time is over and, at the end of the log, those that do
// not wait; it says the heartbeats that are due. next is when there is something to
// do again; 0 for never. sequences are the last delivery's.
func (w *pulls) look(now time.Duration, atEnd bool, consumerSequence, streamSequence uint64, say func(saying)) (next time.Duration) {
	for i := 0; i < len(w.waiting); {
		p := w.waiting[i]
		switch {
		case p.expires > 0 && p.expires <= now:
			w.end(i, statusSaying(p.inbox, 408, "Request Timeout", p.remaining()), say)
			continue
		case atEnd && p.noWait && (p.expires == 0 || p.given > 0):
			w.end(i, statusSaying(p.inbox, 404, "No Messages", ""), say)
			continue
		case p.heartbeat > 0 && p.beat <= now:
			p.beat = now + p.heartbeat
			say(statusSaying(p.inbox, 100, "Idle Heartbeat", fmt.Sprintf("Nats-Last-Consumer: %d\r\nNats-Last-Stream: %d\r\n", consumerSequence, streamSequence)))
		}
		next = earlier(earlier(next, p.expires), p.beat)
		i++
	}
	return next
}

// earlier is the earlier of two times, where 0 is never.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// dropIf takes out those that nobody waits for any more.
func (w *pulls) dropIf(gone func(*pull) bool) {
	w.waiting = slices.DeleteFunc(w.waiting, gone)
}

// endAll ends all that wait with the same word.
func (w *pulls) endAll(code int, text string, say func(saying)) {
	for len(w.waiting) > 0 {
		w.end(0, statusSaying(w.waiting[0].inbox, code, text, ""), say)
	}
}
