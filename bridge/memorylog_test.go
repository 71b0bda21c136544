package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/mqtt"
	"github.com/headwater/headwater/bridge/pull"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// memoryLog is an Appender in memory, whose records become durable when the test
// lets them.
type memoryLog struct {
	mu      sync.Mutex
	batches []record.Batch
	next    int64 // offset; all goes to one partition
	held    bool
	waiting []func()
	arrived chan struct{} // holds a token when something was appended
	fail    error
}

func newMemoryLog() *memoryLog { return &memoryLog{arrived: make(chan struct{}, 1)} }

func (l *memoryLog) Partitions(context.Context, string) (topic.Partitions, error) {
	return topic.Partitions{Count: 1}, nil
}

func (l *memoryLog) Append(_ string, _ int32, b record.Batch, done func(int64, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	base, err := l.next, l.fail
	if err == nil {
		b.Stamp(base, 0)
		l.next += int64(b.Count())
		l.batches = append(l.batches, b)
	}
	if l.held {
		l.waiting = append(l.waiting, func() { done(base, err) })
	} else {
		done(base, err)
	}
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

// AppendAt is Append for a batch that belongs at baseOffset.
func (l *memoryLog) AppendAt(topic string, partition int32, b record.Batch, baseOffset int64, done func(int64, error)) {
	l.mu.Lock()
	next := l.next
	l.mu.Unlock()
	if next != baseOffset {
		done(0, mismatch(next))
		return
	}
	l.Append(topic, partition, b, done)
}

// mismatch is the error of AppendAt: where the log ends.
type mismatch int64

func (m mismatch) Error() string { return fmt.Sprintf("the next offset is %d", int64(m)) }

func (l *memoryLog) Offsets(string, int32) (logStartOffset, highWatermark, sizeBytes int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, l.next, 0, nil
}

func (l *memoryLog) ReadRecords(_ string, _ int32, from int64, _ int, yield func(offset, timestamp int64, r record.Record) bool) (int64, error) {
	l.mu.Lock()
	batches := slices.Clone(l.batches)
	l.mu.Unlock()
	next := from
	for _, b := range batches {
		if err := record.Records(b.Payload(), b.Count(), func(r record.Record) bool {
			if offset := b.BaseOffset() + int64(r.OffsetDelta); offset >= from {
				next = offset + 1
				return yield(offset, b.BaseTimestamp()+r.TimestampDelta, r)
			}
			return true
		}); err != nil {
			return from, err
		}
	}
	return next, nil
}

func (l *memoryLog) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

func (l *memoryLog) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	for _, done := range l.waiting {
		done()
	}
	l.waiting = nil
}

func (l *memoryLog) records(t testing.TB) (records []record.Record) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		if err := record.Records(b.Payload(), b.Count(), func(r record.Record) bool {
			records = append(records, r)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	return records
}

func (l *memoryLog) await(n int) {
	for {
		l.mu.Lock()
		there := l.next
		l.mu.Unlock()
		if there >= int64(n) {
			return
		}
		<-l.arrived
	}
}

// memoryBroker is a Broker that only takes messages.
type memoryBroker struct {
	store
	unread
	positions
	unkept
}

type unkept struct{ mqtt.Store } // MQTT's state, which these tests have none of

// store is where a memoryBroker's messages go.
type store interface {
	ingest.Appender
	ingest.Store
}

// WallSynchronized says that the clock is right.
func (memoryBroker) WallSynchronized() bool { return true }

type unread struct{ pull.Reader } // a level down, so that store's methods come first

// EachGroup says that nobody has a position.
func (memoryBroker) EachGroup(func(group string) bool) error { return nil }

type positions = pull.Positions // a field of that name would hide the method
