package controller

import (
	"context"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

// changed reads anew what is said to have changed.
func (t *term) changed(ctx context.Context, c cluster.Change) error {
	switch c.Kind {
	case cluster.BrokersChanged:
		return t.brokersChanged(ctx)
	case cluster.TopicsChanged:
		return t.topicsChanged(ctx)
	case cluster.TopicChanged:
		return t.topicChanged(ctx, c.Topic)
	case cluster.DeletionsChanged:
		return t.deletionsChanged(ctx)
	case cluster.ISRsChanged:
		return t.isrsChanged(ctx)
	case cluster.LogDirsChanged:
		return t.logDirsChanged(ctx)
	case cluster.ElectionsChanged:
		return t.wantedElections(ctx)
	case cluster.ReassignmentsChanged:
		return t.wantedMoves(ctx)
	}
	return nil
}

// brokersChanged sees who has come, gone, or moved. Who comes back as another
// registration has gone and come.
func (t *term) brokersChanged(ctx context.Context) error {
	live, err := t.Brokers(ctx)
	if err != nil {
		return err
	}
	now := map[int32]cluster.Registration{}
	for _, r := range live {
		now[r.ID] = r
	}
	var gone, come []int32
	moved := false
	for id, b := range t.brokers {
		if r, ok := now[id]; !ok || r.Epoch != b.Epoch {
			gone = append(gone, id)
		} else if !sameBroker(r, b.Registration) {
			moved = true
			b.Registration = r
			b.sender.move(r)
		}
	}
	for id := range now {
		if t.brokers[id] == nil || slices.Contains(gone, id) {
			come = append(come, id)
		}
	}
	slices.Sort(gone)
	slices.Sort(come)
	if len(gone) > 0 {
		if err := t.brokersGone(ctx, gone); err != nil {
			return err
		}
	}
	if len(come) > 0 {
		return t.brokersCome(ctx, come, now)
	}
	if moved {
		t.announceLive()
	}
	return nil
}

func sameBroker(a, b cluster.Registration) bool {
	return a.Rack == b.Rack && slices.Equal(a.Endpoints, b.Endpoints)
}

func (t *term) brokersGone(ctx context.Context, gone []int32) error {
	t.log.Info("brokers gone", "brokers", gone)
	for _, id := range gone {
		t.leave(id)
	}
	t.announceLive()
	var affected []*partition
	for _, info := range t.topics {
		for _, p := range info.partitions {
			for _, id := range gone { // a broker that comes back says anew which disks it has
				delete(p.failed, id)
			}
			if info.deletion != nil {
				info.deletion.forget(p.of, gone)
				continue
			}
			if !slices.ContainsFunc(p.assignment.Replicas, func(id int32) bool { return slices.Contains(gone, id) }) {
				continue
			}
			affected = append(affected, p)
		}
	}
	if err := t.elect(ctx, affected); err != nil {
		return err
	}
	for _, p := range affected {
		t.announce(p)
	}
	for _, id := range gone {
		for _, p := range affected {
			if err := t.shedBy(ctx, id, p); err != nil {
				return err
			}
		}
	}
	if err := t.advanceMoves(ctx); err != nil {
		return err
	}
	return t.advanceDeletions(ctx) // those that waited for them to hear
}

func (t *term) brokersCome(ctx context.Context, come []int32, now map[int32]cluster.Registration) error {
	t.log.Info("brokers have come", "brokers", come)
	for _, id := range come {
		t.join(now[id])
	}
	t.announceLive()
	for _, id := range come {
		t.introduce(id)
	}
	for _, p := range t.some(func(p *partition) bool {
		return slices.ContainsFunc(p.assignment.Replicas, func(id int32) bool { return slices.Contains(come, id) })
	}) {
		t.announce(p) // its replicas are not away any more
	}
	if err := t.electMissing(ctx); err != nil {
		return err
	}
	if err := t.advanceMoves(ctx); err != nil {
		return err
	}
	return t.advanceDeletions(ctx)
}

// isrsChanged tells everyone of states that leaders wrote themselves.
func (t *term) isrsChanged(ctx context.Context) error {
	of, nodes, err := t.ISRNotifications(ctx)
	if err != nil || len(nodes) == 0 {
		return err
	}
	states, err := t.States(ctx, of)
	if err != nil {
		return err
	}
	for tp, s := range states {
		p := t.find(tp)
		if p == nil || !p.exists || s.PartitionEpoch <= p.state.PartitionEpoch {
			continue // it is known
		}
		p.state = s
		t.announce(p)
	}
	if err := t.RemoveISRNotifications(ctx, nodes); err != nil {
		return err
	}
	return t.advanceMoves(ctx)
}

// logDirsChanged asks brokers with a failed disk for each of their replicas: they
// answer a storage error for those that they have lost.
func (t *term) logDirsChanged(ctx context.Context) error {
	brokers, nodes, err := t.LogDirEvents(ctx)
	if err != nil || len(nodes) == 0 {
		return err
	}
	for _, id := range brokers {
		for _, p := range t.some(func(p *partition) bool { return slices.Contains(p.assignment.Replicas, id) }) {
			t.orderOne(p, id, false)
		}
	}
	t.log.Warn("brokers have lost a disk", "brokers", brokers)
	return t.RemoveLogDirEvents(ctx, nodes)
}

// answered takes in what a broker said to its orders.
func (t *term) answered(ctx context.Context, a answer) error {
	if b := t.brokers[a.broker]; b == nil || b.Epoch != a.epoch {
		return nil // it is another by now
	}
	var lost []*partition
	for tp, code := range a.codes {
		p, err := t.partition(tp)
		switch {
		case err != nil:
		case code == wire.KafkaStorageError && !p.failed[a.broker]:
			if p.failed == nil {
				p.failed = map[int32]bool{}
			}
			p.failed[a.broker] = true
			lost = append(lost, p)
		case code == wire.None && p.failed[a.broker]:
			delete(p.failed, a.broker)
			t.announce(p)
		}
	}
	if len(lost) > 0 {
		t.log.Warn("broker has lost replicas", "broker", a.broker, "partitions", len(lost))
		if err := t.elect(ctx, lost); err != nil {
			return err
		}
		for _, p := range lost {
			t.halt(p, a.broker, false)
			t.announce(p)
		}
	}
	if err := t.replicasDeleted(ctx, a); err != nil {
		return err
	}
	return t.deletionsHeard(ctx, a)
}
