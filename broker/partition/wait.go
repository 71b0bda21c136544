package partition

import (
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/replica"
)

// waiter is told when what lies before nextOffset is as safe as it asked for.
type waiter struct {
	nextOffset int64
	done       func(error)
}

// Await calls done once, with nil when everything below nextOffset is as durable
// here as the data directory promises, or with the reason why it never will be. It may
// do so before it returns. done must not block: it runs on the goroutine that
// syncs.
func (p *Partition) Await(nextOffset int64, done func(error)) {
	p.await(wish{waiter{nextOffset, done}, false}).tell()
}

// AwaitAll is Await for all replicas in the ISR: the high watermark has reached
// nextOffset. ErrNotEnoughReplicasAfterAppend says that it has, on too few. For a
// broker that is the only replica it is Await.
func (p *Partition) AwaitAll(nextOffset int64, done func(error)) {
	p.await(wish{waiter{nextOffset, done}, true}).tell()
}

// wish is a waiter, and for whom it waits: all replicas in the ISR, or this one.
type wish struct {
	waiter
	all bool
}

// answer is what a waiter that need not wait is to be told once no lock is held. The
// zero answer is none.
type answer struct {
	done func(error)
	err  error
}

func (a answer) tell() {
	if a.done != nil {
		a.done(a.err)
	}
}

// await has someone wait, or returns the answer.
func (p *Partition) await(w wish) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.all {
		return p.awaitAll(w.waiter)
	}
	switch {
	case p.durableEnd >= w.nextOffset, p.set.ackOnAppend && p.leading != nil:
		p.acked(w.nextOffset)
		return answer{w.done, nil}
	case p.failed != nil:
		return answer{w.done, p.failed}
	}
	p.waiting = insert(p.waiting, w.waiter)
	return answer{}
}

// awaitAll is await for all replicas. mu is held.
func (p *Partition) awaitAll(w waiter) answer {
	switch {
	case p.leading != nil && p.leading.Alone() && p.set.ackOnAppend:
		return answer{w.done, nil}
	case p.failed != nil:
		return answer{w.done, p.failed}
	case p.leading == nil:
		return answer{w.done, fmt.Errorf("%s: %w", p.name, ErrNotLeader)}
	case p.highWatermark >= w.nextOffset:
		return answer{w.done, p.afterAppend()}
	}
	p.waitingAll = insert(p.waitingAll, w)
	return answer{}
}

// afterAppend is what those learn whose records have become committed. mu is held,
// and this broker leads.
func (p *Partition) afterAppend() error {
	if p.leading.MaximalUnderMinISR() {
		return fmt.Errorf("%s: %w: the ISR is %v", p.name, ErrNotEnoughReplicasAfterAppend, p.leading.ISR())
	}
	return nil
}

// insert keeps waiting in the order of offsets. Appends ask to wait almost in
// that order, so the place is at the end or near it.
func insert(waiting []waiter, w waiter) []waiter {
	at := len(waiting)
	for at > 0 && waiting[at-1].nextOffset > w.nextOffset {
		at--
	}
	waiting = append(waiting, waiter{})
	copy(waiting[at+1:], waiting[at:])
	waiting[at] = w
	return waiting
}

// pop takes the waiters off that wait for no more than offset.
func pop(waiting *[]waiter, offset int64) []waiter {
	n := 0
	for n < len(*waiting) && (*waiting)[n].nextOffset <= offset {
		n++
	}
	ready := (*waiting)[:n:n]
	*waiting = (*waiting)[n:]
	if len(*waiting) == 0 {
		*waiting = nil // an idle partition holds no buffer
	}
	return ready
}

// news is what waiters are to be told once no lock is held.
type news struct {
	durable, all []waiter
	err          error
}

func (n *news) tell() {
	for _, w := range n.durable {
		w.done(n.err)
	}
	for _, w := range n.all {
		w.done(n.err)
	}
}

// durable is the log's notice that all below durableEnd is on stable storage, or
// that err has taken it offline. The high watermark follows.
func (p *Partition) durable(durableEnd int64, err error) {
	p.mu.Lock()
	var n news
	if err != nil {
		n = p.fail(fmt.Errorf("%s: %w", p.name, err))
	} else {
		// What the notice is about may have been truncated since.
		p.durableEnd = max(p.durableEnd, min(durableEnd, p.log.DurableEnd()))
		n = p.settle(true)
	}
	p.mu.Unlock()
	n.tell()
}

// fail takes the partition offline. mu is held.
func (p *Partition) fail(err error) news {
	p.failed = err
	p.watchers.wake()
	p.endWatchers.wake()
	p.lowWatchers.wake()
	return p.dismiss(err)
}

// dismiss gives all who wait the same answer. mu is held.
func (p *Partition) dismiss(err error) news {
	n := news{durable: p.waiting, all: p.waitingAll, err: err}
	p.waiting, p.waitingAll = nil, nil
	return n
}

// settle moves the high watermark to where it belongs by what is known now, and finds
// out who has waited for that. With ended, the durable end has moved. mu is held.
func (p *Partition) settle(ended bool) (n news) {
	before := p.highWatermark
	switch l := p.leading; {
	case l == nil:
		p.highWatermark = replica.FollowerHighWatermark(before, p.leaderHighWatermark, p.durableEnd)
	case l.Alone():
		l.Durable(p.durableEnd, time.Time{})
		p.highWatermark = l.HighWatermark()
	default:
		now := time.Now()
		l.Durable(p.durableEnd, now)
		p.highWatermark = l.HighWatermark()
		if l.Wants(now) {
			p.set.wantISR()
		}
	}
	if n.durable = pop(&p.waiting, p.durableEnd); len(n.durable) > 0 {
		p.acked(n.durable[len(n.durable)-1].nextOffset)
	}
	n.all = pop(&p.waitingAll, p.highWatermark)
	moved := p.highWatermark != before
	if moved {
		p.watchers.wake()
	}
	if moved || ended {
		p.endWatchers.wake()
	}
	p.lowWatchers.wake()
	return n
}

// watchers are woken when something moves.
type watchers map[chan<- struct{}]int

func (w watchers) wake() {
	for wake := range w {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// Watch sends to wake, without blocking, whenever the high watermark moves or the
// partition goes offline, until stop is called. Give it room for one send: a
// watcher that has one waiting needs no second.
func (p *Partition) Watch(wake chan<- struct{}) (stop func()) { return p.watch(p.watchers, wake) }

// WatchEnd is Watch for followers, who read up to the durable end.
func (p *Partition) WatchEnd(wake chan<- struct{}) (stop func()) {
	return p.watch(p.endWatchers, wake)
}

func (p *Partition) watch(w watchers, wake chan<- struct{}) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w[wake]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if w[wake]--; w[wake] == 0 {
			delete(w, wake)
		}
	}
}
