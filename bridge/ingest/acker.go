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
	refusals     []refusal
	refusalBytes int
}

// refusal is an answer to a message that is not kept.
type refusal struct {
	reply  []byte
	asker  asker // in place of reply, if there is one
	why    reason
	detail string
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

// refuse queues an answer that says why. When more wait than may, it is given up
// and counted: the publisher will run into its time limit. Not so where an Answerer
// counts on it, which itself bounds how many wait.
func (a *acker) refuse(m *Message, why reason, err error) {
	var detail string
	if err != nil {
		detail = err.Error()
		detail = detail[:min(len(detail), maxDetailLen)]
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refusalBytes >= maxRefusalBytes && m.Answerer == nil {
		a.in.metrics.unanswered.Inc()
		return
	}
	a.refusalBytes += refusalCost(len(m.Reply), len(detail))
	a.refusals = append(a.refusals, refusal{append([]byte(nil), m.Reply...), asker{m.Answerer, m.Token}, why, detail})
	a.poke()
}

func refusalCost(replyLen, detailLen int) int { return refusalOverhead + replyLen + detailLen }

// run answers until ctx is done and nothing is left to answer.
func (a *acker) run(ctx context.Context) {
	var drained bool
	for {
		done, refusals := a.next()
		if len(done)+len(refusals) > 0 {
			a.settle(done)
			a.confirm(done)
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

func (a *acker) next() ([]*batch, []refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done, refusals := a.done, a.refusals
	a.done, a.refusals, a.refusalBytes = nil, nil, 0
	return done, refusals
}

func (a *acker) pending() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.done)+len(a.refusals) > 0
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
		in.sealIfAwaited(g)
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
	var freed int64
	for _, b := range done {
		freed += b.bytes
		if b.err != nil {
			a.fail(b)
		} else {
			a.succeed(b)
		}
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.in.buffered -= freed
	for _, b := range done {
		if !b.abandoned { // or the Appender might still complete it
			a.in.reuse(b)
		}
	}
}

func (a *acker) succeed(b *batch) {
	start := int32(0)
	for _, k := range b.acks {
		if k.asker >= 0 {
			b.askers[k.asker].answer(b.gather.partition, b.baseOffset+int64(k.delta), nil)
			continue
		}
		a.answer = appendPubAck(a.answer[:0], b.gather.stream, b.baseOffset+int64(k.delta), b.gather.partition)
		a.publish(b.replies[start:k.replyEnd], a.answer)
		start = k.replyEnd
	}
}

func (a *acker) fail(b *batch) {
	why := a.in.cfg.reasonOf(b.err)
	a.answer = appendError(a.answer[:0], b.gather.stream, why, b.err.Error())
	start := int32(0)
	for _, k := range b.acks {
		a.in.metrics.refused[k.rule][why].Inc()
		if k.asker >= 0 {
			b.askers[k.asker].answer(b.gather.partition, -1, newRefusal(why, b.err.Error()))
			continue
		}
		a.publish(b.replies[start:k.replyEnd], a.answer)
		start = k.replyEnd
	}
	for _, r := range b.core {
		a.in.metrics.dropped[r.rule][why].Add(float64(r.count))
	}
}

func (a *acker) refuseAll(refusals []refusal) {
	for _, r := range refusals {
		if r.asker.answerer != nil {
			r.asker.answer(-1, -1, newRefusal(r.why, r.detail))
			continue
		}
		a.answer = appendError(a.answer[:0], "", r.why, r.detail)
		a.publish(r.reply, a.answer)
	}
}

func (a *acker) publish(reply, answer []byte) {
	if err := a.answers.Publish(reply, answer); err != nil {
		a.in.metrics.unanswered.Inc()
	}
}
