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

// Partitions returns the partitions of a topic as devices may write to them, creating
// it with the defaults when it is unknown and may be created. A topic that no setting
// names counts as one that devices caused.
//
// A gateway's devices write to the partition that is the gateway's own, which it gets
// here when it has none; those of another broker to one that the broker leads.
func (b *Broker) Partitions(ctx context.Context, name string) (topic.Partitions, error) {
	if topic.Internal(name) {
		return topic.Partitions{}, fmt.Errorf("%w: %s", topic.ErrInternal, name)
	}
	t, ok := b.cluster.Snapshot().Topic(name)
	if !ok {
		var err error
		if t, err = b.create(ctx, name); err != nil {
			return topic.Partitions{}, err
		}
	}
	if b.joined == nil {
		return topic.Partitions{Count: int32(len(t.Partitions))}, nil
	}
	own := b.cfg.Region.Gateway
	index, ok := home(t, b.cfg.BrokerID, own)
	if !ok && own {
		if err := b.cluster.CreatePartitions(ctx, cluster.NewPartitions{Topic: name, Own: true}); err != nil {
			return topic.Partitions{}, err
		}
		if t, ok = b.cluster.Snapshot().Topic(name); ok {
			index, ok = home(t, b.cfg.BrokerID, own)
		}
		if !ok { // deleted at the same moment
			return topic.Partitions{}, fmt.Errorf("%w: %.60q", cluster.ErrUnknownTopic, name)
		}
	}
	return topic.Partitions{Count: int32(len(t.Partitions)), Home: index, HomeOnly: own}, nil
}

// create makes a topic for devices.
func (b *Broker) create(ctx context.Context, name string) (*cluster.Topic, error) {
	if !b.cfg.AutoCreateTopics {
		return nil, fmt.Errorf("%w: %.60q", ErrNoAutoCreate, name)
	}
	t, err := b.cluster.CreateTopic(ctx, cluster.NewTopic{
		Name: name, Partitions: -1, ReplicationFactor: -1, Local: true, ForDevice: !slices.Contains(b.cfg.NamedTopics, name),
	})
	if errors.Is(err, cluster.ErrTopicExists) { // someone was faster
		if t, ok := b.cluster.Snapshot().Topic(name); ok {
			return t, nil
		}
	}
	return t, err
}

// home is the first partition of t that is self's alone or, unless it must be that,
// that self leads now; 0 when there is none.
func home(t *cluster.Topic, self int32, alone bool) (index int32, ok bool) {
	for i, p := range t.Partitions {
		if own := len(p.Replicas) == 1 && p.Replicas[0] == self; own || !alone && p.Leader == self {
			return int32(i), true
		}
	}
	return 0, false
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
	p.AppendAtThen(batch, baseOffset, func(err error) { done(baseOffset, err) })
}

func appendTo(partitions *partition.Set, topicName string, index int32, batch record.Batch, done func(baseOffset int64, err error)) {
	p, err := partitions.Get(topicName, index)
	if err != nil {
		done(-1, err)
		return
	}
	p.AppendThen(batch, true, done)
}
