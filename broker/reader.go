package broker

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// ErrUnknownPartition is wrapped by errors about a topic or partition that this
// broker has not.
var ErrUnknownPartition = partition.ErrUnknown

// Batches that come out no larger than smallBytes are decompressed by as many
// readers at a time as there are. Larger ones, which few producers write, go one at
// a time, up to largeBytes: so the memory does not follow the number of readers.
const (
	smallBytes = 4 << 20
	largeBytes = 64 << 20
)

// EachPartition calls yield for the partitions that this broker hosts, by topic and
// number, until it returns false. The broker's own topics are left out.
func (b *Broker) EachPartition(yield func(topic string, partition int32) bool) {
	for _, t := range b.cluster.Snapshot().Topics() {
		if topic.Internal(t.Name) {
			continue
		}
		for i := range int32(len(t.Partitions)) {
			if _, err := b.partitions.Get(t.Name, i); errors.Is(err, partition.ErrUnknown) {
				continue
			}
			if !yield(t.Name, i) {
				return
			}
		}
	}
}

// reading finds a partition that clients may read.
func (b *Broker) reading(topicName string, index int32) (*partition.Partition, error) {
	if topic.Internal(topicName) {
		return nil, fmt.Errorf("%w: %s", partition.ErrUnknown, topicName)
	}
	return b.partitions.Get(topicName, index)
}

// Offsets returns the first offset of a partition that can be read, the one that
// readers stop before, and what it takes on disk, in bytes.
func (b *Broker) Offsets(topicName string, index int32) (logStartOffset, highWatermark, sizeBytes int64, err error) {
	p, err := b.reading(topicName, index)
	if err != nil {
		return 0, 0, 0, err
	}
	logStartOffset, highWatermark = p.Offsets()
	return logStartOffset, highWatermark, p.Size(), p.Err()
}

// Retention is how long the topic's records stay: up to so many bytes of each
// partition and so many milliseconds after the append, -1 for no limit; and the
// largest record batch that it takes.
func (b *Broker) Retention(topicName string) (maxBytes, maxAgeMillis, maxMessageBytes int64, err error) {
	t, ok := b.cluster.Snapshot().Topic(topicName)
	if !ok || topic.Internal(topicName) {
		return 0, 0, 0, fmt.Errorf("%.60s: %w", topicName, partition.ErrUnknown)
	}
	s := t.Settings
	if !s.Cleanup.Deletes() {
		return -1, -1, s.MaxMessageBytes, nil
	}
	maxAgeMillis = -1
	if s.Retention >= 0 {
		maxAgeMillis = s.Retention.Milliseconds()
	}
	return s.RetentionBytes, maxAgeMillis, s.MaxMessageBytes, nil
}

// ReadRecords calls yield for a partition's records from fromOffset on, up to the
// high watermark, until it returns false or about maxBytes of the log were read: one
// batch at least, if there is one. The bytes of a record are valid during yield, and
// yield must not read itself. nextOffset is where to read on. It passes over offsets
// that have no record: those of control batches, compacted ones, lost ones. An
// offset outside the log is commitlog.ErrOffsetOutOfRange.
func (b *Broker) ReadRecords(topicName string, index int32, fromOffset int64, maxBytes int, yield func(offset, timestamp int64, r record.Record) bool) (nextOffset int64, err error) {
	p, err := b.reading(topicName, index)
	if err != nil {
		return fromOffset, err
	}
	f, err := p.Read(fromOffset, maxBytes, true)
	if err != nil {
		return fromOffset, err
	}
	defer f.Records.Release()
	if len(f.Records.Bytes) == 0 { // at the end, or nothing is left on the way there
		return max(fromOffset, f.HighWatermark), nil
	}
	nextOffset = fromOffset
	for rest := f.Records.Bytes; len(rest) > 0; {
		var batch record.Batch
		if batch, rest, err = record.Split(rest); err != nil {
			return nextOffset, fmt.Errorf("%s-%d: after offset %d: %w", topicName, index, nextOffset, err)
		}
		more, err := b.unpacked.each(batch, nextOffset, func(offset, timestamp int64, r record.Record) bool {
			nextOffset = offset + 1
			return yield(offset, timestamp, r)
		})
		if err != nil {
			return nextOffset, fmt.Errorf("%s-%d: batch at offset %d: %w", topicName, index, batch.BaseOffset(), err)
		}
		if !more {
			return nextOffset, nil
		}
		nextOffset = max(nextOffset, batch.NextOffset())
	}
	return nextOffset, nil
}

// OffsetForTime returns the first offset whose record's timestamp (Unix
// milliseconds) is at or after the given one, the high watermark when there is none.
func (b *Broker) OffsetForTime(topicName string, index int32, timestamp int64) (offset int64, err error) {
	p, err := b.reading(topicName, index)
	if err != nil {
		return 0, err
	}
	_, highWatermark := p.Offsets()
	offset, _, found, err := p.OffsetForTime(timestamp)
	if err != nil {
		return 0, err
	}
	if !found {
		return highWatermark, nil
	}
	return offset, nil
}

// WatchPartition sends to wake, without blocking, whenever the partition's high
// watermark moves or it goes offline, until stop is called.
func (b *Broker) WatchPartition(topicName string, index int32, wake chan<- struct{}) (stop func(), err error) {
	p, err := b.reading(topicName, index)
	if err != nil {
		return nil, err
	}
	return p.Watch(wake), nil
}

// unpacker looks into batches. Its zero value is ready.
type unpacker struct {
	large sync.Mutex // held by the one who has a large batch decompressed
}

// each calls yield for the records of batch from fromOffset on, until it returns
// false: then more is false. Control batches have none for clients.
func (u *unpacker) each(batch record.Batch, fromOffset int64, yield func(offset, timestamp int64, r record.Record) bool) (more bool, err error) {
	if batch.Control() {
		return true, nil
	}
	payload, done, err := u.unpack(batch)
	if err != nil {
		return true, err
	}
	defer done()
	more = true
	fromDelta := int32(min(max(fromOffset-batch.BaseOffset(), 0), math.MaxInt32))
	err = record.RecordsFrom(payload, batch.Count(), fromDelta, func(r record.Record) bool {
		offset, timestamp := batch.BaseOffset()+int64(r.OffsetDelta), batch.BaseTimestamp()+r.TimestampDelta
		if batch.LogAppendTime() {
			timestamp = batch.MaxTimestamp()
		}
		more = yield(offset, timestamp, r)
		return more
	})
	return more, err
}

// unpack returns the batch's records, decompressed. done must be called when they
// are not needed any more.
func (u *unpacker) unpack(batch record.Batch) (payload []byte, done func(), err error) {
	if batch.Codec() == record.None || batch.Count() == 0 {
		return batch.Payload(), func() {}, nil
	}
	payload, err = codec.Decompress(batch.Codec(), batch.Payload(), smallBytes)
	if !errors.Is(err, codec.ErrTooLarge) {
		return payload, func() {}, err
	}
	u.large.Lock()
	payload, err = codec.Decompress(batch.Codec(), batch.Payload(), largeBytes)
	if err != nil {
		u.large.Unlock()
		return nil, nil, err
	}
	return payload, u.large.Unlock, nil
}
