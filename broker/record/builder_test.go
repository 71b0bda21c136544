package record

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// samples are records with all that makes one differ from another.
func samples() (timestamps []int64, records []Record) {
	for _, r := range []struct {
		at         int64
		key, value []byte
		headers    []Header
	}{
		{1_400_000_000_000, []byte("press3"), []byte("21.5"), nil},
		{1_400_000_000_001, nil, nil, nil},
		{1_300_000_000_000, []byte{}, []byte{}, []Header{{Key: "", Value: nil}}},
		{-1, bytes.Repeat([]byte("k"), 63), bytes.Repeat([]byte("v"), 64), nil},
		{math.MaxInt64, nil, bytes.Repeat([]byte{0}, 9000), []Header{{Key: "a", Value: []byte{}}, {Key: "a", Value: []byte("2")}, {Key: "µ", Value: nil}}},
		{1_400_000_000_002, []byte("press3"), nil, slices.Repeat([]Header{{Key: "h", Value: []byte("v")}}, 100)},
	} {
		timestamps = append(timestamps, r.at)
		records = append(records, Record{
			OffsetDelta: int32(len(records)), TimestampDelta: r.at - timestamps[0],
			Key: r.key, Value: r.value, Headers: r.headers,
		})
	}
	return timestamps, records
}

func built(t *testing.T) (Batch, []Record) {
	t.Helper()
	var bu Builder
	timestamps, records := samples()
	for i, r := range records {
		bu.Add(timestamps[i], r.Key, r.Value, r.Headers)
		if bu.Count() != i+1 {
			t.Errorf("after %d records: count %d", i+1, bu.Count())
		}
	}
	size := bu.Len()
	b := bu.Batch()
	if len(b) != size {
		t.Errorf("the batch has %d bytes, its builder said %d", len(b), size)
	}
	return b, records
}

func collect(t *testing.T, b Batch) []Record {
	t.Helper()
	var got []Record
	if err := Records(b.Payload(), b.Count(), func(r Record) bool { got = append(got, r); return true }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBuilder(t *testing.T) {
	b, want := built(t)
	if _, rest, err := Next(b); err != nil || len(rest) != 0 {
		t.Errorf("Next: %d bytes left, err %v", len(rest), err)
	}
	if err := b.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if got := collect(t, b); !reflect.DeepEqual(got, want) { // nil and empty differ
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if b.BaseOffset() != 0 || b.LeaderEpoch() != -1 || b.Codec() != None || b.Control() || b.Transactional() ||
		b.ProducerID() != -1 || b.ProducerEpoch() != -1 || b.BaseSequence() != -1 {
		t.Errorf("header % x", b[:HeaderLen])
	}
	if b.Count() != 6 || b.LastOffsetDelta() != 5 || b.BaseTimestamp() != 1_400_000_000_000 || b.MaxTimestamp() != math.MaxInt64 {
		t.Errorf("%d records to delta %d, time %d to %d", b.Count(), b.LastOffsetDelta(), b.BaseTimestamp(), b.MaxTimestamp())
	}
}

// A builder is ready again once its batch was taken, and shares nothing with it.
func TestBuilderAgain(t *testing.T) {
	var bu Builder
	if b := bu.Batch(); b != nil {
		t.Errorf("of nothing: %d bytes", len(b))
	}
	value := []byte("first")
	bu.Add(5, nil, value, nil)
	first := bu.Batch()
	kept := slices.Clone(first)
	if bu.Len() != 0 || bu.Count() != 0 || bu.Batch() != nil {
		t.Errorf("after Batch: %d bytes, %d records", bu.Len(), bu.Count())
	}
	copy(value, "XXXXX")
	bu.Add(1, nil, []byte("2"), nil)
	second := bu.Batch()
	if !bytes.Equal(first, kept) {
		t.Error("what came later changed the first batch")
	}
	if second.BaseTimestamp() != 1 || second.MaxTimestamp() != 1 || second.Count() != 1 || second.Validate() != nil {
		t.Errorf("second: time %d to %d, %d records, %v", second.BaseTimestamp(), second.MaxTimestamp(), second.Count(), second.Validate())
	}
}

// Another implementation of the format reads what Builder wrote, field by field.
func TestBuilderAgainstKmsg(t *testing.T) {
	b, want := built(t)
	b.Stamp(77, 3)
	var theirs kmsg.RecordBatch
	if err := theirs.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(theirs.AppendTo(nil), b) {
		t.Error("kmsg writes another batch than it read")
	}
	if theirs.FirstOffset != 77 || theirs.PartitionLeaderEpoch != 3 || theirs.Magic != 2 || int(theirs.Length) != len(b)-12 ||
		theirs.LastOffsetDelta != 5 || theirs.NumRecords != 6 || theirs.FirstTimestamp != b.BaseTimestamp() ||
		theirs.MaxTimestamp != math.MaxInt64 || theirs.ProducerID != -1 || theirs.ProducerEpoch != -1 || theirs.FirstSequence != -1 {
		t.Errorf("kmsg reads %+v", theirs)
	}
	rest := theirs.Records
	for i, w := range want {
		var r kmsg.Record
		body, after, err := splitRecord(rest)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if err := r.ReadFrom(rest[:len(rest)-len(after)]); err != nil {
			t.Fatalf("record %d of %d bytes: %v", i, len(body), err)
		}
		if got := fromKmsg(r); !reflect.DeepEqual(got, w) {
			t.Errorf("kmsg reads %+v, want %+v", got, w)
		}
		rest = after
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes follow the last record", len(rest))
	}
}

func fromKmsg(r kmsg.Record) Record {
	out := Record{OffsetDelta: r.OffsetDelta, TimestampDelta: r.TimestampDelta64, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, Header{Key: h.Key, Value: h.Value})
	}
	return out
}

// What another implementation wrote is read, and every field of the header with
// it.
func TestNextAgainstKmsg(t *testing.T) {
	_, want := samples()
	var records []byte
	for _, w := range want {
		r := kmsg.Record{OffsetDelta: w.OffsetDelta, TimestampDelta64: w.TimestampDelta, Key: w.Key, Value: w.Value}
		for _, h := range w.Headers {
			r.Headers = append(r.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // a length of 0 takes one byte
		records = r.AppendTo(records)
	}
	theirs := kmsg.RecordBatch{
		FirstOffset: 1 << 33, PartitionLeaderEpoch: 9, Magic: 2, Attributes: 0x18, LastOffsetDelta: 5,
		FirstTimestamp: 1_400_000_000_000, MaxTimestamp: 1_500_000_000_000, ProducerID: 1 << 34, ProducerEpoch: 11, FirstSequence: 12,
		NumRecords: 6, Records: records,
	}
	b := altered(theirs.AppendTo(nil), func(b Batch) Batch { return b }) // sets length and checksum
	got, rest, err := Next(b)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%d bytes left, err %v", len(rest), err)
	}
	if got.BaseOffset() != 1<<33 || got.LeaderEpoch() != 9 || !got.LogAppendTime() || !got.Transactional() || got.Control() ||
		got.LastOffsetDelta() != 5 || got.BaseTimestamp() != theirs.FirstTimestamp || got.MaxTimestamp() != theirs.MaxTimestamp ||
		got.ProducerID() != 1<<34 || got.ProducerEpoch() != 11 || got.BaseSequence() != 12 || got.Count() != 6 {
		t.Errorf("of %+v was read % x", theirs, got[:HeaderLen])
	}
	if err := got.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if records := collect(t, got); !reflect.DeepEqual(records, want) {
		t.Errorf("got  %+v\nwant %+v", records, want)
	}
}

// A batch for which there is room is not copied, whatever is added to it.
func TestBuilderGrow(t *testing.T) {
	var want Builder
	add := func(bu *Builder) {
		for i := range 100 {
			bu.Add(int64(i), []byte("key"), make([]byte, 100), nil)
		}
	}
	add(&want)
	size := want.Len()
	allocations := testing.AllocsPerRun(10, func() {
		var bu Builder
		bu.Grow(size)
		add(&bu)
	})
	if allocations > 2 { // the room, and under the race detector the Builder
		t.Errorf("%v allocations, want 2 at most", allocations)
	}
	var got Builder
	got.Grow(size)
	add(&got)
	got.Grow(1) // less than there is: nothing happens
	if string(got.Batch()) != string(want.Batch()) {
		t.Error("a batch with room differs from one that grew")
	}
}
