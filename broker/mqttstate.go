package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// AppendState writes records of MQTT sessions and retained messages, all or nothing,
// and calls done once: when they are as durable as the data directory promises or
// when that failed. A nil value takes back what was said of its key. The topic is made
// when there is something to write. done must not block.
func (b *Broker) AppendState(keys, values [][]byte, done func(error)) {
	index, ok := b.statePartition()
	if !ok {
		var err error
		if index, err = b.makeStatePartition(context.Background()); err != nil {
			done(fmt.Errorf("create %s: %w", topic.MQTTState, err))
			return
		}
	}
	var bu record.Builder
	now := time.Now().UnixMilli()
	for i := range keys {
		bu.Add(now, keys[i], values[i], nil)
	}
	appendTo(b.partitions, topic.MQTTState, index, bu.Batch(), func(_ int64, err error) { done(err) })
}

// statePartition is where this broker keeps MQTT's state. In a region each broker has
// its own partition, which nobody else has a replica of: its devices are its own, and
// it needs what it knows of them also while it is cut off.
func (b *Broker) statePartition() (index int32, ok bool) {
	t, ok := b.cluster.Snapshot().Topic(topic.MQTTState)
	if !ok || b.joined == nil {
		return 0, ok
	}
	return home(t, b.cfg.BrokerID, true)
}

func (b *Broker) makeStatePartition(ctx context.Context) (int32, error) {
	nt := cluster.NewTopic{Name: topic.MQTTState, Partitions: 1, ReplicationFactor: -1, Overrides: topic.InternalOverrides()}
	if b.joined != nil {
		nt.Assignment = map[int32][]int32{0: {b.cfg.BrokerID}}
	}
	if _, err := b.cluster.CreateTopic(ctx, nt); err != nil && !errors.Is(err, cluster.ErrTopicExists) {
		return 0, err
	}
	index, ok := b.statePartition()
	if !ok { // others have made the topic, for theirs
		if err := b.cluster.CreatePartitions(ctx, cluster.NewPartitions{Topic: topic.MQTTState, Own: true}); err != nil {
			return 0, err
		}
		index, ok = b.statePartition()
	}
	if !ok {
		return 0, fmt.Errorf("%w: %s is not known yet", cluster.ErrUnknownPartition, topic.MQTTState)
	}
	return index, nil
}

// ReadState yields the records that AppendState wrote before the call, in order, with
// the time of their append in Unix milliseconds. What is damaged is left out: skipped
// is how many batches that was. With an error what follows is missing too. The bytes
// are valid during yield.
func (b *Broker) ReadState(yield func(timestamp int64, key, value []byte)) (skipped int, err error) {
	index, ok := b.statePartition()
	if !ok {
		return 0, nil
	}
	p, err := b.partitions.Get(topic.MQTTState, index)
	if errors.Is(err, partition.ErrUnknown) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	from, end := p.Offsets()
	for from < end {
		next, damaged, err := b.readState(p, from, yield)
		skipped += damaged
		if err != nil {
			return skipped, fmt.Errorf("read %s from offset %d: %w", topic.MQTTState, from, err)
		}
		if next <= from { // nothing is left on the way to the end
			return skipped, nil
		}
		from = next
	}
	return skipped, nil
}

// stateReadBytes is how much of the log is read at a time.
const stateReadBytes = 1 << 20

// readState reads on from an offset and returns the next.
func (b *Broker) readState(p *partition.Partition, from int64, yield func(timestamp int64, key, value []byte)) (next int64, skipped int, err error) {
	f, err := p.Read(from, stateReadBytes, true)
	if errors.Is(err, commitlog.ErrOffsetOutOfRange) { // retention never takes of it, but damage may
		if start, _ := p.Offsets(); start > from {
			return start, 1, nil
		}
	}
	if err != nil {
		return from, 0, err
	}
	defer f.Records.Release()
	next = from
	for rest := f.Records.Bytes; len(rest) > 0; {
		var batch record.Batch
		if batch, rest, err = record.Split(rest); err != nil {
			return next, skipped, err
		}
		_, err := b.unpacked.each(batch, next, func(_, timestamp int64, r record.Record) bool {
			yield(timestamp, r.Key, r.Value)
			return true
		})
		if err != nil {
			skipped++
		}
		next = max(next, batch.NextOffset())
	}
	return next, skipped, nil
}
