package controller

import (
	"context"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

// deletion is a topic on its way out. It begins once all of its replicas' brokers
// are there and nothing of it moves, and ends when each of them has said that its
// log is gone: so none comes back with an old log. Until then nobody is elected
// for it, and clients are told that it is gone.
type deletion struct {
	begun   bool
	gone    map[cluster.TopicPartition][]int32 // brokers that have no log of it any more
	waiting map[cluster.TopicPartition][]int32 // brokers that have been asked
}

func newDeletion() *deletion {
	return &deletion{gone: map[cluster.TopicPartition][]int32{}, waiting: map[cluster.TopicPartition][]int32{}}
}

// goes reports whether logs of the topic may be gone already.
func (info *topicInfo) goes() bool { return info.deletion != nil && info.deletion.begun }

// forget is for brokers that will not answer any more.
func (d *deletion) forget(tp cluster.TopicPartition, brokers []int32) {
	d.waiting[tp] = without(d.waiting[tp], brokers)
}

func (t *term) deletionsChanged(ctx context.Context) error {
	if err := t.readDeletions(ctx); err != nil {
		return err
	}
	return t.advanceDeletions(ctx)
}

// readDeletions marks topics that are to be deleted.
func (t *term) readDeletions(ctx context.Context) error {
	names, err := t.Deletions(ctx)
	if err != nil {
		return err
	}
	unread := false
	for _, name := range names {
		if t.topics[name] == nil {
			unread = true // it may have been made just now
		}
	}
	if unread {
		if err := t.topicsChanged(ctx); err != nil {
			return err
		}
	}
	for _, name := range names {
		info := t.topics[name]
		switch {
		case info == nil || t.cfg.RefuseDeletion:
			t.log.Info("topic not deleted", "topic", name, "exists", info != nil)
			if err := t.RefuseDeletion(ctx, name); err != nil {
				return err
			}
		case info.deletion == nil:
			t.log.Info("topic is to be deleted", "topic", name)
			info.deletion = newDeletion()
			for _, p := range info.partitions {
				t.announce(p)
			}
		}
	}
	return nil
}

// advanceDeletions does what can be done for topics that are to be deleted.
func (t *term) advanceDeletions(ctx context.Context) error {
	for _, info := range t.topics {
		if info.deletion == nil {
			continue
		}
		if err := t.advanceDeletion(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

func (t *term) advanceDeletion(ctx context.Context, info *topicInfo) error {
	d := info.deletion
	if !d.begun {
		if why := t.notYet(info); why != "" {
			t.log.Debug("deletion waits", "topic", info.name, "for", why)
			return nil
		}
		d.begun = true
	}
	left := false
	for _, p := range info.partitions {
		for _, id := range p.assignment.Replicas {
			if slices.Contains(d.gone[p.of], id) {
				continue
			}
			left = true
			if t.liveBroker(id) && !slices.Contains(d.waiting[p.of], id) {
				d.waiting[p.of] = append(d.waiting[p.of], id)
				t.halt(p, id, true)
			}
		}
	}
	if left {
		return nil
	}
	if err := t.FinishDeletion(ctx, info.name); err != nil {
		return err
	}
	delete(t.topics, info.name)
	t.log.Info("topic deleted", "topic", info.name)
	return nil
}

// notYet says what a deletion waits for, before it begins; "" for nothing.
func (t *term) notYet(info *topicInfo) string {
	for _, p := range info.partitions {
		if moving(p.assignment) {
			return "a reassignment"
		}
		if len(keep(p.assignment.Replicas, t.roll(p).alive)) < len(p.assignment.Replicas) {
			return "a broker"
		}
	}
	return ""
}

// replicasDeleted notes who has no log any more. Who refused is asked again.
func (t *term) replicasDeleted(ctx context.Context, a answer) error {
	asked := map[*topicInfo]bool{}
	for tp, code := range a.stopped {
		info := t.topics[tp.Topic]
		if info == nil {
			continue
		}
		if p := t.find(tp); p != nil && p.shed != nil && p.shed.waiting[a.broker] {
			if err := t.shedBy(ctx, a.broker, p); err != nil {
				return err
			}
			continue
		}
		d := info.deletion
		if d == nil {
			continue
		}
		d.forget(tp, []int32{a.broker})
		if code != wire.None {
			t.log.Warn("replica not deleted yet", "partition", tp.String(), "broker", a.broker, "error", code.String())
			continue
		}
		if !slices.Contains(d.gone[tp], a.broker) {
			d.gone[tp] = append(d.gone[tp], a.broker)
		}
		asked[info] = true
	}
	for info := range asked {
		if err := t.advanceDeletion(ctx, info); err != nil {
			return err
		}
	}
	return nil
}
