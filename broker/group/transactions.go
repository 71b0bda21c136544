package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/record"
)

// transactions are offsets that another broker wrote for producers whose transaction
// has not ended yet, where the log has been read to. They count when it is committed,
// from where they stand in the log.
type transactions struct {
	byProducer map[int64]map[string]map[TopicPartition]suspended
	offsets    int
}

// suspended is what a record of a transaction says, and where it stands.
type suspended struct {
	read
	at int64
}

// maxSuspended bounds the offsets of transactions without an end.
const maxSuspended = 100_000

// suspend keeps what a record of a transaction says until it has ended; a tombstone
// takes back what the same transaction said.
func (l *loader) suspend(producerID int64, said read, at int64) {
	if said.offset == nil {
		if _, ok := l.open.byProducer[producerID][said.group][said.TopicPartition]; ok {
			delete(l.open.byProducer[producerID][said.group], said.TopicPartition)
			l.open.offsets--
		}
		return
	}
	if l.open.offsets >= maxSuspended {
		l.skip(fmt.Errorf("offset %d: %w", at, errTooManySuspended))
		return
	}
	if l.open.byProducer == nil {
		l.open.byProducer = map[int64]map[string]map[TopicPartition]suspended{}
	}
	groups := l.open.byProducer[producerID]
	if groups == nil {
		groups = map[string]map[TopicPartition]suspended{}
		l.open.byProducer[producerID] = groups
	}
	if groups[said.group] == nil {
		groups[said.group] = map[TopicPartition]suspended{}
	}
	if _, ok := groups[said.group][said.TopicPartition]; !ok {
		l.open.offsets++
	}
	groups[said.group][said.TopicPartition] = suspended{said, at}
}

var errTooManySuspended = errors.New("too many offsets of transactions that have not ended")

// end does what a marker says: the offsets of the producer's transaction count now,
// or never did.
func (l *loader) end(b record.Batch, now time.Time) {
	err := codec.Records(b, maxInflatedBytes, func(r record.Record) bool {
		l.records++
		committed, ok := marker(r.Key)
		if !ok {
			return true // of another kind; Kafka's brokers write none here
		}
		for _, offsets := range l.open.byProducer[b.ProducerID()] {
			l.open.offsets -= len(offsets)
			for _, s := range offsets {
				if committed {
					l.apply(s.read, s.at, now)
				}
			}
		}
		delete(l.open.byProducer, b.ProducerID())
		return true
	})
	if err != nil {
		l.skip(fmt.Errorf("marker at offset %d: %w", b.BaseOffset(), err))
	}
}

// marker reads the key of a control record: a version, and 0 for a transaction that
// was aborted or 1 for one that was committed.
func marker(key []byte) (committed, ok bool) {
	if len(key) < 4 || binary.BigEndian.Uint16(key) > 0x7fff {
		return false, false
	}
	switch binary.BigEndian.Uint16(key[2:]) {
	case 0:
		return false, true
	case 1:
		return true, true
	}
	return false, false
}

// undecided counts the offsets of transactions that have not ended.
func (l *loader) undecided() int { return l.open.offsets }
