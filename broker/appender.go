package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// ErrNoAutoCreate is returned for an unknown topic while topics are created by
// hand only.
var ErrNoAutoCreate = errors.New("topic is unknown and kafka.autoCreateTopics is off")

// Partitions returns how many partitions the topic has, creating it with the
// defaults when it is unknown and may be created. A topic that no setting names
// counts as one that devices caused.
func (b *Broker) Partitions(ctx context.Context, name string) (int32, error) {
	if topic.Internal(name) {
		return 0, fmt.Errorf("%w: %s", topic.ErrInternal, name)
	}
	if t, ok := b.cluster.Snapshot().Topic(name); ok {
		return int32(len(t.Partitions)), nil
	}
	if !b.cfg.AutoCreateTopics {
		return 0, fmt.Errorf("%w: %.60q", ErrNoAutoCreate, name)
	}
	t, err := b.cluster.CreateTopic(ctx, cluster.NewTopic{
		Name: name, Partitions: -1, ReplicationFactor: -1, ForDevice: !slices.Contains(b.cfg.NamedTopics, name),
	})
	if errors.Is(err, cluster.ErrTopicExists) { // someone was faster
		if t, ok := b.cluster.Snapshot().Topic(name); ok {
			return int32(len(t.Partitions)), nil
		}
	}
	if err != nil {
		return 0, err
	}
	return int32(len(t.Partitions)), nil
}

// PartitionCount returns how many partitions the topic has, if it exists.
func (b *Broker) PartitionCount(name string) (n int32, exists bool) {
	t, ok := b.cluster.Snapshot().Topic(name)
	if !ok {
		return 0, false
	}
	return int32(len(t.Partitions)), true
}

// Append puts batch at the end of a partition and calls done once, when it is as
// durable as the data directory promises or when it failed. done must not block;
// it may run before Append returns.
func (b *Broker) Append(topicName string, index int32, batch record.Batch, done func(baseOffset int64, err error)) {
	if topic.Internal(topicName) {
		done(-1, fmt.Errorf("%w: %s", topic.ErrInternal, topicName))
		return
	}
	appendTo(b.partitions, topicName, index, batch, done)
}

// AppendAt is Append for a batch that belongs at baseOffset alone: when the
// partition ends elsewhere, nothing is appended and done gets an error that wraps a
// *commitlog.OffsetMismatch.
func (b *Broker) AppendAt(topicName string, index int32, batch record.Batch, baseOffset int64, done func(baseOffset int64, err error)) {
	if topic.Internal(topicName) {
		done(-1, fmt.Errorf("%w: %s", topic.ErrInternal, topicName))
		return
	}
	p, err := b.partitions.Get(topicName, index)
	if err != nil {
		done(-1, err)
		return
	}
	nextOffset, err := p.AppendAt(batch, baseOffset)
	if err != nil {
		done(-1, err)
		return
	}
	p.AwaitAll(nextOffset, func(err error) { done(baseOffset, err) })
}

func appendTo(partitions *partition.Set, topicName string, index int32, batch record.Batch, done func(baseOffset int64, err error)) {
	p, err := partitions.Get(topicName, index)
	if err != nil {
		done(-1, err)
		return
	}
	baseOffset, nextOffset, err := p.AppendAll(batch)
	if err != nil {
		done(-1, err)
		return
	}
	p.AwaitAll(nextOffset, func(err error) { done(baseOffset, err) })
}
