package partition

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"testing"

	"github.com/headwater/headwater/broker/record"
)

// sent returns a batch of n records as an idempotent producer sends it.
func sent(producer int64, epoch int16, sequence int32, n int) record.Batch {
	b := batch(n, 0)
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	binary.BigEndian.PutUint16(b[51:], uint16(epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// What becomes of a batch, as Kafka's brokers decide it.
func TestSequenceRules(t *testing.T) {
	type step struct {
		epoch    int16
		sequence int32
		n        int
		base     int64 // where it is, when it is appended or was
		err      error
	}
	const top = math.MaxInt32
	for name, steps := range map[string][]step{
		"inOrder":          {{0, 0, 3, 0, nil}, {0, 3, 2, 3, nil}, {0, 5, 1, 5, nil}},
		"repeated":         {{0, 0, 3, 0, nil}, {0, 3, 2, 3, nil}, {0, 0, 3, 0, nil}, {0, 3, 2, 3, nil}, {0, 5, 1, 5, nil}},
		"gap":              {{0, 0, 3, 0, nil}, {0, 4, 1, 0, ErrOutOfOrderSequence}, {0, 3, 1, 3, nil}},
		"otherLength":      {{0, 0, 3, 0, nil}, {0, 0, 2, 0, ErrOutOfOrderSequence}},
		"overlap":          {{0, 0, 3, 0, nil}, {0, 2, 3, 0, ErrOutOfOrderSequence}},
		"fiveAreKept":      {{0, 0, 1, 0, nil}, {0, 1, 1, 1, nil}, {0, 2, 1, 2, nil}, {0, 3, 1, 3, nil}, {0, 4, 1, 4, nil}, {0, 0, 1, 0, nil}},
		"theSixthIsNot":    {{0, 0, 1, 0, nil}, {0, 1, 1, 1, nil}, {0, 2, 1, 2, nil}, {0, 3, 1, 3, nil}, {0, 4, 1, 4, nil}, {0, 5, 1, 5, nil}, {0, 0, 1, 0, ErrOutOfOrderSequence}, {0, 1, 1, 1, nil}},
		"unknownProducer":  {{0, 17, 2, 0, nil}, {0, 19, 1, 2, nil}, {0, 17, 2, 0, nil}},
		"newEpoch":         {{0, 0, 3, 0, nil}, {1, 0, 2, 3, nil}, {1, 2, 2, 5, nil}},
		"newEpochNotAt0":   {{0, 0, 3, 0, nil}, {1, 3, 2, 0, ErrOutOfOrderSequence}, {0, 3, 1, 3, nil}},
		"oldEpoch":         {{1, 0, 3, 0, nil}, {0, 3, 1, 0, ErrProducerEpoch}, {0, 0, 3, 0, ErrProducerEpoch}},
		"oldEpochsBatch":   {{0, 0, 3, 0, nil}, {1, 0, 1, 3, nil}, {0, 0, 3, 0, ErrProducerEpoch}},
		"wraps":            {{0, top - 1, 2, 0, nil}, {0, 0, 1, 2, nil}, {0, top - 1, 2, 0, nil}},
		"wrapsInside":      {{0, top - 1, 4, 0, nil}, {0, 2, 1, 4, nil}, {0, top - 1, 4, 0, nil}},
		"afterTheLastIs0":  {{0, top, 1, 0, nil}, {0, 1, 1, 0, ErrOutOfOrderSequence}, {0, 0, 1, 1, nil}},
		"firstOfItsEpoch5": {{5, 0, 1, 0, nil}, {5, 0, 1, 0, nil}, {5, 1, 1, 1, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			var h *history
			end := int64(0)
			for i, s := range steps {
				b := sent(9, s.epoch, s.sequence, s.n)
				if m, ok := h.repeated(b); ok {
					if m.baseOffset() != s.base || m.nextOffset() != s.base+int64(s.n) || s.err != nil {
						t.Fatalf("step %d: a repetition of %+v, want base offset %d, %v", i, m, s.base, s.err)
					}
					continue
				}
				if err := h.follows(b); err != nil || s.err != nil {
					if !errors.Is(err, s.err) {
						t.Fatalf("step %d: %v, want %v", i, err, s.err)
					}
					continue
				}
				if end != s.base {
					t.Fatalf("step %d: appended at %d, want %d", i, end, s.base)
				}
				if h == nil {
					h = &history{epoch: s.epoch}
				}
				b.Stamp(end, 0)
				h.add(s.epoch, markOf(b))
				end = b.NextOffset()
			}
		})
	}
}

// A producer of which only its epoch is known begins at 0.
func TestEpochAlone(t *testing.T) {
	h := &history{epoch: 3}
	if err := h.follows(sent(9, 3, 1, 1)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("sequence 1: %v", err)
	}
	if err := h.follows(sent(9, 3, 0, 1)); err != nil {
		t.Errorf("sequence 0: %v", err)
	}
}
