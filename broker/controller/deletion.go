package controller

import (
	"context"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

// deletion is a topic on its way out. It begins once all of its replicas' brokers
// are there, also those that it moves to or from, and ends when each of them has
// said that its log is gone: so none comes back with an old log. Meanwhile nobody is
// elected for it, nothing of it moves, and clients are told that it is gone. The
// other brokers are waited for too, but not for long: once the topic is gone, nobody
// could tell one that does not know.
type deletion struct {
	begun   bool
	gone    map[cluster.TopicPartition][]int32 // brokers that have no log of it any more
	waiting map[cluster.TopicPartition][]int32 // brokers that have been asked
	unheard map[int32]map[cluster.TopicPartition]bool
	late    int // how often it has been found to wait
}

func newDeletion() *deletion {
	return &deletion{
		gone:    map[cluster.TopicPartition][]int32{},
		waiting: map[cluster.TopicPartition][]int32{},
		unheard: map[int32]map[cluster.TopicPartition]bool{},
	}
}

// unheardBy notes that a broker is to hear that a partition is gone.
func (d *deletion) unheardBy(id int32, tp cluster.TopicPartition) {
	if d.unheard[id] == nil {
		d.unheard[id] = map[cluster.TopicPartition]bool{}
	}
	d.unheard[id][tp] = true
}

// heardBy notes that it has.
func (d *deletion) heardBy(id int32, tp cluster.TopicPartition) {
	delete(d.unheard[id], tp)
	if len(d.unheard[id]) == 0 {
		delete(d.unheard, id)
	}
}

// goes reports whether logs of the topic may be gone already.
func (info *topicInfo) goes() bool { return info.deletion != nil && info.deletion.begun }

// forget is for brokers that will not answer any more.
func (d *deletion) forget(tp cluster.TopicPartition, brokers []int32) {
	d.waiting[tp] = without(d.waiting[tp], brokers)
	for _, id := range brokers {
		delete(d.unheard, id)
	}
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
			if err := t.markDeleted(ctx, info); err != nil {
				return err
			}
		}
	}
	return nil
}

// markDeleted has a topic be on its way out.
func (t *term) markDeleted(ctx context.Context, info *topicInfo) error {
	t.log.Info("topic is to be deleted", "topic", info.name)
	info.deletion = newDeletion()
	wanted := false
	for _, p := range info.partitions {
		p.shed = nil
		wanted = wanted || t.legacy[p.of]
		t.announce(p)
	}
	if !wanted {
		return nil
	}
	return t.SetWantedReassignments(ctx, t.wantedYet())
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
		if away := t.away(info); len(away) > 0 {
			t.log.Debug("deletion waits", "topic", info.name, "brokers", away)
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
	if left || len(d.unheard) > 0 && d.late < 2 {
		return nil
	}
	if err := t.FinishDeletion(ctx, info.name); err != nil {
		return err
	}
	delete(t.topics, info.name)
	t.log.Info("topic deleted", "topic", info.name)
	return nil
}

// away returns brokers that have some of a topic, and are not there or have lost
// their disk.
func (t *term) away(info *topicInfo) (ids []int32) {
	for _, p := range info.partitions {
		alive := t.roll(p).alive
		ids = append(ids, keep(p.assignment.Replicas, func(id int32) bool { return !alive(id) })...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// hurryDeletions counts how long deletions have waited.
func (t *term) hurryDeletions() {
	for _, info := range t.topics {
		if info.goes() {
			info.deletion.late++
		}
	}
}

// deletionsHeard notes that a broker knows what is deleted.
func (t *term) deletionsHeard(ctx context.Context, a answer) error {
	heard := map[*topicInfo]bool{}
	for _, tp := range a.gone {
		if info := t.topics[tp.Topic]; info != nil && info.deletion != nil {
			info.deletion.heardBy(a.broker, tp)
			heard[info] = true
		}
	}
	for info := range heard {
		if err := t.advanceDeletion(ctx, info); err != nil {
			return err
		}
	}
	return nil
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
		d.waiting[tp] = without(d.waiting[tp], []int32{a.broker})
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
