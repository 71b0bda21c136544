package zk

import (
	"context"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

func deletionPath(topic string) string { return deletionsPath + "/" + topic }

// RequestDeletion asks the controller to delete a topic. It may have been asked
// before.
func (s *Session) RequestDeletion(ctx context.Context, name string) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	if err := s.create(ctx, deletionPath(name), nil); !isNodeExists(err) {
		return err
	}
	return nil
}

// Deletions lists the topics that are to be deleted, sorted.
func (s *Session) Deletions(ctx context.Context, w *Watch) ([]string, error) {
	names, err := s.children(ctx, deletionsPath, w)
	slices.Sort(names)
	return names, err
}

// Deletions lists the topics that are to be deleted, sorted.
func (t *Term) Deletions(ctx context.Context) ([]string, error) {
	return t.s.Deletions(ctx, t.watch(cluster.Change{Kind: cluster.DeletionsChanged}))
}

// FinishDeletion removes a topic: its partitions before the topic, the request last, so
// that a controller that follows goes on where this one stopped. What Kafka does not
// know of it goes first, while nobody can make a topic of that name.
func (t *Term) FinishDeletion(ctx context.Context, name string) error {
	if err := t.remove(ctx, ownPath(name)); err != nil {
		return err
	}
	if err := t.removeTree(ctx, topicPath(name), 4); err != nil {
		return err
	}
	t.forget(cluster.Change{Kind: cluster.TopicChanged, Topic: name})
	if err := t.remove(ctx, TopicEntity(name).path()); err != nil {
		return err
	}
	return t.remove(ctx, deletionPath(name))
}

// RefuseDeletion removes the request alone.
func (t *Term) RefuseDeletion(ctx context.Context, name string) error {
	return t.remove(ctx, deletionPath(name))
}

// removeTree removes a node and what is below it, levels deep at most.
func (t *Term) removeTree(ctx context.Context, path string, levels int) error {
	names, err := t.s.children(ctx, path, nil)
	if isNoNode(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if levels > 1 {
		err := each(ctx, len(names), func(ctx context.Context, i int) error { return t.removeTree(ctx, path+"/"+names[i], levels-1) })
		if err != nil {
			return err
		}
	}
	return t.remove(ctx, path)
}
