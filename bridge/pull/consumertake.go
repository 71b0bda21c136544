package pull

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"
)

// consumerTraffic is what consumers' clients say all the time. It is taken on the
// reader's goroutine, which waits for nothing: what is to be sent is sent by those who
// serve the consumer.
var consumerTraffic = []route{
	{"ACK.>", "", onReader, func(s *Service, c *call) { s.pulling.takeAck(c) }},
	{"API.CONSUMER.MSG.NEXT.*.*", "", onReader, func(s *Service, c *call) { s.pulling.takePull(c) }},
}

// maxEarly bounds what is kept that comes before consumers are loaded.
const maxEarly = 1024

// maxPullBytes bounds what a pull says.
const maxPullBytes = 4 << 10

// keepEarly keeps a call until consumers are loaded.
func (t *consumers) keepEarly(c *call) {
	size := c.size()
	if len(t.early) >= maxEarly || size > maxPullBytes {
		t.metrics.ignored.Inc()
		return
	}
	t.early = append(t.early, c.clone(size))
}

// takePull takes a client's wish for messages.
func (t *consumers) takePull(c *call) {
	if len(c.reply) == 0 || len(c.reply) > maxInboxLen {
		t.metrics.ignored.Inc()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return
	}
	if !t.loaded {
		t.keepEarly(c)
		return
	}
	of := t.find(c.tokens[0], c.tokens[1])
	if of == nil {
		t.enqueue(&call{route: &nobodyRoute, reply: c.reply})
		return
	}
	t.pull(of, c.reply, c.payload)
}

// nobodyRoute answers pulls from consumers that there are not as NATS does where
// nobody listens: clients know what to do then.
var nobodyRoute = route{handle: func(s *Service, c *call) {
	s.metrics.refuse()
	if err := s.send(c.reply, []byte("NATS/1.0 503\r\n\r\n"), nil); err != nil {
		s.log.Debug("refusal not sent", "err", err)
	}
}}

// pull adds a pull to a consumer's, or has the client told why not.
func (t *consumers) pull(of *consumer, inbox, payload []byte) {
	if len(of.says) >= maxSays {
		t.metrics.ignored.Inc()
		return
	}
	defer t.settle(of)
	defer t.rouse(of)
	now := t.now()
	of.lastActive = now
	if len(payload) > maxPullBytes {
		payload = payload[:maxPullBytes] // which is no JSON any more
	}
	p, err := parsePull(inbox, payload, now)
	if err != nil {
		of.say(statusSaying(p.inbox, 400, "Bad Request - "+strings.Map(printable, err.Error()), ""))
		return
	}
	text := of.refuse(&p)
	if text == "" && t.waiting >= t.cfg.WaitingPulls {
		text = exceededMaxWaiting
	}
	switch {
	case text == "":
		of.pulls.add(&p)
	case text == exceededMaxWaiting && p.heartbeat > 0:
		// Silence has the client wait for the heartbeat; told, it would ask again at once.
	default:
		of.say(statusSaying(p.inbox, 409, text, ""))
	}
}

// takeAck takes an acknowledgement.
func (t *consumers) takeAck(c *call) {
	a, ok := parseAck(c.tokens[0], c.payload)
	if !ok {
		t.metrics.ignored.Inc()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return
	}
	if !t.loaded {
		t.keepEarly(c)
		return
	}
	of := t.find(a.stream, a.consumer)
	if of == nil || of.progress.rules.policy == ackNone {
		t.metrics.ignored.Inc()
		return
	}
	if len(c.reply) > maxInboxLen {
		c.reply = nil
	}
	t.acknowledge(of, &a, c.reply)
}

// acknowledge does what an acknowledgement says. Who asked for an answer gets it: for
// what is done, once that is as durable as the consumer is. Nothing is answered about
// what was never given.
func (t *consumers) acknowledge(of *consumer, a *ack, reply []byte) {
	defer t.settle(of)
	now := t.now()
	of.lastActive = now
	known := a.offset < of.progress.next
	done := false
	switch a.kind {
	case ackDone, ackNext:
		done = of.progress.ack(a.offset)
		of.lastAcked = now
	case ackNever:
		done = of.progress.drop(a.offset)
		of.lastAcked = now
	case ackAgain:
		of.progress.nak(a.offset, now, a.delay)
	case ackProgress:
		of.progress.extend(a.offset, now)
	}
	if done {
		t.changed(of, now+t.cfg.CommitInterval)
	}
	if len(of.pulls.waiting) > 0 && (of.stalled || a.kind == ackAgain) {
		t.rouse(of)
	}
	switch {
	case len(reply) == 0:
	case a.kind == ackNext:
		t.pull(of, reply, a.rest)
	case known:
		t.confirm(of, reply, a.kind == ackDone || a.kind == ackNever)
	}
}

// confirm answers an acknowledgement. durably: once what was acknowledged before is
// committed, if the consumer is durable.
func (t *consumers) confirm(of *consumer, reply []byte, durably bool) {
	switch {
	case len(of.says) >= maxSays || len(of.acked) >= maxAcked:
		t.metrics.ignored.Inc()
	case durably && of.config.durable() && (of.dirty || of.committing):
		of.acked = append(of.acked, string(reply))
		t.changed(of, t.now())
	default:
		of.say(saying{to: string(reply), aside: true})
		t.rouse(of)
	}
}

// maxDeliveries is what those who listen to events are told of a message that a
// consumer has given up.
func (t *consumers) maxDeliveries(c *consumer, offset int64, count int) saying {
	text, err := json.Marshal(struct {
		Type       string    `json:"type"`
		ID         string    `json:"id"`
		Timestamp  time.Time `json:"timestamp"`
		Stream     string    `json:"stream"`
		Consumer   string    `json:"consumer"`
		StreamSeq  uint64    `json:"stream_seq"`
		Deliveries int       `json:"deliveries"`
		Domain     string    `json:"domain,omitempty"`
	}{"io.nats.jetstream.advisory.v1.max_deliver", rand.Text(), time.Now().UTC(), c.stream.name, c.name, sequence(offset), count, t.cfg.Domain})
	if err != nil {
		panic(err) // texts, numbers and times of this millennium always marshal
	}
	return saying{to: "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + c.stream.name + "." + c.name, payload: string(text), aside: true}
}
