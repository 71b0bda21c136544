package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// offsetsLog fits the partitions of __consumer_offsets to group.Log.
type offsetsLog struct {
	partitions *partition.Set
	cluster    cluster.Coordinator
}

// Partitions implements group.Log.
func (l offsetsLog) Partitions() int32 {
	t, ok := l.cluster.Snapshot().Topic(group.Topic)
	if !ok {
		return 0
	}
	return int32(len(t.Partitions))
}

// Create implements group.Log.
func (l offsetsLog) Create(ctx context.Context, partitions int32, replicationFactor int16) (int32, error) {
	if replicationFactor == 0 {
		replicationFactor = -1
	}
	_, err := l.cluster.CreateTopic(ctx, cluster.NewTopic{
		Name: group.Topic, Partitions: partitions, ReplicationFactor: replicationFactor, Overrides: topic.InternalOverrides(),
	})
	if err != nil && !errors.Is(err, cluster.ErrTopicExists) {
		return 0, err
	}
	return l.Partitions(), nil
}

// Append implements group.Log.
func (l offsetsLog) Append(index int32, batch record.Batch, done func(baseOffset int64, err error)) {
	p, err := l.partitions.Get(group.Topic, index)
	if err != nil {
		done(-1, inGroups(err))
		return
	}
	p.AppendThen(batch, true, func(baseOffset int64, err error) { done(baseOffset, inGroups(err)) })
}

// Settle implements group.Log.
func (l offsetsLog) Settle(index int32, done func(err error)) {
	p, err := l.partitions.Get(group.Topic, index)
	if err != nil {
		done(inGroups(err))
		return
	}
	p.AwaitAll(p.State().LogEndOffset, func(err error) {
		if errors.Is(err, partition.ErrNotEnoughReplicasAfterAppend) {
			err = nil // it is committed, on fewer replicas than new records would need
		}
		done(inGroups(err))
	})
}

// inGroups says in the words of groups that this broker does not lead a partition.
func inGroups(err error) error {
	if errors.Is(err, partition.ErrNotLeader) {
		return fmt.Errorf("%w: %w", group.ErrNotHere, err)
	}
	return err
}

// Read implements group.Log.
func (l offsetsLog) Read(index int32, fromOffset int64, maxBytes int) ([]byte, error) {
	p, err := l.partitions.Get(group.Topic, index)
	if err != nil {
		return nil, err
	}
	f, err := p.Read(fromOffset, maxBytes, true)
	return f.Records.Bytes, err // not given back: groups are made of what is in it
}

// Offsets implements group.Log.
func (l offsetsLog) Offsets(index int32) (logStartOffset, highWatermark int64, err error) {
	p, err := l.partitions.Get(group.Topic, index)
	if err != nil {
		return 0, 0, err
	}
	logStartOffset, highWatermark = p.Offsets()
	return logStartOffset, highWatermark, p.Err()
}
