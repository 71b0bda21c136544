package controller

import (
	"context"
	"errors"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// topicsChanged takes in topics that have been created. Those that are gone have
// been deleted here, or by a hand in ZooKeeper.
func (t *term) topicsChanged(ctx context.Context) error {
	names, err := t.Topics(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(names))
	var created []string
	for _, name := range names {
		there[name] = true
		if t.topics[name] == nil {
			created = append(created, name)
		}
	}
	for name := range t.topics {
		if !there[name] {
			t.log.Warn("topic is gone, though it was not deleted here", "topic", name)
			delete(t.topics, name)
		}
	}
	return t.create(ctx, created)
}

func (t *term) create(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	parts, err := t.load(ctx, names)
	if err != nil {
		return err
	}
	t.log.Info("topics created", "topics", names)
	if err := t.identify(ctx); err != nil {
		return err
	}
	return t.begun(ctx, parts)
}

// begun has partitions that have just been read begin.
func (t *term) begun(ctx context.Context, parts []*partition) error {
	for _, p := range parts {
		if p.exists { // of an earlier controller, which may not have told anybody
			t.order(p, false)
			t.announce(p)
		}
	}
	if err := t.elect(ctx, parts); err != nil {
		return err
	}
	return t.advanceMoves(ctx)
}

// topicChanged takes in partitions that a topic has been given. Where the others
// are is decided here alone.
func (t *term) topicChanged(ctx context.Context, name string) error {
	info := t.topics[name]
	if info == nil || info.deletion != nil {
		return nil
	}
	a, err := t.Topic(ctx, name)
	if errors.Is(err, cluster.ErrUnknownTopic) {
		return nil // it has been deleted, which is told otherwise
	}
	if err != nil {
		return err
	}
	if a.ID != info.id && a.ID != (topic.ID{}) {
		if info.id != (topic.ID{}) {
			t.log.Warn("topic is another one, though it was not deleted here", "topic", name)
			delete(t.topics, name)
			return t.create(ctx, []string{name})
		}
		info.id = a.ID
	}
	info.version = a.Version
	return t.grow(ctx, info, a)
}

// grow takes in partitions of a that info does not have.
func (t *term) grow(ctx context.Context, info *topicInfo, a cluster.TopicAssignment) error {
	added := info.extend(a)
	if len(added) == 0 {
		return nil
	}
	of := make([]cluster.TopicPartition, 0, len(added))
	for _, p := range added {
		of = append(of, p.of)
	}
	states, err := t.States(ctx, of)
	if err != nil {
		return err
	}
	for _, p := range added {
		if s, ok := states[p.of]; ok {
			p.state, p.exists = s, true
		}
	}
	t.log.Info("topic has more partitions", "topic", info.name, "partitions", len(info.partitions))
	return t.begun(ctx, added)
}

// identify gives an id to each topic without one: it was made by a broker that
// knows none.
func (t *term) identify(ctx context.Context) error {
	for _, info := range t.topics {
		if info.id != (topic.ID{}) || info.deletion != nil {
			continue
		}
		if err := t.rewrite(ctx, info, func() { info.id = topic.NewID() }); err != nil {
			return err
		}
		for _, p := range info.partitions {
			if p.exists {
				t.order(p, false)
				t.announce(p)
			}
		}
	}
	return nil
}

// rewrite has edit change what is known of a topic, and writes that. What others
// have added to it meanwhile is kept.
func (t *term) rewrite(ctx context.Context, info *topicInfo, edit func()) error {
	edit()
	for attempt := 0; ; attempt++ {
		node := cluster.TopicAssignment{ID: info.id, Version: info.version, Partitions: map[int32]cluster.Assignment{}}
		for index, p := range info.partitions {
			node.Partitions[index] = p.assignment
		}
		version, err := t.SetTopic(ctx, info.name, node)
		if err == nil {
			info.version = version
			return nil
		}
		if !errors.Is(err, cluster.ErrVersion) || attempt == maxAttempts {
			return err
		}
		there, err := t.Topic(ctx, info.name)
		if err != nil {
			return err
		}
		info.version = there.Version
		if there.ID != (topic.ID{}) {
			info.id = there.ID
		}
		if err := t.grow(ctx, info, there); err != nil {
			return err
		}
	}
}
