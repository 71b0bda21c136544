package group

import (
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// of makes b a batch of a producer's transaction, or of its end. The places are those
// of the header of a batch.
func of(producerID int64, b record.Batch, control bool) record.Batch {
	b[22] |= 0x10 // attributes, second byte
	if control {
		b[22] |= 0x20
	}
	binary.BigEndian.PutUint64(b[43:], uint64(producerID))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func batchOf(records ...entry) record.Batch {
	var bu record.Builder
	for _, r := range records {
		bu.Add(1, r.key, r.value, nil)
	}
	return bu.Batch()
}

func committed(o Offset) entry { return offsetRecord("readers", &o, 1000) }

func forgotten(partition int32) entry {
	return entry{key: offsetKey("readers", TopicPartition{"press", partition})}
}

func ended(producerID int64, with byte) record.Batch {
	return of(producerID, batchOf(entry{[]byte{0, 0, 0, with}, []byte{0, 0, 0, 0, 0, 9}}), true)
}

// Offsets that a transaction commits count when it does, from where they stand in the
// log, and not when it is aborted or has no end.
func TestLoadTransactions(t *testing.T) {
	const abort, commit = 0, 1
	in := func(producerID int64, records ...entry) record.Batch {
		return of(producerID, batchOf(records...), false)
	}
	for name, tc := range map[string]struct {
		log  []record.Batch
		want []Offset
		open int
	}{
		"committed":    {[]record.Batch{in(1, committed(at(0, 5)), committed(at(1, 6))), ended(1, commit)}, []Offset{at(0, 5), at(1, 6)}, 0},
		"aborted":      {[]record.Batch{batchOf(committed(at(0, 4))), in(1, committed(at(0, 5))), ended(1, abort)}, []Offset{at(0, 4)}, 0},
		"without end":  {[]record.Batch{batchOf(committed(at(0, 4))), in(1, committed(at(0, 5)))}, []Offset{at(0, 4)}, 1},
		"of another":   {[]record.Batch{in(1, committed(at(0, 5))), in(2, committed(at(1, 6))), ended(2, commit)}, []Offset{at(1, 6)}, 1},
		"overtaken":    {[]record.Batch{in(1, committed(at(0, 5))), batchOf(committed(at(0, 3))), ended(1, commit)}, []Offset{at(0, 3)}, 0},
		"twice":        {[]record.Batch{in(1, committed(at(0, 5))), in(1, committed(at(0, 7))), ended(1, commit), in(1, committed(at(0, 9))), ended(1, abort)}, []Offset{at(0, 7)}, 0},
		"taken back":   {[]record.Batch{in(1, committed(at(0, 5)), committed(at(1, 6))), in(1, forgotten(0)), ended(1, commit)}, []Offset{at(1, 6)}, 0},
		"another kind": {[]record.Batch{in(1, committed(at(0, 5))), ended(1, 7)}, nil, 1},
	} {
		l := &loader{groups: map[string]*group{}}
		next := int64(0)
		for _, b := range tc.log {
			b.Stamp(next, 0)
			next = b.NextOffset()
			l.batch(b, time.Now())
		}
		var got []Offset
		if g := l.groups["readers"]; g != nil {
			got = g.all()
		}
		if !reflect.DeepEqual(got, tc.want) || l.undecided() != tc.open || l.skipped != 0 {
			t.Errorf("%s: %+v, %d without an end, %d skipped (%v), want %+v, %d, 0", name, got, l.undecided(), l.skipped, l.firstSkipped, tc.want, tc.open)
		}
	}
}

// What transactions without an end take is bounded, and what is beyond is counted.
func TestSuspendedAreBounded(t *testing.T) {
	l := &loader{groups: map[string]*group{}}
	o := at(0, 5)
	for i := range int32(maxSuspended + 3) {
		l.suspend(int64(i%7), read{group: "readers", TopicPartition: TopicPartition{"press", i}, offset: &o}, int64(i))
	}
	if l.undecided() != maxSuspended || l.skipped != 3 {
		t.Errorf("%d kept, %d skipped, want %d, 3", l.undecided(), l.skipped, maxSuspended)
	}
}
