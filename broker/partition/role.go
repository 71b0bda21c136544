package partition

import (
	"fmt"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/replica"
)

// Order is what the controller decided of a partition.
type Order struct {
	ControllerEpoch  int32
	Leader           int32 // -1: none
	LeaderEpoch      int32
	PartitionEpoch   int32
	Replicas, ISR    []int32
	Adding, Removing []int32 // of Replicas
	New              bool    // the partition has just been made
	Recovering       bool    // the leader was not in the ISR when it was elected
	Pinned           bool    // the leader lets nobody else into the ISR
}

func (o *Order) rules() replica.Order {
	return replica.Order{LeaderEpoch: o.LeaderEpoch, PartitionEpoch: o.PartitionEpoch, Replicas: o.Replicas, ISR: o.ISR, Pinned: o.Pinned}
}

// Apply makes this broker, whose id is self, the partition's leader or a follower, as
// o says, and returns once it is: no append of the role before comes later. Who waits
// for something that a follower cannot tell gets ErrNotLeader. An order of an earlier
// leader epoch is ErrFencedLeaderEpoch; one that says nothing new changes nothing.
func (s *Set) Apply(name string, index, self int32, o Order) (changed bool, err error) {
	p, err := s.Get(name, index)
	if err != nil {
		return false, err
	}
	return p.apply(self, o)
}

// Lead lets an open partition take records in the given epoch, as its only replica.
func (s *Set) Lead(name string, index, leaderEpoch int32) {
	self := s.dir.BrokerID()
	// An epoch that is past is no error here: without a controller nobody else leads.
	_, _ = s.Apply(name, index, self, Order{Leader: self, LeaderEpoch: leaderEpoch, Replicas: []int32{self}, ISR: []int32{self}})
}

// Stop ends the partition's role and keeps its records. One that is not here is no
// error.
func (s *Set) Stop(name string, index int32) {
	if p, err := s.Get(name, index); err == nil {
		p.stop(fmt.Errorf("%s: %w", p.name, ErrNotLeader))
	}
}

func (p *Partition) apply(self int32, o Order) (changed bool, err error) {
	var n news
	defer func() { n.tell() }() // once no lock is held
	p.role.Lock()
	defer p.role.Unlock()
	if err := p.Err(); err != nil {
		return false, err
	}
	p.mu.Lock()
	had, stopped := p.order, p.stopped
	p.mu.Unlock()
	again := o.LeaderEpoch == had.LeaderEpoch && !stopped
	switch {
	case o.LeaderEpoch < had.LeaderEpoch, again && o.Leader != had.Leader:
		return false, fmt.Errorf("%s: order of leader epoch %d for leader %d, after epoch %d with leader %d: %w",
			p.name, o.LeaderEpoch, o.Leader, had.LeaderEpoch, had.Leader, ErrFencedLeaderEpoch)
	case again && o.PartitionEpoch <= had.PartitionEpoch:
		return false, nil
	case again:
		changed, n = p.reorder(o)
		return changed, nil
	case o.Leader == self:
		if n = p.lead(self, o); len(o.Replicas) > 1 {
			p.set.log.Info("leadership taken", "partition", p.name, "leaderEpoch", o.LeaderEpoch, "isr", o.ISR,
				"logEndOffset", p.log.EndOffset(), "highWatermark", p.highWatermarkNow())
		}
		return true, nil
	default:
		n, err = p.follow(o)
		return true, err
	}
}

// reorder takes a later order of the same leader epoch. role is held alone.
func (p *Partition) reorder(o Order) (changed bool, n news) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leading != nil && !p.leading.Reorder(o.rules(), time.Now()) { // a change of the ISR was confirmed since
		return false, n
	}
	p.take(o)
	return true, p.settle(false)
}

// take notes an order. mu is held.
func (p *Partition) take(o Order) {
	o.Replicas, o.ISR = slices.Clone(o.Replicas), slices.Clone(o.ISR)
	o.Adding, o.Removing = slices.Clone(o.Adding), slices.Clone(o.Removing)
	p.order, p.stopped = o, false
	if len(o.Replicas) > 1 {
		p.log.SetHighWatermark(p.highWatermark)
	}
}

// lead makes this broker the leader. Who waits for records of an epoch that it led
// before goes on waiting: they are still there. role is held alone.
func (p *Partition) lead(self int32, o Order) news {
	p.log.BeginEpoch(o.LeaderEpoch)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.take(o)
	p.durableEnd = p.log.DurableEnd()
	cfg := replica.Config{Self: self, MaxLag: p.set.maxLag, MinISR: p.minISR, Live: p.set.isLive}
	p.leading = replica.NewLeader(cfg, o.rules(), p.log.EndOffset(), p.durableEnd, p.highWatermark, time.Now())
	return p.settle(false)
}

// follow makes this broker a follower, of nobody if there is no leader. role is held
// alone.
func (p *Partition) follow(o Order) (n news, err error) {
	n = p.resign(fmt.Errorf("%s: %w", p.name, ErrNotLeader), func() { p.take(o) })
	if p.lastEpoch, err = p.log.LastEpoch(); err == nil {
		log := replica.Log{EndOffset: p.log.EndOffset(), HighWatermark: p.highWatermarkNow()}
		err = p.truncate(replica.BeforeFirstFetch(p.lastEpoch, log))
	}
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.order.Leader, p.stopped = replica.Unknown, true // it cannot say where it is, and must not fetch
		return n, fmt.Errorf("%s: %w", p.name, err)
	}
	p.set.log.Info("leader followed", "partition", p.name, "leader", o.Leader, "leaderEpoch", o.LeaderEpoch,
		"logEndOffset", p.log.EndOffset(), "highWatermark", p.highWatermarkNow())
	return n, nil
}

// resign ends leading, and does what comes with it under mu. role is held alone.
func (p *Partition) resign(reason error, and func()) news {
	p.log.BeginEpoch(replica.Unknown)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leading, p.leaderHighWatermark, p.leaderLogStart = nil, 0, 0
	and()
	p.watchers.wake()
	p.endWatchers.wake()
	p.lowWatchers.wake()
	return p.dismiss(reason)
}

func (p *Partition) stop(reason error) {
	var n news
	defer func() { n.tell() }()
	p.role.Lock()
	defer p.role.Unlock()
	n = p.resign(reason, func() { p.order.Leader, p.stopped = replica.Unknown, true })
}

// close ends the role: those who wait learn that the partition is gone.
func (p *Partition) close(reason error) {
	p.stop(reason)
	p.durable(0, reason)
	p.producers.close()
}

// LeaderEpoch is the epoch in which this broker leads, -1 when it does not.
func (p *Partition) LeaderEpoch() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leading == nil {
		return -1
	}
	return p.leading.LeaderEpoch()
}

// Role is who leads, -1 for nobody, in which epoch, -1 before the first order, and
// whether that is this broker.
func (p *Partition) Role() (leader, leaderEpoch int32, leads bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.order.Leader, p.order.LeaderEpoch, p.leading != nil
}

// State is what is known of a partition here. The slices are not to be changed.
type State struct {
	Leader, LeaderEpoch, PartitionEpoch int32
	Leads                               bool
	Replicas, ISR, Adding, Removing     []int32
	LogStartOffset, HighWatermark       int64
	LogEndOffset, DurableEnd            int64
	LowWatermark                        int64 // of a leader: where the live replicas start, at the latest; -1: not known
}

// State returns it all at one moment.
func (p *Partition) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := &p.order
	s := State{
		Leader: o.Leader, LeaderEpoch: o.LeaderEpoch, PartitionEpoch: o.PartitionEpoch, Leads: p.leading != nil,
		Replicas: o.Replicas, ISR: o.ISR, Adding: o.Adding, Removing: o.Removing,
		LogStartOffset: p.log.StartOffset(), HighWatermark: p.highWatermark,
		LogEndOffset: p.log.EndOffset(), DurableEnd: p.durableEnd, LowWatermark: replica.Unknown,
	}
	if l := p.leading; l != nil {
		s.PartitionEpoch, s.ISR, s.LowWatermark = l.PartitionEpoch(), l.ISR(), l.LowWatermark(s.LogStartOffset)
	}
	return s
}
