package commitlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// compactWorld is a disk with one compacted log, and what was written to it.
type compactWorld struct {
	t       *testing.T
	what    string // which run this is, for failures
	fs      *disk.Crash
	rng     *rand.Rand
	written []found // by offset; those behind durable may be lost, and their offsets others'
	durable int64
	clock   *fakeClock
	waited  bool // tombstones may have had their time

	sequence  int32 // the idempotent producer's next
	lastBatch int64 // offset of the last record that it was told to be durable
}

func (w *compactWorld) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s: %s", w.what, fmt.Sprintf(format, args...))
}

// live runs a process that writes and compacts, until it is done or the power goes.
// With fewer than no appends it only opens the log.
func (w *compactWorld) live(appends int) {
	d, err := run(w.fs, "data", Options{BrokerID: 1, Clock: w.clock})
	if err != nil {
		w.mustBeCrash(err)
		return
	}
	defer d.stop()
	l, err := d.open("t-0", topicA, compacting)
	if err != nil {
		w.mustBeCrash(err)
		return
	}
	w.check(d, l)
	if appends < 0 {
		return
	}
	for i := range appends {
		if err := w.append(l); err != nil {
			w.mustBeCrash(err)
			return
		}
		if i%6 == 5 {
			w.compact(d, l)
		}
		if i%9 == 8 {
			w.clock.pass(compacting.DeleteRetention / 2)
			w.waited = true
			if err := d.checkpoint(true); err != nil {
				w.mustBeCrash(err)
				return
			}
		}
		if w.fs.Crashed() {
			return
		}
	}
	w.compact(d, l)
	w.check(d, l)
	if !w.fs.Crashed() {
		checkCompacted(w.t, l.Log, contents(w.t, l.Log))
	}
}

func (w *compactWorld) mustBeCrash(err error) {
	w.t.Helper()
	if !w.fs.Crashed() {
		w.fatalf("%v", err)
	}
}

// compact seals and compacts all that is there.
func (w *compactWorld) compact(d *running, l *watched) {
	if l.rollForDrop() != nil {
		return
	}
	c := NewCleaner(d.Dir, cleanerOptions)
	producers := func() map[int64]int64 { return map[int64]int64{7: w.lastBatch} }
	for c.CleanDirtiest(context.Background(), []Compactable{{l.Log, l.DurableEnd(), producers}}) {
	}
	if !w.fs.Crashed() && len(c.resting) > 0 {
		w.fatalf("the cleaner has given up")
	}
}

func (w *compactWorld) append(l *watched) error {
	records := make([]keyed, 1+w.rng.IntN(3))
	for i := range records {
		records[i] = keyed{key: fmt.Sprint("key", w.rng.IntN(9)), value: strings.Repeat(fmt.Sprint(w.rng.IntN(1000)), 1+w.rng.IntN(40))}
		if w.rng.IntN(5) == 0 {
			records[i] = keyed{key: records[i].key, tombstone: true}
		}
	}
	b := keyedBatch(w.t, record.Codec(w.rng.IntN(5)), records...)
	idempotent := w.rng.IntN(3) == 0
	if idempotent {
		b = from(b, 7, w.sequence)
	}
	w.written = w.written[:l.EndOffset()]
	for i, r := range records {
		w.written = append(w.written, found{l.EndOffset() + int64(i), int64(1000 + i), r})
	}
	if _, err := l.Append(b, 1); err != nil {
		return err
	}
	if err := l.await(b.NextOffset()); err != nil {
		return err
	}
	w.durable = b.NextOffset()
	if idempotent {
		w.lastBatch, w.sequence = b.LastOffset(), w.sequence+b.Count()
	}
	return nil
}

// check compares what is in the log with what was written.
func (w *compactWorld) check(d *running, l *watched) {
	w.t.Helper()
	end := l.EndOffset()
	if l.StartOffset() != 0 || end < w.durable || end > int64(len(w.written)) {
		w.fatalf("the log is %d to %d; durable was all to %d, and written to %d", l.StartOffset(), end, w.durable, len(w.written))
	}
	bytes, err := readAll(l.Log)
	if w.fs.Crashed() {
		return
	}
	if err != nil {
		w.fatalf("%v", err)
	}
	last := map[string]int64{} // by key
	present := map[int64]bool{}
	hasProducers := w.lastBatch == 0
	for next := int64(0); len(bytes) > 0; {
		b, rest, err := record.Next(bytes)
		if err != nil || b.BaseOffset() < next {
			w.fatalf("batch at %d after %d: %v", b.BaseOffset(), next-1, err)
		}
		next, bytes = b.NextOffset(), rest
		hasProducers = hasProducers || b.ProducerID() == 7 && b.LastOffset() >= w.lastBatch
		payload, err := cleanerOptions.Decompress(b.Codec(), b.Payload(), 1<<20)
		if err == nil {
			err = b.Each(payload, func(r record.Record, _ []byte) error {
				offset := b.BaseOffset() + int64(r.OffsetDelta)
				f := found{offset, b.BaseTimestamp() + r.TimestampDelta, keyed{string(r.Key), string(r.Value), r.Value == nil}}
				if f != w.written[offset] {
					w.fatalf("at %d is %+v, and %+v was written", offset, f, w.written[offset])
				}
				last[f.key], present[offset] = offset, true
				return nil
			})
		}
		if err != nil {
			w.fatalf("%v", err)
		}
	}
	for _, f := range w.written[:end] {
		_, known := last[f.key]
		if later := last[f.key] > f.offset; present[f.offset] || later || w.waited && f.tombstone && !known {
			continue
		}
		if w.waited && tombstoneAfter(w.written[f.offset:end], f.key) && !known {
			continue
		}
		w.fatalf("%+v is lost", f)
	}
	if !hasProducers {
		w.fatalf("the producer's last batch, which ends at %d, is lost", w.lastBatch)
	}
	if n := counted(d.Dir); n != 0 {
		w.fatalf("%v gaps and damaged bytes counted", n)
	}
	entries, err := w.fs.ReadDir("data/t-0")
	if err != nil && !w.fs.Crashed() {
		w.fatalf("%v", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), cleanedExt) || strings.HasSuffix(e.Name(), swapExt) {
			w.fatalf("%s is left", e.Name())
		}
	}
	w.durable, w.written = end, w.written[:end] // what a process has shown stays
}

// tombstoneAfter reports whether the last record of key is a tombstone.
func tombstoneAfter(all []found, key string) (deleted bool) {
	for _, f := range all {
		if f.key == key {
			deleted = f.tombstone
		}
	}
	return deleted
}

// The power goes, or the process, during the k-th change to the disk of a life that
// writes and compacts, for each k, and again somewhere in the next one. Whatever
// survives: of each key the last record that was durable is there, or a later one,
// every record is at its offset, and nothing counts as lost.
func TestCompactCrash(t *testing.T) {
	for seed := range uint64(max(2, crashSeeds/2)) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			k := 0
			for compactCrashAt(t, seed, k) {
				k++
			}
			if k < 200 {
				t.Errorf("a life made %d changes only", k)
			}
		})
	}
}

// compactCrashAt reports whether the first process got as far as its k-th change.
func compactCrashAt(t *testing.T, seed uint64, k int) bool {
	w := &compactWorld{
		t: t, what: fmt.Sprintf("seed %d, k %d", seed, k), fs: disk.NewCrash(seed), clock: newFakeClock(), rng: rand.New(rand.NewPCG(seed, uint64(k))),
	}
	w.fs.CrashAt(k)
	w.live(24)
	crashed := w.fs.Crashed()
	w.restart(seed%2 == 1)
	w.fs.CrashAt(w.rng.IntN(200))
	w.live(12)
	w.restart(w.rng.IntN(2) == 0)
	w.live(4)
	return crashed
}

// restart lets the process end, and the power too, perhaps only after the next
// process has begun.
func (w *compactWorld) restart(kill bool) {
	if kill {
		w.fs = w.fs.Kill()
		w.fs.CrashAt(w.rng.IntN(40))
		w.live(0)
	}
	w.fs = w.fs.Restart(w.rng.Uint64())
	w.clock.boot(fmt.Sprint("boot-", w.rng.Uint64()))
}

// The process ends at the k-th change of a compaction, and the power goes at the
// j-th of the start that follows, for each k and j: nothing that the machine had in
// its memory only is relied on.
func TestCompactCrashAtStart(t *testing.T) {
	for seed := range uint64(max(1, crashSeeds/4)) { // each is some thousand crashes
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			written := compactWorld{t: t, what: fmt.Sprintf("seed %d", seed), fs: disk.NewCrash(seed), clock: newFakeClock(), rng: rand.New(rand.NewPCG(seed, 1))}
			written.writeOnly(8)
			k := 0
			for killed := true; killed; k++ {
				for j, cut := 0, true; cut; j++ {
					killed, cut = compactKillAt(t, written, k, j)
				}
			}
			if k < 12 {
				t.Errorf("a compaction made %d changes only", k)
			}
		})
	}
}

// writeOnly runs a process that writes, seals and stops.
func (w *compactWorld) writeOnly(appends int) {
	d, err := run(w.fs, "data", Options{BrokerID: 1, Clock: w.clock})
	if err != nil {
		w.fatalf("%v", err)
	}
	l := d.mustOpen(w.t, "t-0", compacting)
	for i := range appends {
		if err := w.append(l); err != nil {
			w.fatalf("%v", err)
		}
		if i%3 == 1 { // small segments, which are merged
			seal(w.t, l)
		}
	}
	seal(w.t, l)
	if err := d.stop(); err != nil {
		w.fatalf("%v", err)
	}
}

// compactKillAt reports whether the compaction of what was written, and stopped
// cleanly, got as far as its k-th change, and the start as its j-th.
func compactKillAt(t *testing.T, written compactWorld, k, j int) (killed, cut bool) {
	w := &written
	w.what += fmt.Sprintf(", k %d, j %d", k, j)
	w.fs = w.fs.Restart(0) // a copy: all of it is synced
	d, err := run(w.fs, "data", Options{BrokerID: 1, Clock: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	l := d.mustOpen(t, "t-0", compacting)
	w.fs.CrashAt(k)
	w.compact(d, l)
	killed = w.fs.Crashed()
	next := w.fs.Kill()
	d.stop()
	w.fs = next
	w.fs.CrashAt(j)
	w.live(-1)
	cut = w.fs.Crashed()
	w.fs = w.fs.Restart(uint64(100*k + j))
	w.live(0)
	return killed, cut
}

// The power goes at the k-th change of a compaction that makes one segment of an old
// and a young one. Whatever is found: what was appended an hour ago does not go by
// the age of what was appended before.
func TestCompactCrashAges(t *testing.T) {
	settings := Settings{SegmentBytes: 1500, RetentionBytes: -1, Retention: 10 * time.Hour, Compact: true, DeleteRetention: time.Hour}
	for cut, k := true, 0; cut; k++ {
		clock, fsys := newFakeClock(), disk.NewCrash(uint64(k))
		d, err := run(fsys, "data", Options{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		l := d.mustOpen(t, "t-0", settings)
		for i, pass := range []time.Duration{9 * time.Hour, time.Hour} {
			l.mustAppend(t, keyedBatch(t, record.None, keyed{key: fmt.Sprint("key", i), value: "1"}))
			seal(t, l)
			must(0, d.checkpoint(true))
			d.Tidy()
			clock.pass(pass)
			must(0, d.clock.save())
		}
		fsys.CrashAt(k)
		NewCleaner(d.Dir, cleanerOptions).CleanDirtiest(context.Background(), []Compactable{whole(l)})
		cut = fsys.Crashed()
		fsys.CrashAt(0)
		d.stop()
		clock.boot("boot-2")
		d = start(t, fsys.Restart(uint64(k)), Options{Clock: clock})
		l = d.mustOpen(t, "t-0", settings)
		clock.pass(2 * time.Hour) // the old one has had its time, the young one not
		if _, err := l.Retain(l.EndOffset()); err != nil {
			t.Fatal(err)
		}
		if got := latest(contents(t, l.Log)); got["key1"] != "1" {
			t.Errorf("k %d: 3 hours after its append key1 is gone; there is %v", k, got)
		}
		if !cut && k < 8 {
			t.Errorf("a compaction made %d changes only", k)
		}
	}
}
