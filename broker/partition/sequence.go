package partition

import (
	"errors"
	"fmt"
	"math"

	"github.com/headwater/headwater/broker/record"
)

var (
	// ErrOutOfOrderSequence is returned for a batch that does not follow what its
	// producer appended last: one before it is missing, or is long past.
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrProducerEpoch is returned for a batch of a producer that has a later
	// epoch by now.
	ErrProducerEpoch = errors.New("producer epoch is an older one")
)

// keptBatches is how many batches of a producer are remembered. Clients have at
// most five requests in flight, so that what they may send again is among them.
const keptBatches = 5

// mark is what is remembered of a batch, as Kafka's snapshots have it.
type mark struct {
	lastOffset   int64
	timestamp    int64 // the batch's latest, Unix milliseconds; nothing is decided by it
	lastSequence int32
	offsetDelta  int32 // the last record's offset less the first one's
}

func markOf(b record.Batch) mark {
	return mark{
		lastOffset:   b.LastOffset(),
		timestamp:    b.MaxTimestamp(),
		lastSequence: sequenceAfter(b.BaseSequence(), b.LastOffsetDelta()),
		offsetDelta:  b.LastOffsetDelta(),
	}
}

func (m mark) baseOffset() int64    { return m.lastOffset - int64(m.offsetDelta) }
func (m mark) nextOffset() int64    { return m.lastOffset + 1 }
func (m mark) firstSequence() int32 { return sequenceAfter(m.lastSequence, -m.offsetDelta) }

// sequenceAfter returns the sequence number that is steps from sequence: 0 follows
// the largest int32.
func sequenceAfter(sequence, steps int32) int32 {
	return int32(uint32(sequence+steps) & math.MaxInt32)
}

// history is what is known of a producer in one partition: its epoch, and its
// last batches in that epoch, oldest first.
type history struct {
	epoch int16
	count int8
	kept  [keptBatches]mark
}

func (h *history) marks() []mark { return h.kept[:h.count] }

// last is the mark of the last batch; there is one unless a snapshot had none.
func (h *history) last() (m mark, ok bool) {
	if h.count == 0 {
		return mark{}, false
	}
	return h.kept[h.count-1], true
}

// add notes an appended batch. One of another epoch ends what was known.
func (h *history) add(epoch int16, m mark) {
	if epoch != h.epoch {
		*h = history{epoch: epoch}
	}
	if h.count == keptBatches {
		copy(h.kept[:], h.kept[1:])
		h.count--
	}
	h.kept[h.count] = m
	h.count++
}

// repeated returns the batch of which b is a repetition: the same producer, epoch,
// first and last sequence number.
func (h *history) repeated(b record.Batch) (m mark, ok bool) {
	if h == nil || b.ProducerEpoch() != h.epoch {
		return mark{}, false
	}
	asked := markOf(b)
	for _, m := range h.marks() {
		if m.lastSequence == asked.lastSequence && m.firstSequence() == asked.firstSequence() {
			return m, true
		}
	}
	return mark{}, false
}

// follows returns why b, which is no repetition, may not be appended now, as
// Kafka's brokers decide it. Of a producer that is not known, nil, any sequence
// number is taken (KIP-360): its records may have been deleted, or it was
// forgotten.
func (h *history) follows(b record.Batch) error {
	if h == nil {
		return nil
	}
	epoch, sequence := b.ProducerEpoch(), b.BaseSequence()
	if epoch < h.epoch {
		return fmt.Errorf("%w: producer %d sends epoch %d, the last seen is %d", ErrProducerEpoch, b.ProducerID(), epoch, h.epoch)
	}
	want := int32(0) // of a new epoch
	if m, ok := h.last(); ok && epoch == h.epoch {
		want = sequenceAfter(m.lastSequence, 1)
	}
	if sequence != want {
		return fmt.Errorf("%w: producer %d in epoch %d sends sequence %d, the next is %d", ErrOutOfOrderSequence, b.ProducerID(), epoch, sequence, want)
	}
	return nil
}

// checkProducer reports what no batch of an idempotent producer has.
func checkProducer(b record.Batch) error {
	if b.ProducerEpoch() < 0 || b.BaseSequence() < 0 {
		return fmt.Errorf("%w: producer %d without an epoch or a sequence: %d, %d", record.ErrInvalid, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	}
	return nil
}
