package commitlog

import (
	"context"
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

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

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
