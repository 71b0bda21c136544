package modelcheck

import (
	"errors"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/replica"
)

// replicaOf is what a process knows of the partition, and does with it, as
// broker/partition does.
type replicaOf struct {
	b             *broker
	order         order
	ordered       bool
	highWatermark int64
	durableEnd    int64 // as it has been told

	leading             leader // nil when it does not lead
	waiting             []waiter
	parked              []func() // fetches that wait for something new
	leaderHighWatermark int64

	follows *following // nil when it does not follow
}

// waiter is a producer's request.
type waiter struct {
	next int64
	all  bool
	done func(error)
}

var (
	errNotLeader   = errors.New("not the leader")
	errFewReplicas = errors.New("too few replicas in sync")
	errEpoch       = errors.New("another leader epoch")
	errOutOfRange  = errors.New("out of range")
)

func newReplica(b *broker) *replicaOf {
	p := &replicaOf{b: b, durableEnd: b.log.durable, order: order{leader: replica.Unknown, leaderEpoch: replica.Unknown}}
	p.highWatermark = max(min(b.saved, b.log.durable), b.log.start)
	return p
}

// apply takes the controller's order.
func (p *replicaOf) apply(o order) {
	s, had := p.b.sim, p.order
	again := p.ordered && o.leaderEpoch == had.leaderEpoch
	switch {
	case o.leaderEpoch < had.leaderEpoch && !s.rules.wrong.anyLeaderEpoch, again && o.leader != had.leader,
		again && o.partitionEpoch <= had.partitionEpoch:
		return
	case again:
		if p.leading == nil || p.leading.Reorder(p.rules(o), s.clock()) {
			p.order = o
			p.settle()
		}
	case o.leader == p.b.id:
		p.lead(o)
	default:
		p.follow(o)
	}
}

func (p *replicaOf) rules(o order) replica.Order {
	return replica.Order{LeaderEpoch: o.leaderEpoch, PartitionEpoch: o.partitionEpoch, Replicas: p.b.sim.cfg.replicas, ISR: o.isr}
}

func (p *replicaOf) lead(o order) {
	s, l := p.b.sim, p.b.log
	if !s.rules.wrong.noBegin {
		l.begun = o.leaderEpoch
	}
	before := p.leading
	p.order, p.ordered, p.follows = o, true, nil
	p.durableEnd = l.durable
	cfg := replica.Config{Self: p.b.id, MaxLag: s.cfg.maxLag, MinISR: s.cfg.minISR, Live: p.b.isLive}
	p.leading = s.rules.newLeader(s, cfg, p.rules(o), l.end(), p.counted(), p.highWatermark, s.clock())
	if before != nil && s.rules.wrong.trustsEarlierEpoch {
		for _, id := range s.cfg.replicas {
			if id != p.b.id && before.FollowerEnd(id) >= 0 {
				_ = p.leading.Fetched(replica.Fetch{Replica: id, BrokerEpoch: -1, Offset: before.FollowerEnd(id)}, s.clock())
			}
		}
	}
	s.note("broker %d leads epoch %d from offset %d, ISR %v", p.b.id, o.leaderEpoch, l.end(), o.isr)
	p.wake() // who fetched in another epoch
	p.settle()
}

func (p *replicaOf) follow(o order) {
	s, l := p.b.sim, p.b.log
	s.note("broker %d follows %d in epoch %d with a log to %d, high watermark %d", p.b.id, o.leader, o.leaderEpoch, l.end(), p.highWatermark)
	l.begun = replica.Unknown
	p.leading, p.leaderHighWatermark = nil, 0
	p.order, p.ordered = o, true
	p.dismiss(errNotLeader)
	p.wake()
	p.truncate(s.rules.beforeFirstFetch(l.lastEpoch(), replica.Log{EndOffset: l.end(), HighWatermark: p.highWatermark}))
	p.follows = nil
	if o.leader >= 0 {
		p.follows = &following{p: p, leader: o.leader, leaderEpoch: o.leaderEpoch}
		p.follows.fetch()
	}
}

func (p *replicaOf) truncate(endOffset int64) {
	if endOffset >= p.b.log.end() {
		return
	}
	p.b.sim.note("broker %d truncates its log from %d to %d, high watermark %d", p.b.id, p.b.log.end(), endOffset, p.highWatermark)
	p.b.sim.check.truncates(p, endOffset)
	p.b.log.truncate(endOffset)
	p.durableEnd, p.highWatermark = min(p.durableEnd, endOffset), min(p.highWatermark, endOffset)
}

func (p *replicaOf) dismiss(err error) {
	waiting := p.waiting
	p.waiting = nil
	for _, w := range waiting {
		w.done(err)
	}
}

// wake has fetches that wait look again.
func (p *replicaOf) wake() {
	parked := p.parked
	p.parked = nil
	for _, look := range parked {
		look()
	}
}

// counted is the leader's own end as its rules hear of it.
func (p *replicaOf) counted() int64 {
	if p.b.sim.rules.wrong.countsUndurable {
		return p.b.log.end()
	}
	return p.durableEnd
}

// synced is the log's notice that more of it is durable.
func (p *replicaOf) synced() {
	p.durableEnd = max(p.durableEnd, p.b.log.durable)
	p.settle()
	p.wake()
	if f := p.follows; f != nil && f.syncing {
		f.fetch()
	}
}

// settle moves the high watermark to where it belongs, and tells who waited for that.
func (p *replicaOf) settle() {
	s, before := p.b.sim, p.highWatermark
	if p.leading == nil {
		p.highWatermark = s.rules.followerHighWatermark(before, p.leaderHighWatermark, p.durableEnd)
	} else {
		p.leading.Durable(p.counted(), s.clock())
		p.highWatermark = p.leading.HighWatermark()
		if p.leading.Wants(s.clock()) {
			p.b.after(0, p.propose)
		}
	}
	var told []waiter
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool {
		reached := p.durableEnd
		if w.all {
			reached = p.highWatermark
		}
		if w.next <= reached {
			told = append(told, w)
		}
		return w.next <= reached
	})
	for _, w := range told {
		if w.all && p.leading.MaximalUnderMinISR() {
			w.done(errFewReplicas)
			continue
		}
		w.done(nil)
	}
	if p.highWatermark != before {
		p.wake()
	}
}

// produce appends a value, and tells when it is as safe as it is to be.
func (p *replicaOf) produce(value int64, all bool, done func(offset int64, err error)) {
	switch {
	case p.leading == nil:
		done(0, errNotLeader)
		return
	case all && p.leading.UnderMinISR():
		done(0, errFewReplicas)
		return
	}
	l := p.b.log
	offset, epoch := l.end(), p.leading.LeaderEpoch()
	if p.b.sim.rules.wrong.noBegin && l.lastEpoch() >= 0 {
		epoch = l.lastEpoch()
	}
	l.batches = append(l.batches, batch{epoch, value})
	p.waiting = append(p.waiting, waiter{offset + 1, all, func(err error) { done(offset, err) }})
	p.b.sync()
	p.settle()
}

// fetchRequest is a follower's.
type fetchRequest struct {
	replica     int32
	brokerEpoch int64
	leaderEpoch int32
	offset      int64
	lastEpoch   int32
	logStart    int64
}

// fetchAnswer is its leader's.
type fetchAnswer struct {
	err           error
	diverging     *replica.EpochEnd
	batches       []batch
	highWatermark int64
	logStart      int64
}

// maxFetched bounds the batches of an answer.
const maxFetched = 20

// serve answers a follower's fetch once there is something to say, or half a second
// has passed.
func (p *replicaOf) serve(r fetchRequest, reply func(any)) {
	a := p.read(r)
	if a.err != nil || a.diverging != nil || len(a.batches) > 0 {
		reply(a)
		return
	}
	looked, hadHighWatermark := false, a.highWatermark
	look := func() {
		if !looked {
			looked = true
			reply(p.read(r))
		}
	}
	var park func()
	park = func() {
		p.parked = append(p.parked, func() {
			if looked {
				return
			}
			if p.leading != nil && p.highWatermark == hadHighWatermark && p.readable() <= r.offset {
				park()
				return
			}
			look()
		})
	}
	park()
	p.b.after(500*time.Millisecond, look)
}

// readable is up to where followers may read.
func (p *replicaOf) readable() int64 {
	if p.b.sim.rules.wrong.readsUndurable {
		return p.b.log.end()
	}
	return p.durableEnd
}

func (p *replicaOf) read(r fetchRequest) fetchAnswer {
	s, l := p.b.sim, p.b.log
	if p.leading == nil || r.leaderEpoch != p.order.leaderEpoch && !s.rules.wrong.anyFetch {
		return fetchAnswer{err: errEpoch}
	}
	note := replica.Fetch{Replica: r.replica, BrokerEpoch: r.brokerEpoch, Offset: r.offset, LogStartOffset: r.logStart}
	if r.lastEpoch >= 0 {
		end := l.endOf(r.lastEpoch)
		diverged, known := s.rules.diverged(r.lastEpoch, r.offset, end)
		switch {
		case !known || r.offset < l.start:
			return fetchAnswer{err: errOutOfRange}
		case diverged:
			if s.rules.wrong.divergingCounts {
				_ = p.leading.Fetched(note, s.clock())
				p.settle()
			}
			return fetchAnswer{diverging: &end}
		}
	}
	if r.offset < l.start || r.offset > l.end() {
		return fetchAnswer{err: errOutOfRange}
	}
	if err := p.leading.Fetched(note, s.clock()); err != nil {
		return fetchAnswer{err: err}
	}
	p.settle()
	a := fetchAnswer{highWatermark: p.highWatermark, logStart: l.start}
	if end := min(p.readable(), r.offset+maxFetched); end > r.offset {
		a.batches = slices.Clone(l.batches[r.offset-l.base : end-l.base])
	}
	return a
}

// propose asks the controller for another ISR, if the rules want one.
func (p *replicaOf) propose() {
	b := p.b
	if p.leading == nil || b.asking || b.controller == 0 || b.brokerEpoch == 0 {
		return
	}
	proposal, ok := p.leading.Propose(b.sim.clock())
	p.settle()
	if !ok {
		return
	}
	b.asking = true
	b.sim.note("broker %d asks controller %d for ISR %v in epoch %d, version %d", b.id, b.controller, proposal.ISR, proposal.LeaderEpoch, proposal.PartitionEpoch)
	epoch := b.brokerEpoch
	b.call(b.controller, 5*time.Second, func(to *broker, reply func(any)) {
		if to.term == nil {
			reply(alterAnswer{err: errNotController})
			return
		}
		to.term.do(to.term.alterISR(b.id, epoch, proposal, reply))
	}, func(resp any, err error) {
		b.asking = false
		a, _ := resp.(alterAnswer)
		if err != nil {
			a.err = err
		}
		b.sim.note("broker %d is answered about ISR %v: %v, %s", b.id, proposal.ISR, a.err, stateText(a.state))
		if p.leading == nil {
			return
		}
		p.leading.Answered(proposal, a.rules(), b.sim.clock())
		p.settle()
		b.after(100*time.Millisecond, p.propose)
	})
}

var errNotController = errors.New("not the controller")

// following is a follower in one role. An answer to what an earlier one asked is not
// its own.
type following struct {
	p           *replicaOf
	leader      int32
	leaderEpoch int32
	asking      bool
	syncing     bool
	failures    int
}

// fetch asks for what follows the log's end, once all of it is durable.
func (f *following) fetch() {
	p, b := f.p, f.p.b
	if p.follows != f || f.asking {
		return
	}
	if f.syncing = b.log.durable < b.log.end() && !b.sim.rules.wrong.fetchesUndurable; f.syncing {
		b.sync()
		return
	}
	f.asking = true
	r := fetchRequest{b.id, b.brokerEpoch, f.leaderEpoch, b.log.end(), b.log.lastEpoch(), b.log.start}
	b.call(f.leader, 2*time.Second, func(to *broker, reply func(any)) { to.partition.serve(r, reply) }, func(resp any, err error) {
		f.asking = false
		if p.follows != f {
			if a, ok := resp.(fetchAnswer); ok && b.sim.rules.wrong.anyAnswer && p.leading == nil && a.err == nil && a.diverging == nil && r.offset <= b.log.end() {
				b.log.truncate(r.offset)
				f.append(a)
			}
			return
		}
		a, _ := resp.(fetchAnswer)
		if err == nil {
			err = f.take(r, a)
		}
		if err != nil {
			f.failures++
			b.after(100*time.Millisecond<<min(f.failures, 3), f.fetch)
			return
		}
		f.failures = 0
		b.after(0, f.fetch)
	})
}

func (f *following) take(r fetchRequest, a fetchAnswer) error {
	p, l, rules := f.p, f.p.b.log, &f.p.b.sim.rules
	switch {
	case errors.Is(a.err, errOutOfRange):
		f.recover(r)
		return a.err
	case a.err != nil:
		return a.err
	case a.diverging != nil:
		p.b.sim.note("broker %d at %d of epoch %d diverges from %d, where epoch %d ends at %d", p.b.id, r.offset, r.lastEpoch, f.leader, a.diverging.Epoch, a.diverging.EndOffset)
		own := l.endOf(a.diverging.Epoch)
		p.truncate(rules.truncate(*a.diverging, own, replica.Log{EndOffset: l.end(), HighWatermark: p.highWatermark}).EndOffset)
		return nil
	}
	f.append(a)
	return nil
}

func (f *following) append(a fetchAnswer) {
	p, l := f.p, f.p.b.log
	p.b.sim.check.replicates(p.b.id, l.end(), a.batches)
	l.batches = append(l.batches, a.batches...)
	p.leaderHighWatermark = a.highWatermark
	p.b.sync()
	p.durableEnd = l.durable
	// What the leader has deleted goes first: it may have been another there.
	rules := &p.b.sim.rules
	deleted := func(highWatermark int64) { l.deleteBefore(rules.followerLogStart(l.start, a.logStart, highWatermark)) }
	if !rules.wrong.showsDeleted {
		deleted(rules.followerHighWatermark(p.highWatermark, a.highWatermark, p.durableEnd))
	}
	p.settle()
	p.b.sim.check.step()
	deleted(p.highWatermark)
}

// recover finds out how to go on where the leader does not have the offset.
func (f *following) recover(r fetchRequest) {
	p := f.p
	type ends struct{ start, end int64 }
	f.asking = true
	p.b.call(f.leader, 2*time.Second, func(to *broker, reply func(any)) {
		if to.partition.leading != nil && to.partition.order.leaderEpoch == f.leaderEpoch {
			reply(ends{to.log.start, to.log.end()})
		} else {
			reply(errEpoch)
		}
	}, func(resp any, err error) {
		f.asking = false
		p.b.after(100*time.Millisecond, f.fetch)
		e, ok := resp.(ends)
		if err != nil || !ok || p.follows != f {
			return
		}
		p.b.sim.note("broker %d at %d of epoch %d is out of range of %d, which has %d to %d", p.b.id, r.offset, r.lastEpoch, f.leader, e.start, e.end)
		switch g := p.b.sim.rules.recover(e.start, e.end, r.offset); {
		case g.Restart:
			p.b.sim.check.restarts(p, g.FetchOffset)
			p.b.log.reset(g.FetchOffset)
			p.durableEnd, p.highWatermark = g.FetchOffset, g.FetchOffset
		case g.FetchOffset < r.offset:
			p.truncate(g.FetchOffset)
		}
	})
}
