package modelcheck

import (
	"slices"
	"time"

	"github.com/headwater/headwater/broker/cluster"
)

// broker is a process and its disk. A process that is down has nothing but its disk;
// one that is frozen does what it should have done once it thaws.
type broker struct {
	sim *sim
	id  int32

	up      bool
	life    int // of the process: what was to happen in an earlier one does not
	frozen  int
	backlog []func()

	log   *memLog // on disk
	saved int64   // the high watermark, on disk

	// the process knows:
	session         *session
	brokerEpoch     int64 // 0: not registered yet
	controllerEpoch int32 // the latest that it has heard of
	orderEpoch      int64 // the latest broker epoch that it has heard of
	controller      int32 // who that is, as far as it has heard
	live            []int32
	term            *term // of this broker as the controller
	partition       *replicaOf
	asking          bool // for an ISR
	slow            int  // faults that make its disk slow
}

func newBroker(s *sim, id int32) *broker {
	return &broker{sim: s, id: id, log: newLog()}
}

// run does something as the process of a life, now or once it thaws.
func (b *broker) run(life int, do func()) {
	switch {
	case b.life != life || !b.up:
	case b.frozen > 0:
		b.backlog = append(b.backlog, func() { b.run(life, do) })
	default:
		do()
	}
}

// after is sim.after for this process.
func (b *broker) after(d time.Duration, do func()) {
	life := b.life
	b.sim.after(d, func() { b.run(life, do) })
}

func (b *broker) every(d time.Duration, do func()) {
	b.after(d, func() {
		do()
		b.every(d, do)
	})
}

func (b *broker) thaw() {
	if b.frozen--; b.frozen > 0 {
		return
	}
	backlog := b.backlog
	b.backlog = nil
	for _, do := range backlog { // in their order, and nothing else between
		do()
	}
}

// start is a new process on the disk that there is.
func (b *broker) start() {
	b.up, b.life, b.frozen, b.backlog = true, b.life+1, 0, nil
	b.session, b.brokerEpoch, b.controllerEpoch, b.orderEpoch, b.controller, b.live, b.term, b.asking = nil, 0, 0, 0, 0, nil, nil, false
	b.partition = newReplica(b)
	b.sim.note("broker %d starts with a log to %d, high watermark %d", b.id, b.log.end(), b.partition.highWatermark)
	b.connect()
	b.every(b.sim.cfg.sessionTimeout/3, func() { // a ping
		ss := b.session
		ss.do(func(*store) {}, func(err error) { b.lost(ss, err) })
	})
	b.every(5*time.Second, func() { b.saved = b.partition.highWatermark })
	b.every(b.sim.cfg.maxLag/2, b.partition.propose)
}

// crash ends the process. A power cut takes what is not durable, and a kill nothing.
func (b *broker) crash(kept int64) {
	if !b.up {
		return
	}
	b.sim.note("broker %d crashes: its log ends at %d, durable %d, and keeps %d", b.id, b.log.end(), b.log.durable, kept)
	b.up, b.life = false, b.life+1
	b.backlog = nil
	b.log.restarted(kept)
	if b.sim.rules.wrong.checkpointTruncates {
		b.log.truncate(max(b.saved, b.log.start))
	}
	b.partition = nil
}

func (b *broker) connect() {
	b.session = b.sim.store.open(b)
	b.register()
	b.controllerMoved()
}

func (b *broker) register() {
	ss := b.session
	var epoch int64
	ss.do(func(st *store) { epoch = st.register(ss) }, func(err error) {
		switch {
		case b.lost(ss, err):
		case epoch == 0: // an earlier process's session is to expire first
			b.after(time.Second, func() {
				if b.session == ss {
					b.register()
				}
			})
		default:
			b.brokerEpoch, b.orderEpoch = epoch, max(b.orderEpoch, epoch)
		}
	})
}

// lost reports whether a session is no more, and opens another.
func (b *broker) lost(ss *session, err error) bool {
	if err == nil || b.session != ss {
		return b.session != ss
	}
	b.sim.note("broker %d finds out that its session has expired", b.id)
	if b.term != nil {
		b.term.end()
	}
	b.connect()
	return true
}

// controllerMoved is the watch on /controller. Whoever finds it empty wants to be it.
func (b *broker) controllerMoved() {
	ss := b.session
	var holder *session
	var epoch int32
	ss.do(func(st *store) {
		st.elect(ss)
		holder, epoch = st.controller, st.controllerEpoch
	}, func(err error) {
		if b.lost(ss, err) {
			return
		}
		b.controller = holder.of.id
		if b.term != nil && (holder != ss || epoch != b.term.epoch) {
			b.term.end()
		}
		if b.term == nil && holder == ss {
			b.term = newTerm(b, epoch)
		}
	})
}

// brokersMoved is the controller's watch.
func (b *broker) brokersMoved() {
	if t := b.term; t != nil {
		t.do(t.brokersMoved)
	}
}

// control is a request of a controller: UpdateMetadata with live, or LeaderAndIsr with
// an order.
type control struct {
	controllerEpoch int32
	brokerEpoch     int64
	live            []int32
	order           *order
}

// controlled takes a request of a controller, as broker/region does. Before it knows
// its registration it takes what comes, and nothing older afterwards.
func (b *broker) controlled(c control) (refused error) {
	w := &b.sim.rules.wrong
	switch {
	case c.controllerEpoch < b.controllerEpoch && !w.anyController:
		return cluster.ErrStaleControllerEpoch
	case c.brokerEpoch < b.orderEpoch && !w.anyOrderEpoch:
		return cluster.ErrStaleBrokerEpoch
	}
	b.controllerEpoch, b.orderEpoch = max(b.controllerEpoch, c.controllerEpoch), max(b.orderEpoch, c.brokerEpoch)
	if c.live != nil {
		b.live = c.live
		return nil
	}
	b.partition.apply(*c.order)
	return nil
}

func (b *broker) isLive(id int32) bool { return slices.Contains(b.live, id) }

// sync makes the log durable, in a while, again and again until all of it is.
func (b *broker) sync() {
	l := b.log
	if l.syncing > l.durable || l.durable == l.end() {
		return
	}
	l.syncing = l.end()
	d := between(b.sim.disk, 100*time.Microsecond, 3*time.Millisecond)
	if b.slow > 0 || b.sim.disk.IntN(200) == 0 {
		d = between(b.sim.disk, 0, 2*time.Second)
	}
	b.after(d, func() {
		l.durable = max(l.durable, l.syncing)
		l.syncing = 0
		b.partition.synced()
		b.sync()
	})
}
