package controller

import (
	"slices"

	"github.com/headwater/headwater/broker/cluster"
)

// Orders gather during an event, and go out together when it is over.

// to returns what a live broker is to be told after this event, or nil.
func (t *term) to(id int32) *orders {
	if t.brokers[id] == nil {
		return nil
	}
	o := t.outbox[id]
	if o == nil {
		o = newOrders()
		t.outbox[id] = o
	}
	return o
}

// order has every live replica of p lead or follow as its state says.
func (t *term) order(p *partition, isNew bool) {
	for _, id := range p.assignment.Replicas {
		if p.shed == nil || !slices.Contains(p.shed.leaving, id) {
			t.orderOne(p, id, isNew)
		}
	}
}

func (t *term) orderOne(p *partition, id int32, isNew bool) {
	if o := t.to(id); o != nil && p.exists {
		o.replicas[p.of] = replicaOrder{topicID: p.topic.id, assignment: p.assignment, state: p.state, isNew: isNew}.after(o.replicas[p.of], true)
	}
}

// halt has a broker neither lead nor follow p; with remove its log goes, too.
func (t *term) halt(p *partition, id int32, remove bool) {
	o := t.to(id)
	if o == nil {
		return
	}
	leaderEpoch := p.state.LeaderEpoch
	if p.topic.deletion != nil {
		leaderEpoch = epochOfDeletion
	}
	o.replicas[p.of] = replicaOrder{topicID: p.topic.id, stop: true, delete: remove, leaderEpoch: leaderEpoch}.after(o.replicas[p.of], true)
}

// announce tells every broker of p.
func (t *term) announce(p *partition) {
	if !p.exists {
		return
	}
	n := t.newsOf(p)
	for id := range t.brokers {
		t.tell(id, p, n)
	}
}

// tell tells one broker.
func (t *term) tell(id int32, p *partition, n news) {
	t.to(id).metadata[p.of] = n
	if d := p.topic.deletion; d != nil {
		d.unheardBy(id, p.of)
	}
}

func (t *term) newsOf(p *partition) news {
	alive := t.roll(p).alive
	n := news{
		topicID: p.topic.id, replicas: p.assignment.Replicas, state: p.state,
		offline: keep(p.assignment.Replicas, func(id int32) bool { return !alive(id) }),
	}
	if p.topic.deletion != nil {
		n.state.Leader, n.state.LeaderEpoch, n.state.PartitionEpoch = leaderOfDeletion, 0, 0
	}
	return n
}

// announceLive tells every broker who is alive.
func (t *term) announceLive() {
	live := t.registrations()
	for id := range t.brokers {
		t.to(id).live = live
	}
}

// introduce tells a new broker all that there is to know, and its replicas' roles.
func (t *term) introduce(id int32) {
	o := t.to(id)
	o.first, o.live = true, t.registrations()
	for _, info := range t.topics {
		for _, p := range info.partitions {
			if !p.exists {
				continue
			}
			t.tell(id, p, t.newsOf(p))
			if slices.Contains(p.assignment.Replicas, id) && !info.goes() {
				t.orderOne(p, id, slices.Contains(p.assignment.Adding, id))
			}
		}
	}
}

// flush hands the orders to the senders.
func (t *term) flush() {
	for id, o := range t.outbox {
		if b := t.brokers[id]; b != nil {
			b.sender.add(o)
		}
	}
	clear(t.outbox)
}

// join has a sender for a broker that has registered.
func (t *term) join(r cluster.Registration) {
	s := newSender(r, sealed{
		versions: t.cfg.Versions, listener: t.cfg.Listener,
		controllerID: t.cfg.BrokerID, controllerEpoch: t.epoch,
	}, t.dial, t.answers, t.log)
	t.brokers[r.ID] = &broker{Registration: r, sender: s}
	t.spawn(s)
}

// leave forgets a broker that is gone.
func (t *term) leave(id int32) {
	t.brokers[id].sender.stop()
	delete(t.brokers, id)
	delete(t.outbox, id)
}
