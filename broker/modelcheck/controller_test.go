package modelcheck

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/replica"
)

// term is a controller's, until it hears that another was elected. The rules are those
// of broker/controller; who is told what, and when, is as there.
type term struct {
	b       *broker
	session *session
	epoch   int32
	over    bool

	regs    map[int32]int64 // broker epochs
	leaving map[int32]bool
	senders map[int32]*sender
	state   cluster.PartitionState
	exists  bool

	jobs []func(done func()) // one at a time: each is over before the next begins
	busy bool
}

// order is what LeaderAndIsr says.
type order struct {
	leader, leaderEpoch, partitionEpoch int32
	isr                                 []int32
}

func orderOf(s cluster.PartitionState) *order {
	return &order{s.Leader, s.LeaderEpoch, s.PartitionEpoch, slices.Clone(s.ISR)}
}

func stateText(s cluster.PartitionState) string {
	return fmt.Sprintf("leader %d in epoch %d, version %d, ISR %v", s.Leader, s.LeaderEpoch, s.PartitionEpoch, s.ISR)
}

func newTerm(b *broker, epoch int32) *term {
	t := &term{b: b, session: b.session, epoch: epoch, regs: map[int32]int64{}, leaving: map[int32]bool{}, senders: map[int32]*sender{}}
	t.do(t.begin)
	b.every(time.Minute, func() { // with what changes elsewhere; only then is a late UpdateMetadata made good
		if !t.over {
			t.announce()
		}
	})
	return t
}

// announce tells everyone who is alive, as is done whatever changes.
func (t *term) announce() {
	for _, s := range t.sorted() {
		s.tellLive()
	}
}

func (t *term) assignment() cluster.Assignment {
	return cluster.Assignment{Replicas: t.b.sim.cfg.replicas}
}

func (t *term) do(job func(done func())) {
	t.jobs = append(t.jobs, job)
	t.next()
}

func (t *term) next() {
	if t.busy || t.over || len(t.jobs) == 0 {
		return
	}
	t.busy = true
	job := t.jobs[0]
	t.jobs = t.jobs[1:]
	t.b.after(between(t.b.sim.net, 0, 2*time.Millisecond), func() {
		if !t.over {
			job(func() {
				t.busy = false
				t.next()
			})
		}
	})
}

// ask does something at the store; after an error of it the term is over.
func (t *term) ask(op func(*store) error, done func(err error)) {
	var failed error
	t.session.do(func(st *store) { failed = op(st) }, func(err error) {
		if t.over {
			return
		}
		if err = errors.Join(err, failed); errors.Is(err, errExpired) || errors.Is(err, cluster.ErrFenced) {
			t.b.sim.note("broker %d: controller %d finds out that it is not: %v", t.b.id, t.epoch, err)
			t.end()
			return
		}
		done(err)
	})
}

func (t *term) end() {
	t.over = true
	for _, s := range t.senders {
		s.stopped = true
	}
	if t.b.term == t {
		t.b.term = nil
	}
}

func (t *term) begin(done func()) {
	var regs map[int32]int64
	var state cluster.PartitionState
	var exists bool
	t.ask(func(st *store) error {
		regs, state, exists = st.registrations(), st.state, st.exists
		return nil
	}, func(error) {
		if exists && state.ControllerEpoch > t.epoch {
			t.end()
			return
		}
		t.state, t.exists = state, exists
		for _, id := range slices.Sorted(maps.Keys(regs)) {
			t.join(id, regs[id])
		}
		for _, s := range t.sorted() {
			t.introduce(s)
		}
		t.elect(done)
	})
}

func (st *store) registrations() map[int32]int64 {
	out := map[int32]int64{}
	for id, r := range st.brokers {
		out[id] = r.epoch
	}
	return out
}

func (t *term) join(id int32, epoch int64) {
	t.regs[id] = epoch
	t.senders[id] = &sender{t: t, id: id, epoch: epoch}
}

func (t *term) introduce(s *sender) {
	s.tellLive()
	t.orderOne(s)
}

func (t *term) orderOne(s *sender) {
	if t.exists && slices.Contains(t.b.sim.cfg.replicas, s.id) {
		s.tell(orderOf(t.state))
	}
}

func (t *term) roll() controller.Roll {
	return controller.Roll{
		Online: func(id int32) bool { return t.regs[id] != 0 && !t.leaving[id] },
		Alive:  func(id int32) bool { return t.regs[id] != 0 },
	}
}

// brokersMoved sees who has come or gone. Who comes back as another registration has
// done both.
func (t *term) brokersMoved(done func()) {
	var now map[int32]int64
	t.ask(func(st *store) error {
		now = st.registrations()
		return nil
	}, func(error) {
		gone, come := false, []int32{}
		for _, id := range slices.Sorted(maps.Keys(t.regs)) {
			if now[id] != t.regs[id] {
				gone = true
				t.senders[id].stopped = true
				delete(t.senders, id)
				delete(t.regs, id)
				delete(t.leaving, id)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(now)) {
			if t.regs[id] == 0 {
				come = append(come, id)
			}
		}
		then := func() { t.brokersCome(come, now, done) }
		if !gone {
			then()
			return
		}
		t.announce()
		t.elect(then)
	})
}

func (t *term) brokersCome(come []int32, now map[int32]int64, done func()) {
	if len(come) == 0 {
		done()
		return
	}
	for _, id := range come {
		t.join(id, now[id])
	}
	for _, s := range t.sorted() {
		s.tellLive()
		if slices.Contains(come, s.id) {
			t.introduce(s)
		}
	}
	if !t.exists || t.state.Leader < 0 || t.regs[t.state.Leader] == 0 {
		t.elect(done)
		return
	}
	done()
}

func (t *term) sorted() (out []*sender) {
	for _, id := range slices.Sorted(maps.Keys(t.senders)) {
		out = append(out, t.senders[id])
	}
	return out
}

// elect gives the partition the leader and ISR that it needs, or makes it.
func (t *term) elect(done func()) {
	r := &t.b.sim.rules
	if t.exists {
		t.decide(func(s cluster.PartitionState) (cluster.PartitionState, bool) {
			return r.afterChange(t.assignment(), s, t.roll(), t.b.sim.cfg.unclean)
		}, done)
		return
	}
	first, ok := controller.FirstState(t.assignment(), t.roll())
	if !ok {
		done()
		return
	}
	first.ControllerEpoch = t.epoch
	t.ask(func(st *store) (err error) {
		_, err = st.setState(t.epoch, first, true)
		return err
	}, func(err error) {
		if err == nil {
			t.took(first)
		}
		done()
	})
}

// decide writes what a rule makes of the state, and orders it.
func (t *term) decide(rule func(cluster.PartitionState) (cluster.PartitionState, bool), done func()) {
	next, ok := rule(t.state)
	if !ok || !t.exists {
		done()
		return
	}
	next.ControllerEpoch = t.epoch
	var found cluster.PartitionState
	t.ask(func(st *store) (err error) {
		next.PartitionEpoch, err = st.setState(t.epoch, next, false)
		found = st.state
		return err
	}, func(err error) {
		if err != nil { // someone else was faster
			t.state = found
			t.decide(rule, done)
			return
		}
		t.took(next)
		done()
	})
}

func (t *term) took(s cluster.PartitionState) {
	t.state, t.exists = s, true
	for _, to := range t.sorted() {
		t.orderOne(to)
	}
	t.announce()
}

// prefer has the first replica lead.
func (t *term) prefer(done func()) {
	t.decide(func(s cluster.PartitionState) (cluster.PartitionState, bool) {
		next, err := controller.Preferred(t.assignment(), s, t.roll())
		return next, err == nil
	}, done)
}

// shutDown takes a broker out of the partition.
func (t *term) shutDown(id int32) func(func()) {
	return func(done func()) {
		if t.regs[id] != 0 {
			t.leaving[id] = true
		}
		t.decide(func(s cluster.PartitionState) (cluster.PartitionState, bool) {
			return controller.HandOver(t.assignment(), s, id, t.roll())
		}, done)
	}
}

// alterISR is AlterPartition.
func (t *term) alterISR(leader int32, brokerEpoch int64, p replica.Proposal, reply func(any)) func(func()) {
	return func(done func()) {
		r := &t.b.sim.rules
		if t.regs[leader] == 0 || brokerEpoch != t.regs[leader] && !r.wrong.anyBrokerEpoch {
			reply(alterAnswer{err: cluster.ErrStaleBrokerEpoch})
			done()
			return
		}
		w := controller.ISRChange{LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch}
		for _, id := range p.ISR {
			w.ISR = append(w.ISR, controller.ISRMember{ID: id, Epoch: -1})
		}
		next, err := r.judge(t.state, t.assignment(), leader, w, func(m controller.ISRMember) bool { return t.roll().Online(m.ID) })
		if err != nil || slices.Equal(next.ISR, t.state.ISR) {
			reply(alterAnswer{err, next})
			done()
			return
		}
		t.changeISR(next, reply, done)
	}
}

func (t *term) changeISR(next cluster.PartitionState, reply func(any), done func()) {
	next.ControllerEpoch = t.epoch
	var found cluster.PartitionState
	t.ask(func(st *store) (err error) {
		next.PartitionEpoch, err = st.setState(t.epoch, next, false)
		found = st.state
		return err
	}, func(err error) {
		t.state = found
		if err == nil {
			t.state = next
			t.announce()
		}
		reply(alterAnswer{err, t.state})
		done()
	})
}

// alterAnswer is what the leader is told: the state now or, with err, why it did not
// change.
type alterAnswer struct {
	err   error
	state cluster.PartitionState
}

// rules is the answer as the leader's rules take it.
func (a alterAnswer) rules() replica.Answer {
	switch {
	case a.err == nil:
		return replica.Answer{Outcome: replica.Accepted, LeaderEpoch: a.state.LeaderEpoch, PartitionEpoch: a.state.PartitionEpoch, ISR: a.state.ISR}
	case errors.Is(a.err, cluster.ErrIneligibleReplica):
		return replica.Answer{Outcome: replica.Refused}
	case errors.Is(a.err, cluster.ErrFencedLeaderEpoch), errors.Is(a.err, cluster.ErrVersion), errors.Is(a.err, cluster.ErrInvalidRequest):
		return replica.Answer{Outcome: replica.Superseded}
	default:
		return replica.Answer{Outcome: replica.Failed}
	}
}

// sender tells one registration of a broker what the controller decides, one request
// after the other, until it is answered or the broker is gone.
type sender struct {
	t        *term
	id       int32
	epoch    int64
	live     []int32 // to be told
	order    *order  // to be told
	sending  bool
	stopped  bool
	failures int
}

func (s *sender) tellLive() {
	s.live = slices.Sorted(maps.Keys(s.t.regs))
	s.kick()
}

func (s *sender) tell(o *order) {
	s.order = o
	s.kick()
}

func (s *sender) kick() {
	if s.sending || s.stopped || s.live == nil && s.order == nil {
		return
	}
	s.sending = true
	live, o := s.live, s.order
	if live != nil {
		o, s.live = nil, nil // UpdateMetadata first
	} else {
		s.order = nil
	}
	b := s.t.b
	b.call(s.id, 5*time.Second, func(to *broker, reply func(any)) {
		reply(to.controlled(control{s.t.epoch, s.epoch, live, o}))
	}, func(_ any, err error) {
		s.sending = false
		if err == nil {
			s.failures = 0
			s.kick()
			return
		}
		if s.live == nil {
			s.live = live
		}
		if s.order == nil {
			s.order = o
		}
		s.failures++
		b.after(50*time.Millisecond<<min(s.failures, 5), s.kick)
	})
}
