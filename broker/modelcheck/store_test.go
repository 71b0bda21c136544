package modelcheck

import (
	"errors"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/cluster"
)

var (
	errConnection = errors.New("the connection broke")
	errExpired    = errors.New("the session has expired")
)

// storeID is ZooKeeper's end of a link.
const storeID int32 = 0

// store is what ZooKeeper has: it never crashes here, it only is not reached.
type store struct {
	sim             *sim
	zxid            int64
	controller      *session // who holds /controller
	controllerEpoch int32
	brokers         map[int32]registration
	state           cluster.PartitionState // PartitionEpoch is its version
	exists          bool
	sessions        []*session
}

type registration struct {
	of    *session
	epoch int64
}

// session is one broker process's, until it expires.
type session struct {
	of       *broker
	life     int
	heard    time.Duration // when the store heard of it last
	expired  bool          // as the store has it; the broker finds out
	up, down pipe
}

func newStore(s *sim) *store {
	st := &store{sim: s, brokers: map[int32]registration{}}
	s.every(500*time.Millisecond, st.expireSilent)
	return st
}

func (st *store) open(b *broker) *session {
	ss := &session{of: b, life: b.life, heard: st.sim.now}
	ss.up, ss.down = pipe{s: st.sim, from: b.id, to: storeID}, pipe{s: st.sim, from: storeID, to: b.id}
	st.sessions = append(st.sessions, ss)
	return ss
}

// do has the store do something, and tells the broker when it has, unless the session
// is no more. Nobody else's operation comes between those of one do.
func (ss *session) do(op func(*store), done func(error)) {
	st, sent := ss.of.sim.store, ss.of.sim.now
	answer := func(err error) {
		ss.down.send(func() { ss.of.run(ss.life, func() { done(err) }) })
	}
	ss.up.send(func() {
		if ss.of.life != ss.life && st.sim.now-sent > time.Second {
			return // its process was gone before the link was back
		}
		if ss.expired {
			answer(errExpired)
			return
		}
		ss.heard = st.sim.now
		op(st)
		answer(nil)
	})
}

// tell has a session's watch fire.
func (ss *session) tell(what func(*broker)) {
	ss.down.send(func() {
		ss.of.run(ss.life, func() {
			if ss.of.session == ss {
				what(ss.of)
			}
		})
	})
}

func (st *store) expireSilent() {
	for _, ss := range slices.Clone(st.sessions) {
		if st.sim.now-ss.heard > st.sim.cfg.sessionTimeout {
			st.expire(ss)
		}
	}
}

// expire ends a session, and removes what was its.
func (st *store) expire(ss *session) {
	if ss.expired {
		return
	}
	ss.expired = true
	st.sessions = slices.DeleteFunc(st.sessions, func(other *session) bool { return other == ss })
	st.sim.note("store: the session of broker %d expires", ss.of.id)
	if st.brokers[ss.of.id].of == ss {
		delete(st.brokers, ss.of.id)
		st.tellAll(func(b *broker) { b.brokersMoved() })
	}
	if st.controller == ss {
		st.controller = nil
		st.tellAll(func(b *broker) { b.controllerMoved() })
	}
}

func (st *store) tellAll(what func(*broker)) {
	for _, ss := range st.sessions {
		ss.tell(what)
	}
}

// register returns the broker epoch, or 0 while an earlier registration is there.
func (st *store) register(ss *session) int64 {
	if r, ok := st.brokers[ss.of.id]; ok && r.of != ss {
		return 0
	}
	st.zxid++
	st.brokers[ss.of.id] = registration{ss, st.zxid}
	st.sim.note("store: broker %d registers with epoch %d", ss.of.id, st.zxid)
	st.tellAll(func(b *broker) { b.brokersMoved() })
	return st.zxid
}

// elect makes a session's broker the controller, if nobody is.
func (st *store) elect(ss *session) {
	if st.controller != nil {
		return
	}
	st.controller = ss
	st.controllerEpoch++
	st.sim.note("store: broker %d is controller %d", ss.of.id, st.controllerEpoch)
	st.tellAll(func(b *broker) { b.controllerMoved() })
}

// deposed is the node of the controller removed by an operator's hand.
func (st *store) deposed() {
	if st.controller != nil {
		st.sim.note("store: the controller's node is removed")
		st.controller = nil
		st.tellAll(func(b *broker) { b.controllerMoved() })
	}
}

// setState writes the partition's state in place of the version that next names, or
// makes it. It is fenced by the controller's epoch.
func (st *store) setState(controllerEpoch int32, next cluster.PartitionState, create bool) (version int32, err error) {
	r := &st.sim.rules
	switch {
	case controllerEpoch != st.controllerEpoch && !r.wrong.unfencedWrites:
		return 0, cluster.ErrFenced
	case create && st.exists, !create && next.PartitionEpoch != st.state.PartitionEpoch && !r.wrong.blindWrites:
		return 0, cluster.ErrVersion
	}
	if !create {
		next.PartitionEpoch = st.state.PartitionEpoch + 1
	}
	next.ISR = slices.Clone(next.ISR)
	st.state, st.exists = next, true
	st.sim.note("store: %s", stateText(next))
	return next.PartitionEpoch, nil
}
