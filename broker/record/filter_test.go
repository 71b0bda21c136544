package record

import (
	"bytes"
	"errors"
	"testing"
)

// three returns a batch of an idempotent producer at offset 100: keys a, b and
// none, values of which the second is null.
func three() Batch {
	var bu Builder
	bu.Add(1000, []byte("a"), []byte("1"), []Header{{"h", []byte("x")}})
	bu.Add(1007, []byte("b"), nil, nil)
	bu.Add(1003, nil, []byte("3"), nil)
	b := bu.Batch()
	b.Stamp(100, 5)
	copy(b[atProducerID:], []byte{0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0, 0, 0, 40})
	return b.With(None, bytes.Clone(b.Payload()), 3, 1007)
}

func TestEach(t *testing.T) {
	b := three()
	var raws []byte
	var keys []string
	err := b.Each(b.Payload(), func(r Record, raw []byte) error {
		raws, keys = append(raws, raw...), append(keys, string(r.Key))
		if (r.Value == nil) != (r.OffsetDelta == 1) {
			t.Errorf("record %d has value %q", r.OffsetDelta, r.Value)
		}
		return nil
	})
	if err != nil || !bytes.Equal(raws, b.Payload()) || len(keys) != 3 || keys[1] != "b" {
		t.Errorf("got keys %q, %d bytes of %d, %v", keys, len(raws), len(b.Payload()), err)
	}
	stop := errors.New("stop")
	if err := b.Each(b.Payload(), func(Record, []byte) error { return stop }); err != stop {
		t.Errorf("got %v, want %v", err, stop)
	}
}

// What is not the batch's records, in order, is refused: whoever rewrites such a
// batch would lose offsets.
func TestEachRefuses(t *testing.T) {
	b := three()
	swapped := bytes.Clone(b)
	swapped[HeaderLen+3] = 2 // offset delta 1 in the first record; the second has it too
	for name, bad := range map[string][]byte{
		"torn":      b.Payload()[:len(b.Payload())-1],
		"more":      append(bytes.Clone(b.Payload()), 0),
		"noOrder":   swapped[HeaderLen:],
		"none":      nil,
		"noRecords": bytes.Repeat([]byte{0xff}, 30),
	} {
		if err := b.Each(bad, func(Record, []byte) error { return nil }); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, ErrInvalid)
		}
	}
}

// A batch that has lost records still says whose it is and where, and its offsets
// are those that it had.
func TestWith(t *testing.T) {
	b := three()
	var second []byte
	b.Each(b.Payload(), func(r Record, raw []byte) error {
		if r.OffsetDelta == 1 {
			second = raw
		}
		return nil
	})
	got := b.With(None, second, 1, 1007)
	if next, rest, err := Next(got); err != nil || len(rest) != 0 || len(next) != HeaderLen+len(second) {
		t.Fatalf("it is no batch: %v", err)
	}
	if got.BaseOffset() != 100 || got.NextOffset() != 103 || got.LeaderEpoch() != 5 || got.Count() != 1 ||
		got.ProducerID() != 9 || got.ProducerEpoch() != 2 || got.BaseSequence() != 40 || got.BaseTimestamp() != 1000 || got.MaxTimestamp() != 1007 {
		t.Errorf("header is %x, of %x", got[:HeaderLen], b[:HeaderLen])
	}
	err := got.Each(got.Payload(), func(r Record, _ []byte) error {
		if r.OffsetDelta != 1 || string(r.Key) != "b" || r.TimestampDelta != 7 {
			t.Errorf("its record is %+v", r)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if packed := b.With(Gzip, []byte("zipped"), 1, 3); packed.Codec() != Gzip || packed.With(None, nil, 0, 3).Codec() != None {
		t.Errorf("codec is %v", packed.Codec())
	}
}

func TestEmptied(t *testing.T) {
	b := three()
	b = b.With(Zstd, []byte("packed"), 3, 1007)
	got := b.Emptied()
	if next, _, err := Next(got); err != nil || len(next) != HeaderLen {
		t.Fatalf("it is no batch: %v", err)
	}
	if got.Count() != 0 || got.Codec() != None || got.BaseOffset() != 100 || got.NextOffset() != 103 || got.MaxTimestamp() != 1007 ||
		got.BaseTimestamp() != -1 || got.ProducerID() != 9 || got.ProducerEpoch() != 2 || got.BaseSequence() != 40 {
		t.Errorf("header is %x", got)
	}
	if err := got.Each(got.Payload(), func(Record, []byte) error { return errors.New("a record") }); err != nil {
		t.Error(err)
	}
}
