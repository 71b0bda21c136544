package commitlog

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/record"
)

var cleanerOptions = CleanerOptions{
	BufferBytes: 1 << 20, MaxBatchBytes: 1 << 20, Decompress: codec.Decompress, Compress: codec.Compress,
}

// compacting has small segments, and compacts whatever there is to compact.
var compacting = Settings{SegmentBytes: 1500, RetentionBytes: -1, Retention: -1, Compact: true, DeleteRetention: time.Hour}

// keyed is a record of a test; without a value it is a tombstone.
type keyed struct {
	key, value string
	tombstone  bool
}

// keyedBatch returns the records as one batch, compressed as c says. A key of "-"
// is null.
func keyedBatch(t testing.TB, c record.Codec, records ...keyed) record.Batch {
	t.Helper()
	var bu record.Builder
	for i, r := range records {
		key, value := []byte(r.key), []byte(r.value)
		if r.key == "-" {
			key = nil
		}
		if r.tombstone {
			value = nil
		}
		bu.Add(int64(1000+i), key, value, []record.Header{{Key: "h", Value: []byte("x")}})
	}
	b := bu.Batch()
	packed, err := codec.Compress(c, b.Payload())
	if err != nil {
		t.Fatal(err)
	}
	return b.With(c, packed, b.Count(), b.MaxTimestamp())
}

// from makes b one of an idempotent producer.
func from(b record.Batch, producerID int64, sequence int32) record.Batch {
	binary.BigEndian.PutUint64(b[43:], uint64(producerID))
	binary.BigEndian.PutUint16(b[51:], 0)
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	return b.With(b.Codec(), b.Payload(), b.Count(), b.MaxTimestamp())
}

// compact runs the cleaner until there is nothing to do.
func compact(t testing.TB, d *Dir, o CleanerOptions, logs ...Compactable) {
	t.Helper()
	c := NewCleaner(d, o)
	for range 1000 {
		if !c.CleanDirtiest(context.Background(), logs) {
			if c.keys != nil || len(c.resting) > 0 {
				t.Fatalf("the cleaner holds %v, and has given up on %v", c.keys != nil, c.resting)
			}
			return
		}
	}
	t.Fatal("the cleaner does not come to an end")
}

func whole(l *watched) Compactable {
	return Compactable{Log: l.Log, HighWatermark: l.EndOffset()}
}

// seal ends the active segment, so that it can be compacted.
func seal(t testing.TB, l *watched) {
	t.Helper()
	if err := l.rollForDrop(); err != nil {
		t.Fatal(err)
	}
}

// found is a record as a reader finds it.
type found struct {
	offset    int64
	timestamp int64
	keyed
}

// contents reads the log whole, and holds what every reader relies on: offsets go
// up, batches do not overlap, and each starts where a read from its offset starts.
func contents(t testing.TB, l *Log) []found {
	t.Helper()
	var all []found
	next := l.StartOffset()
	for rest := everything(t, l); len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if b.BaseOffset() < next {
			t.Fatalf("batch at %d after offset %d", b.BaseOffset(), next-1)
		}
		next, rest = b.NextOffset(), after
		payload, err := codec.Decompress(b.Codec(), b.Payload(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		err = b.Each(payload, func(r record.Record, _ []byte) error {
			f := found{b.BaseOffset() + int64(r.OffsetDelta), b.BaseTimestamp() + r.TimestampDelta, keyed{string(r.Key), string(r.Value), r.Value == nil}}
			if f.timestamp > b.MaxTimestamp() {
				t.Fatalf("record %+v is later than its batch's %d", f, b.MaxTimestamp())
			}
			all = append(all, f)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if next != l.EndOffset() {
		t.Fatalf("the log can be read up to %d, and ends at %d", next, l.EndOffset())
	}
	return all
}

// latest is what a reader makes of a log from its beginning: the last value of each
// key that is not deleted.
func latest(all []found) map[string]string {
	values := map[string]string{}
	for _, f := range all {
		if values[f.key] = f.value; f.tombstone {
			delete(values, f.key)
		}
	}
	return values
}

// counted is what was counted as lost.
func counted(d *Dir) (gaps float64) {
	return testutil.ToFloat64(d.metrics.gaps) + testutil.ToFloat64(d.metrics.quarantined)
}

// checkCompacted holds that no key comes twice in the sealed segments.
func checkCompacted(t testing.TB, l *Log, all []found) {
	t.Helper()
	end, at := l.view.Load().active().baseOffset, map[string]int64{}
	for _, f := range all {
		if f.offset >= end {
			continue
		}
		if before, twice := at[f.key]; twice {
			t.Fatalf("%s is at %d and at %d, both sealed", f.key, before, f.offset)
		}
		at[f.key] = f.offset
	}
}

// checkReads reads from every offset, and finds first what comes first.
func checkReads(t testing.TB, l *Log, all []found) {
	t.Helper()
	for offset := l.StartOffset(); offset < l.EndOffset(); offset++ {
		got, err := l.Read(offset, l.EndOffset(), 1, true)
		if err != nil || len(got) == 0 {
			t.Fatalf("read from %d: %d bytes, %v", offset, len(got), err)
		}
		b := record.Batch(got)
		i, _ := slices.BinarySearchFunc(all, offset, func(f found, offset int64) int { return int(f.offset - offset) })
		if b.NextOffset() <= offset || i < len(all) && b.BaseOffset() > all[i].offset {
			t.Fatalf("read from %d gives %d to %d; the next record is at %d", offset, b.BaseOffset(), b.LastOffset(), all[i].offset)
		}
	}
}

// tombstones returns those of a log, by key.
func tombstones(all []found) map[string]found {
	by := map[string]found{}
	for _, f := range all {
		if f.tombstone {
			by[f.key] = f
		}
	}
	return by
}

func (c Compactable) at(highWatermark int64) Compactable {
	c.HighWatermark = highWatermark
	return c
}
