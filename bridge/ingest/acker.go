package ingest

import (
	"context"
	"errors"
	"sync"
)

// acker answers: batches that have completed, and messages that were refused. The
// Appender's goroutine only ever puts something into its queues.
type acker struct {
	in      *Ingest
	answers Publisher
	drained chan struct{} // closed when all that was taken is answered, after stop
	token   chan struct{} // holds a token when there may be something to do
	answer  []byte        // the answer being made; the acker's goroutine only

	mu           sync.Mutex // guards all below
	done         []*batch   // bounded by BufferBytes
	late         []late     // likewise, as what waited was
	refusals     []refusal
	refusalBytes int
}

// refusal is an answer to a message that is not kept.
type refusal struct {
	reply []byte // a copy; none while there is an answerer
	why   reason
	err   error // nil for no more than why

	answerer Answerer
	token    uint64

	// Of the message that this one is a duplicate of, while why is taken.
	stream    string
	partition int32
	offset    int64
}

// late are those who waited for a batch and are answered before it completes, if it
// does at all.
type late struct {
	batch *batch // of which it has the gather and those who wait alone
	why   reason
}

const (
	maxRefusalBytes = 2 << 20 // of refusals that wait to be told
	refusalOverhead = 128
	maxDetailLen    = 256
)

func newAcker(in *Ingest, answers Publisher) *acker {
	return &acker{in: in, answers: answers, drained: make(chan struct{}), token: make(chan struct{}, 1)}
}

func (a *acker) poke() { wake(a.token) }

// complete is what the Appender calls when b is durable or has failed.
func (a *acker) complete(b *batch, baseOffset int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.abandoned {
		return
	}
	b.baseOffset, b.err, b.completed = baseOffset, err, true
	a.done = append(a.done, b)
	a.poke()
}

// abandon completes b in the Appender's place, which may still call done. It
// reports whether it came first.
func (a *acker) abandon(b *batch) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.completed {
		return false
	}
	b.abandoned, b.err = true, ErrUnconfirmed
	a.done = append(a.done, b)
	a.poke()
	return true
}

// giveUp has those who wait for b, which the Appender has, told that it is not
// confirmed, unless it has just completed.
func (a *acker) giveUp(b *batch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !b.completed && !b.abandoned {
		a.queueLate(b, unconfirmed, errLate)
	}
}

// tellLate has those who wait for b, which the Appender does not have, told why.
func (a *acker) tellLate(b *batch, why reason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queueLate(b, why, nil)
}

// queueLate takes those who wait for b from it.
func (a *acker) queueLate(b *batch, why reason, err error) {
	if !b.awaited() {
		return
	}
	asked := &batch{gather: b.gather, acks: b.acks, replies: b.replies, calls: b.calls, err: err}
	b.acks, b.replies, b.calls = nil, nil, nil
	a.late = append(a.late, late{asked, why})
	a.poke()
}

// refuse queues an answer to m that says why.
func (a *acker) refuse(m *Message, why reason, err error) {
	a.queue(m, refusal{why: why, err: err})
}

// repeat queues the answer of a message that is stored, for m, which has the same id.
func (a *acker) repeat(m *Message, stream string, partition int32, offset int64) {
	a.queue(m, refusal{stream: stream, partition: partition, offset: offset})
}

// queue queues an answer to m. When more wait than may, it is given up and counted: the
// publisher will run into its time limit. An Answerer bounds what waits for it itself,
// and is always answered.
func (a *acker) queue(m *Message, r refusal) {
	r.answerer, r.token = m.Answerer, m.Token
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Answerer == nil {
		if a.refusalBytes >= maxRefusalBytes {
			a.in.metrics.unanswered.Inc()
			return
		}
		r.reply = append([]byte(nil), m.Reply...)
		a.refusalBytes += refusalCost(len(m.Reply), len(detailOf(r.err)))
	}
	a.refusals = append(a.refusals, r)
	a.poke()
}

func refusalCost(replyLen, detailLen int) int { return refusalOverhead + replyLen + detailLen }

// run answers until ctx is done and nothing is left to answer.
func (a *acker) run(ctx context.Context) {
	var drained bool
	for {
		done, late, refusals := a.next()
		if len(done)+len(late)+len(refusals) > 0 {
			a.settle(done)
			a.confirm(done)
			for _, l := range late {
				a.tell(l.batch, l.why, detailOf(l.batch.err))
			}
			a.refuseAll(refusals)
			continue
		}
		if !drained && a.in.empty() {
			drained = true
			close(a.drained)
		}
		select {
		case <-a.token:
		case <-ctx.Done():
			if !a.pending() {
				return
			}
		}
	}
}

func (a *acker) next() ([]*batch, []late, []refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done, late, refusals := a.done, a.late, a.refusals
	a.done, a.late, a.refusals, a.refusalBytes = nil, nil, nil, 0
	return done, late, refusals
}

func (a *acker) pending() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.done)+len(a.late)+len(a.refusals) > 0
}

// settle lets the batches that waited behind the completed ones go, before
// anybody is answered: the disk is the slower one.
func (a *acker) settle(done []*batch) {
	in := a.in
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, b := range done {
		g := b.gather
		delete(in.live, b)
		g.inFlight--
		in.takeBack(b)
		in.settleIDs(b)
		in.sealIfAwaited(g)
		if _, elsewhere := in.cfg.NextOffset(b.err); elsewhere {
			continue // the one message is to blame
		}
		if failing := b.err != nil && !errors.Is(b.err, ErrUnconfirmed); failing != g.failing {
			g.failing = failing
			if failing {
				in.log.Error("batch not stored; its messages are turned away", "topic", g.topic.name, "partition", g.partition, "err", b.err)
			} else {
				in.log.Info("batches are stored again", "topic", g.topic.name, "partition", g.partition)
			}
		}
		if b.err != nil {
			g.topic.stale = true // it may have been deleted
		}
	}
}

// confirm answers everyone who waited for a batch, and gives its memory back.
func (a *acker) confirm(done []*batch) {
	for _, b := range done {
		if b.err != nil {
			a.fail(b)
		} else {
			a.succeed(b)
		}
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	for _, b := range done {
		a.in.release(&b.gather.holder, b.bytes)
		if !b.abandoned { // or the Appender might still complete it
			a.in.reuse(b)
		}
	}
}

func (a *acker) succeed(b *batch) {
	start := int32(0)
	for _, k := range b.acks {
		a.answer = appendPubAck(a.answer[:0], b.gather.stream, b.baseOffset+int64(k.delta), b.gather.partition, k.duplicate)
		a.publish(b.replies[start:k.replyEnd], a.answer)
		start = k.replyEnd
	}
	for _, k := range b.calls {
		k.answerer.Answer(k.token, b.gather.partition, b.baseOffset+int64(k.delta), nil)
	}
}

func (a *acker) fail(b *batch) {
	why, detail := a.in.cfg.reasonOf(b)
	if b.awaited() {
		a.tell(b, why, detail)
	}
	for _, r := range b.core {
		a.in.metrics.dropped[r.rule][why].Add(float64(r.count))
	}
}

// tell has everyone who waited for b know why it is not stored.
func (a *acker) tell(b *batch, why reason, detail string) {
	a.answer = appendError(a.answer[:0], b.gather.stream, why, detail)
	start := int32(0)
	for _, k := range b.acks {
		a.in.metrics.refused[k.rule][why].Inc()
		a.publish(b.replies[start:k.replyEnd], a.answer)
		start = k.replyEnd
	}
	var err error = newRefusal(why, b.err)
	for _, k := range b.calls {
		a.in.metrics.refused[k.rule][why].Inc()
		k.answerer.Answer(k.token, b.gather.partition, -1, err)
	}
}

func (a *acker) refuseAll(refusals []refusal) {
	for _, r := range refusals {
		switch {
		case r.answerer != nil && r.why == taken:
			r.answerer.Answer(r.token, r.partition, r.offset, nil)
			continue
		case r.answerer != nil:
			r.answerer.Answer(r.token, -1, -1, newRefusal(r.why, r.err))
			continue
		case r.why == taken:
			a.answer = appendPubAck(a.answer[:0], r.stream, r.offset, r.partition, true)
		default:
			a.answer = appendError(a.answer[:0], "", r.why, detailOf(r.err))
		}
		a.publish(r.reply, a.answer)
	}
}

func (a *acker) publish(reply, answer []byte) {
	if err := a.answers.Publish(reply, answer); err != nil {
		a.in.metrics.unanswered.Inc()
	}
}
