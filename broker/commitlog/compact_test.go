package commitlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/disk"
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

// Random writes over many segments, compacted again and again, with all codecs,
// with little and with much memory for keys, over restarts: what a reader makes of
// the log is what was written, every record is at its offset, nothing is older than
// it has to be, and nothing counts as lost.
func TestCompactModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 0))
			o := cleanerOptions
			o.BufferBytes = []int64{slotBytes * 8, slotBytes * 40, 1 << 20}[rng.IntN(3)]
			fsys := disk.NewCrash(seed)
			d := start(t, fsys, Options{})
			l := d.mustOpen(t, "t-0", compacting)
			var written []found
			for range 12 {
				for range 30 {
					c := record.Codec(rng.IntN(5))
					records := make([]keyed, 1+rng.IntN(6))
					for i := range records {
						records[i] = keyed{fmt.Sprint("key", rng.IntN(25)), strings.Repeat(fmt.Sprint(len(written)+i, " "), rng.IntN(12)), rng.IntN(8) == 0}
					}
					base := l.mustAppend(t, keyedBatch(t, c, records...))
					for i, r := range records {
						if r.tombstone {
							r.value = ""
						}
						written = append(written, found{base + int64(i), int64(1000 + i), r})
					}
				}
				if rng.IntN(2) == 0 {
					seal(t, l)
				}
				compact(t, d.Dir, o, whole(l))
				if rng.IntN(3) == 0 {
					if err := d.stop(); err != nil {
						t.Fatal(err)
					}
					d = start(t, fsys, Options{})
					l = d.mustOpen(t, "t-0", compacting)
				}
				all := contents(t, l.Log)
				if want := latest(written); !maps.Equal(latest(all), want) {
					t.Fatalf("a reader finds %v\nwant %v", latest(all), want)
				}
				for _, f := range all {
					if f != written[f.offset] {
						t.Fatalf("at offset %d is %+v, want %+v", f.offset, f, written[f.offset])
					}
				}
				checkCompacted(t, l.Log, all)
				checkReads(t, l.Log, all)
				if n := counted(d.Dir); n != 0 {
					t.Fatalf("%v gaps and damaged bytes counted", n)
				}
				for key := range d.files.open {
					if !slices.Contains(l.view.Load().segments, key.seg) {
						t.Fatalf("a file of segment %d is open, which is gone", key.seg.baseOffset)
					}
				}
				if used, size := d.budget.used.Load(), l.Size(); used != size {
					t.Fatalf("the budget counts %d bytes, and the log has %d", used, size)
				}
			}
		})
	}
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

// Tombstones stay until they have been compacted for as long as the settings say,
// by the age clock, and go with the first compaction after that.
func TestCompactTombstones(t *testing.T) {
	clock := newFakeClock()
	fsys := disk.NewCrash(1)
	d := start(t, fsys, Options{Clock: clock})
	l := d.mustOpen(t, "t-0", compacting)
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "1"}, keyed{key: "b", value: "2"}))
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", tombstone: true}))
	dirty := func() {
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "c", value: strings.Repeat("c", 700)}))
		seal(t, l)
		compact(t, d.Dir, cleanerOptions, whole(l))
	}
	has := func() bool {
		_, there := tombstones(contents(t, l.Log))["a"]
		return there
	}
	clock.pass(100 * time.Hour) // before it is compacted, time does not count
	for i, step := range []struct {
		pass time.Duration
		has  bool
	}{{0, true}, {30 * time.Minute, true}, {29 * time.Minute, true}, {time.Minute, false}} {
		clock.pass(step.pass)
		clock.set(clock.Wall().Add(1000*time.Hour), false) // the wall clock says nothing
		dirty()
		if has() != step.has {
			t.Fatalf("step %d: tombstone there %v, want %v", i, has(), step.has)
		}
		if got := latest(contents(t, l.Log)); got["b"] != "2" || len(got) != 2 {
			t.Fatalf("step %d: a reader finds %v", i, got)
		}
		fsys = fsys.Kill() // no stop saves what compaction did not
		d = start(t, fsys, Options{Clock: clock})
		l = d.mustOpen(t, "t-0", compacting)
	}
}

// When it is not known any more for how long tombstones have waited, they wait from
// then on, and go too.
func TestCompactTombstonesWithoutAges(t *testing.T) {
	clock, fsys := newFakeClock(), disk.NewCrash(1)
	for step, there := range []bool{true, true, false} {
		d := start(t, fsys, Options{Clock: clock})
		l := d.mustOpen(t, "t-0", compacting)
		clock.pass(2 * compacting.DeleteRetention)
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: fmt.Sprint("a", step), value: strings.Repeat("a", 1400)}))
		if step == 0 {
			l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "gone", tombstone: true}))
		}
		seal(t, l)
		compact(t, d.Dir, cleanerOptions, whole(l))
		if _, has := tombstones(contents(t, l.Log))["gone"]; has != there {
			t.Fatalf("step %d: tombstone there %v, want %v", step, has, there)
		}
		fsys = fsys.Kill()
		if step == 0 {
			if err := fsys.Remove("data/t-0/" + agesFile); err != nil {
				t.Fatal(err)
			}
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

// What a producer sent last stays, though it be without records, as long as the
// producer is remembered; and so does the last batch of each segment.
func TestCompactKeepsProducersLastBatch(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	l.mustAppend(t, from(keyedBatch(t, record.Zstd, keyed{key: "a", value: "1"}, keyed{key: "b", value: "2"}), 7, 0))
	l.mustAppend(t, from(keyedBatch(t, record.Zstd, keyed{key: "a", value: "3"}, keyed{key: "b", value: "4"}), 7, 2))
	l.mustAppend(t, from(keyedBatch(t, record.None, keyed{key: "a", value: "5"}), 8, 0))
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "6"}, keyed{key: "b", value: "7"}))
	seal(t, l)
	known := map[int64]int64{7: 3}
	log := Compactable{l.Log, l.EndOffset(), func() map[int64]int64 { return known }}
	compact(t, d.Dir, cleanerOptions, log)
	b, rest, err := record.Next(everything(t, l.Log))
	if err != nil || b.ProducerID() != 7 || b.BaseSequence() != 2 || b.BaseOffset() != 2 || b.LastOffset() != 3 || b.Count() != 0 || b.Codec() != record.None {
		t.Fatalf("first is %x, %v, want the producer's last, empty", b, err)
	}
	if next, rest, err := record.Next(rest); err != nil || next.BaseOffset() != 5 || next.Count() != 2 || len(rest) != 0 {
		t.Fatalf("then comes %x, %v, want the last batch", next, err)
	}
	delete(known, 7)
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "8"}, keyed{key: "b", value: "9"}))
	seal(t, l)
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "10"}, keyed{key: "b", value: "11"}))
	seal(t, l)
	compact(t, d.Dir, cleanerOptions, log.at(l.EndOffset()))
	if got := contents(t, l.Log); len(got) != 2 || got[0].offset != 9 {
		t.Errorf("got %+v", got)
	}
	if b := record.Batch(everything(t, l.Log)); b.ProducerID() != -1 || l.StartOffset() != 0 {
		t.Errorf("the log starts at %d with %x", l.StartOffset(), b[:record.HeaderLen])
	}
}

// The batch for whose sake a producer's earlier ones go is on the disk before they are
// gone.
func TestCompactSyncsProducersLastBatch(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{Policy: Interval, Interval: time.Hour})
	l := d.mustOpen(t, "t-0", compacting)
	l.mustAppend(t, from(keyedBatch(t, record.None, keyed{key: "a", value: "1"}), 7, 0))
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "2"}))
	seal(t, l)
	l.mustAppend(t, from(keyedBatch(t, record.None, keyed{key: "b", value: "3"}), 7, 1))
	last := l.EndOffset() - 1
	if l.DurableEnd() > last {
		t.Fatalf("durable to %d before anything asked for it", l.DurableEnd())
	}
	compact(t, d.Dir, cleanerOptions, Compactable{l.Log, l.EndOffset(), func() map[int64]int64 { return map[int64]int64{7: last} }})
	if got := contents(t, l.Log); len(got) != 2 || l.DurableEnd() <= last {
		t.Errorf("%+v is left, durable to %d, want beyond %d", got, l.DurableEnd(), last)
	}
}

func (c Compactable) at(highWatermark int64) Compactable {
	c.HighWatermark = highWatermark
	return c
}

// What cannot be looked into stays byte for byte, and the tombstones behind it do,
// for it may hold what they delete.
func TestCompactLeavesWhatItCannotRead(t *testing.T) {
	control := keyedBatch(t, record.None, keyed{key: "a", value: "mark"})
	control[22] |= 0x20
	transaction := keyedBatch(t, record.None, keyed{key: "a", value: "maybe"})
	transaction[22] |= 0x10
	garbage := keyedBatch(t, record.None, keyed{key: "a", value: "1"}).With(record.Gzip, []byte("no gzip"), 1, 0)
	large := keyedBatch(t, record.Zstd, keyed{key: "a", value: strings.Repeat("x", 2<<20)})
	for name, odd := range map[string]record.Batch{
		"control": control.With(record.None, control.Payload(), 1, 0), "transaction": transaction.With(record.None, transaction.Payload(), 1, 0),
		"garbage": garbage, "large": large,
	} {
		clock := newFakeClock()
		d := start(t, disk.NewCrash(1), Options{Clock: clock})
		l := d.mustOpen(t, "t-0", compacting)
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "0"}))
		l.mustAppend(t, odd)
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", tombstone: true}))
		for range 3 {
			seal(t, l)
			compact(t, d.Dir, cleanerOptions, whole(l))
			clock.pass(10 * time.Hour)
			l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "b", value: "later"}))
		}
		got := everything(t, l.Log)
		b, rest, err := record.Next(got)
		if err != nil || string(b) != string(odd) {
			t.Errorf("%s: the log begins with %x, %v\nwant %x", name, b, err, odd)
			continue
		}
		if b, _, err = record.Next(rest); err != nil || b.BaseOffset() != 2 || b.Count() != 1 {
			t.Errorf("%s: behind it is %x, %v, want the tombstone", name, b, err)
		}
	}
}

// A batch without records has no time: Kafka's tools hold each entry of a time index
// against the records of its batch.
func TestEmptyBatchHasNoTime(t *testing.T) {
	x, b := newIndex(0), keyedBatch(t, record.None, keyed{key: "a", value: "1"})
	x.add(b.Emptied(), 0, record.HeaderLen)
	if _, times := x.files(); len(times) != 0 || x.maxTimestamp != -1 {
		t.Errorf("the time index has %x", times)
	}
	b.Stamp(1, 0)
	x.add(b, record.HeaderLen, int64(len(b)))
	if _, times := x.files(); len(times) != timeEntryLen {
		t.Errorf("the time index has %x, want the batch with a record", times)
	}
}

// Records without a key, from before the topic was compacted, go, as Kafka's do.
func TestCompactDropsRecordsWithoutKey(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	l.mustAppend(t, keyedBatch(t, record.LZ4, keyed{key: "-", value: "1"}, keyed{key: "", value: "2"}, keyed{key: "b", value: "3"}))
	seal(t, l)
	compact(t, d.Dir, cleanerOptions, whole(l))
	if got := latest(contents(t, l.Log)); !maps.Equal(got, map[string]string{"": "2", "b": "3"}) {
		t.Errorf("a reader finds %v", got)
	}
	if n := testutil.ToFloat64(d.metrics.recordsRemoved); n != 1 {
		t.Errorf("%v records removed, want 1", n)
	}
}

// A segment of which everything stays is not written again.
func TestCompactWritesNothingInVain(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	for i := range 20 {
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: fmt.Sprint(i), value: strings.Repeat("v", 600)}))
	}
	before := everything(t, l.Log)
	compact(t, d.Dir, cleanerOptions, whole(l))
	if n := testutil.ToFloat64(d.metrics.writtenBytes); n != 0 || testutil.ToFloat64(d.metrics.rounds) != 1 {
		t.Errorf("%v bytes written in %v rounds, want 0 in 1", n, testutil.ToFloat64(d.metrics.rounds))
	}
	if after := everything(t, l.Log); string(after) != string(before) {
		t.Error("the log is another one")
	}
}

// Too little memory for the keys takes several rounds, and each says that it was
// too little.
func TestCompactWithLittleMemory(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	for range 2 {
		for i := range 40 {
			l.mustAppend(t, keyedBatch(t, record.Snappy, keyed{key: fmt.Sprint(i), value: strings.Repeat("v", 90)}))
		}
	}
	seal(t, l)
	o := cleanerOptions
	o.BufferBytes = 12 * slotBytes // 9 keys
	compact(t, d.Dir, o, whole(l))
	if full, rounds := testutil.ToFloat64(d.metrics.fullRounds), testutil.ToFloat64(d.metrics.rounds); full < 7 || rounds != full+1 {
		t.Errorf("%v rounds, %v of them full", rounds, full)
	}
	checkCompacted(t, l.Log, contents(t, l.Log))
}

// The settings say when a log is compacted, and what of it.
func TestCompactWhen(t *testing.T) {
	clock := newFakeClock()
	d := start(t, disk.NewCrash(1), Options{Clock: clock})
	l := d.mustOpen(t, "t-0", compacting)
	batch := func() { // some 800 bytes: one in each segment
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 700)}))
	}
	batch()
	batch()
	batch()
	seal(t, l)
	clock.pass(time.Minute)
	batch()
	seal(t, l)
	end := l.EndOffset()
	for name, tc := range map[string]struct {
		cleanEnd, highWatermark int64
		change                  func(*Settings)
		due                     bool
		until                   int64
	}{
		"all":           {0, end, func(*Settings) {}, true, 4},
		"clean":         {4, end, func(*Settings) {}, false, 4},
		"highWatermark": {0, 3, func(*Settings) {}, true, 3},
		"inside":        {0, 2, func(*Settings) {}, true, 2},
		"beyond":        {99, end, func(*Settings) {}, true, 4},
		"enough":        {2, end, func(s *Settings) { s.MinDirtyRatio = 0.4 }, true, 4},
		"tooLittle":     {2, end, func(s *Settings) { s.MinDirtyRatio = 0.6 }, false, 4},
		"overdue":       {2, end, func(s *Settings) { s.MinDirtyRatio, s.MaxCompactionLag = 0.6, 30*time.Second }, true, 4},
		"notOverdue":    {2, end, func(s *Settings) { s.MinDirtyRatio, s.MaxCompactionLag = 0.6, 2*time.Minute }, false, 4},
		"young":         {0, end, func(s *Settings) { s.MinCompactionLag = 30 * time.Second }, true, 3},
		"allYoung":      {0, end, func(s *Settings) { s.MinCompactionLag = 2 * time.Minute }, false, 0},
	} {
		s := compacting
		tc.change(&s)
		l.Configure(s)
		now := d.clock.now()
		got := l.dirt(tc.cleanEnd, tc.highWatermark, now)
		if got.due(&s) != tc.due {
			t.Errorf("%s: due %v, %+v, ratio %v", name, got.due(&s), got, got.ratio())
		}
		if until := l.cleanableEnd(l.view.Load(), got.from, tc.highWatermark, now); until != tc.until {
			t.Errorf("%s: up to %d, want %d", name, until, tc.until)
		}
	}
	s := compacting
	s.Compact = false
	l.Configure(s)
	compact(t, d.Dir, cleanerOptions, whole(l))
	if n := testutil.ToFloat64(d.metrics.rounds); n != 0 {
		t.Errorf("%v rounds over a log that is not to be compacted", n)
	}
}

func TestGroups(t *testing.T) {
	seg := func(base, end, size int64, horizon time.Duration) part {
		return part{sizeBytes: size, baseOffset: base, endOffset: end, horizon: horizon}
	}
	alone := seg(10, 20, 10, 0)
	alone.alone = true
	for name, tc := range map[string]struct {
		parts []part
		want  string
	}{
		"none":     {nil, "[]"},
		"fit":      {[]part{seg(0, 10, 50, 0), seg(10, 20, 50, 0)}, "[{0 2}]"},
		"tooLarge": {[]part{seg(0, 10, 50, 0), seg(10, 20, 51, 0), seg(20, 30, 49, 0)}, "[{0 1} {1 3}]"},
		"oneLarge": {[]part{seg(0, 10, 500, 0), seg(10, 20, 1, 0)}, "[{0 1} {1 2}]"},
		"tooFar":   {[]part{seg(0, 10, 1, 0), seg(10, 10+1<<31, 1, 0), seg(10+1<<31, 20+1<<31, 1, 0)}, "[{0 1} {1 2} {2 3}]"},
		"sameTime": {[]part{seg(0, 10, 1, 60), seg(10, 20, 1, 69)}, "[{0 2}]"},
		"later":    {[]part{seg(0, 10, 1, 69), seg(10, 20, 1, 70)}, "[{0 1} {1 2}]"},
		"without":  {[]part{seg(0, 10, 1, 0), seg(10, 20, 1, 69), seg(20, 30, 1, 0), seg(30, 40, 1, 71)}, "[{0 3} {3 4}]"},
		"alone":    {[]part{seg(0, 10, 1, 0), alone, seg(20, 30, 1, 0)}, "[{0 1} {1 2} {2 3}]"},
	} {
		if got := fmt.Sprint(groups(tc.parts, 100, 10)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Of several logs the dirtiest is first; those that are deleted leave no trace for
// another of their name.
func TestCompactPicksDirtiest(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	var logs []Compactable
	for i := range 3 {
		l := d.mustOpen(t, fmt.Sprint("t-", i), compacting)
		for range 1 + i {
			l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 1000)}))
			seal(t, l)
		}
		if err := d.cleanPoints.set(l.name, 1); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, whole(l))
	}
	c := NewCleaner(d.Dir, cleanerOptions)
	if got, from, found := c.pick(logs); !found || got.Log != logs[2].Log || from != 1 {
		t.Errorf("picked %s from %d, %v", got.Log.name, from, found)
	}
	if got := testutil.ToFloat64(d.metrics.dirtiest); int(got) != 66 {
		t.Errorf("the dirtiest is %v percent dirty, want 66", got)
	}
	if err := d.DeleteLog("t-2"); err != nil {
		t.Fatal(err)
	}
	points, err := parseOffsets(get(t, d.fs, "data/"+cleanerFile))
	if err != nil || !maps.Equal(points, map[string]int64{"t-0": 1, "t-1": 1}) {
		t.Errorf("the checkpoint has %v, %v", points, err)
	}
}

// The checkpoint survives a restart; when it is damaged, all is compacted again.
func TestCleanPoints(t *testing.T) {
	fsys := disk.NewCrash(1)
	d := start(t, fsys, Options{})
	if got := d.cleanPoints.get("t-0"); got != 0 {
		t.Errorf("got %d before anything was compacted", got)
	}
	if err := d.cleanPoints.set("t-0", 17); err != nil {
		t.Fatal(err)
	}
	d.stop()
	if text := string(get(t, fsys, "data/"+cleanerFile)); text != "0\n1\nt 0 17\n" {
		t.Errorf("the file is %q", text)
	}
	d = start(t, fsys, Options{})
	if got := d.cleanPoints.get("t-0"); got != 17 {
		t.Errorf("got %d after a restart, want 17", got)
	}
	d.stop()
	put(t, fsys, "data/"+cleanerFile, []byte("0\n2\nt 0 17\n"))
	d = start(t, fsys, Options{})
	if got := d.cleanPoints.get("t-0"); got != 0 {
		t.Errorf("got %d from a damaged file", got)
	}
}

// Readers and a writer go on while a log is compacted over and over.
func TestCompactWhileReading(t *testing.T) {
	d := start(t, disk.OS{}, Options{Policy: OS})
	l := d.mustOpen(t, "t-0", compacting)
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	for i := range 2 {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		others.Go(func() {
			for ctx.Err() == nil {
				at := rng.Int64N(l.EndOffset() + 1)
				for ctx.Err() == nil && at < l.EndOffset() {
					got, err := l.Read(at, l.EndOffset(), 3000, true)
					if err != nil || len(got) == 0 {
						t.Errorf("read from %d: %d bytes, %v", at, len(got), err)
						return
					}
					for len(got) > 0 {
						b, rest, err := record.Next(got)
						if err != nil || b.NextOffset() <= at {
							t.Errorf("read from %d: batch ends at %d, %v", at, b.NextOffset(), err)
							return
						}
						at, got = b.NextOffset(), rest
					}
				}
				if _, _, err := l.BatchForTime(1003, 0, l.EndOffset()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	written := map[string]string{}
	for i := range 1500 {
		r := keyed{key: fmt.Sprint(i % 37), value: strings.Repeat("v", i%90)}
		written[r.key] = r.value
		l.mustAppend(t, keyedBatch(t, record.Codec(i%5), r))
		if i%50 == 49 {
			compact(t, d.Dir, cleanerOptions, whole(l))
		}
	}
	if got := latest(contents(t, l.Log)); !maps.Equal(got, written) {
		t.Errorf("a reader finds %v, want %v", got, written)
	}
	if n := counted(d.Dir); n != 0 {
		t.Errorf("%v gaps and damaged bytes counted", n)
	}
}

// A disk that is full while a log is compacted leaves the log as it was, serving,
// and nothing behind.
func TestCompactOnFullDisk(t *testing.T) {
	full := &faulty{FS: disk.NewCrash(1)}
	d := start(t, full, Options{})
	l := d.mustOpen(t, "t-0", compacting)
	for range 10 {
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 700)}))
	}
	before := everything(t, l.Log)
	full.onWrite = func(name string, p []byte) (int, error) {
		if strings.HasSuffix(name, cleanedExt) {
			return len(p) / 2, errNoSpace
		}
		return 0, nil
	}
	c := NewCleaner(d.Dir, cleanerOptions)
	if c.CleanDirtiest(context.Background(), []Compactable{whole(l)}) || testutil.ToFloat64(d.metrics.uncleanableLogs) != 1 {
		t.Error("the cleaner goes on, and counts no log that it leaves alone")
	}
	if c.CleanDirtiest(context.Background(), []Compactable{whole(l)}) || testutil.ToFloat64(d.metrics.rounds) != 1 {
		t.Error("it does not leave the log alone")
	}
	if l.failure() != nil || string(everything(t, l.Log)) != string(before) {
		t.Errorf("the log is another one, or off line: %v", l.failure())
	}
	entries, err := full.ReadDir("data/t-0")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), cleanedExt) {
			t.Errorf("%s is left", e.Name())
		}
	}
	full.onWrite = nil
	compact(t, d.Dir, cleanerOptions, whole(l))
	if got := contents(t, l.Log); len(got) != 2 {
		t.Errorf("%d records are left, want one sealed and one active", len(got))
	}
}

// Compaction that cannot make its new segment's name durable takes the log off
// line: what the disk holds is not known then.
func TestCompactFailedSync(t *testing.T) {
	bad := &faulty{FS: disk.NewCrash(1)}
	d := start(t, bad, Options{})
	l := d.mustOpen(t, "t-0", compacting)
	for range 4 {
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 700)}))
	}
	bad.onSyncDir = func(name string) error {
		if _, err := bad.Stat(name + "/00000000000000000000.log" + swapExt); err != nil { // it is about something else
			return nil
		}
		return errors.New("no")
	}
	NewCleaner(d.Dir, cleanerOptions).CleanDirtiest(context.Background(), []Compactable{whole(l)})
	if err := l.failure(); !errors.Is(err, ErrOffline) {
		t.Errorf("the log's failure is %v, want %v", err, ErrOffline)
	}
}

// A stop does not wait for a compaction that is throttled.
func TestCompactStops(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	for range 10 {
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 700)}))
	}
	o := cleanerOptions
	o.BytesPerSecond = 1
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() { ended <- NewCleaner(d.Dir, o).CleanDirtiest(ctx, []Compactable{whole(l)}) }()
	cancel()
	if <-ended {
		t.Error("the cleaner wants to go on")
	}
	if n := testutil.ToFloat64(d.metrics.writtenBytes); n != 0 {
		t.Errorf("%v bytes written", n)
	}
}

// What compaction leaves in a data directory is known to who checks one.
func TestCompactedFilesAreKnown(t *testing.T) {
	fsys := disk.NewCrash(1)
	d := start(t, fsys, Options{})
	l := d.mustOpen(t, "t-0", compacting)
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "1"}, keyed{key: "a", value: "2"}))
	seal(t, l)
	compact(t, d.Dir, cleanerOptions, whole(l))
	d.stop()
	for _, ext := range []string{cleanedExt, swapExt} {
		put(t, fsys, "data/t-0/00000000000000000000.log"+ext, nil)
	}
	err := CheckFiles(fsys, "data", func(r FileReport) { t.Errorf("%+v", r) })
	if err != nil {
		t.Error(err)
	}
}

// A log that is made anew is compacted from its start, though the checkpoint knows
// one of its name: that was removed by hand perhaps. What lay before it would never
// be compacted, and a deleted key's value come back when its tombstone goes.
func TestCompactNewLogOfAnOldName(t *testing.T) {
	fsys := disk.NewCrash(1)
	for i := range 2 {
		d := start(t, fsys, Options{})
		l := d.mustOpen(t, "t-0", compacting)
		for range 2 {
			l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "1"}))
			seal(t, l)
		}
		compact(t, d.Dir, cleanerOptions, whole(l))
		if n := len(contents(t, l.Log)); n != 1 {
			t.Errorf("log %d has %d records of one key", i, n)
		}
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		if err := fsys.RemoveAll("data/t-0"); err != nil {
			t.Fatal(err)
		}
	}
}

// A log that is deleted while it is compacted leaves no checkpoint to the next one
// of its name.
func TestCompactOfADeletedLog(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "1"}))
	seal(t, l)
	c := NewCleaner(d.Dir, cleanerOptions)
	c.keys = newOffsetMap(cleanerOptions.BufferBytes)
	r := newRound(context.Background(), c, whole(l), 0)
	if err := d.DeleteLog("t-0"); err != nil {
		t.Fatal(err)
	}
	r.view = &view{r.view.segments[1:]} // it has been through all by then
	if err := r.run(); !errors.Is(err, ErrClosed) || d.cleanPoints.get("t-0") != 0 {
		t.Errorf("compaction ends with %v; the checkpoint says %d", err, d.cleanPoints.get("t-0"))
	}
}
