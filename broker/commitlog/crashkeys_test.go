package commitlog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// The keys of compacted logs in the crash tests: which records compaction may have
// taken, and that it took no other.

// keyStory is what compaction may have done to a log.
type keyStory struct {
	looks      []look         // in order, each further than the one before
	gone       map[int64]bool // offsets of records that were not there any more
	sequence   int32          // the idempotent producer's next
	lastOffset int64          // of its last batch; -1

	highWatermark int64 // the highest that a compaction was told
}

// look is a compaction that may have got as far as an offset.
type look struct {
	end int64
	at  time.Duration // in the world's time
}

func newKeyStory() keyStory { return keyStory{gone: map[int64]bool{}, lastOffset: -1} }

// end is how far compaction may have got.
func (k *keyStory) end() int64 {
	if len(k.looks) == 0 {
		return 0
	}
	return k.looks[len(k.looks)-1].end
}

// lookedAt is when compaction may first have met a record.
func (k *keyStory) lookedAt(offset int64) (at time.Duration, met bool) {
	for _, l := range k.looks {
		if offset < l.end {
			return l.at, true
		}
	}
	return 0, false
}

// crashProducer is the id of the producer that appends now and then.
const crashProducer = 7

// newKeyed returns a batch of few keys, many of them deleted, some a producer's.
func (w *world) newKeyed(s *story) record.Batch {
	records := make([]keyed, 1+w.rng.IntN(3))
	for i := range records {
		records[i] = keyed{key: fmt.Sprint("key", w.rng.IntN(7)), tombstone: w.rng.IntN(4) == 0}
		if !records[i].tombstone {
			records[i].value = strings.Repeat(fmt.Sprint(w.rng.IntN(1000)), 1+w.rng.IntN(30))
		}
	}
	codec := record.None
	if w.rng.IntN(8) == 0 {
		codec = record.Codec(w.rng.IntN(5))
	}
	b := keyedBatch(w.t, codec, records...)
	if w.rng.IntN(4) == 0 {
		b = from(b, crashProducer, s.keys.sequence)
		s.keys.sequence += b.Count()
	}
	return b
}

// clean compacts the logs up to a high watermark, until there is nothing to do.
func (w *world) clean(d *running, c *Cleaner) error {
	var logs []Compactable
	for _, name := range w.names() {
		l, s := d.opened[name], w.story(name)
		if l.Log != d.find(name) || !s.settings.Compact {
			continue
		}
		highWatermark := l.DurableEnd()
		if w.rng.IntN(4) == 0 {
			highWatermark -= w.rng.Int64N(highWatermark - l.StartOffset() + 1)
		}
		w.mayClean(l, s, highWatermark)
		last := map[int64]int64{}
		for _, b := range s.batches {
			if b.ProducerID() == crashProducer && b.NextOffset() <= highWatermark {
				last[crashProducer] = b.LastOffset()
			}
		}
		logs = append(logs, Compactable{l.Log, highWatermark, func() map[int64]int64 { return last }})
	}
	for rounds := 0; c.CleanDirtiest(context.Background(), logs); rounds++ {
		if rounds == 1000 {
			w.fatalf("the cleaner does not come to an end")
		}
	}
	if w.fs.Crashed() {
		return disk.ErrCrashed
	}
	if len(c.resting) > 0 {
		w.fatalf("the cleaner has given up on %v", c.resting)
	}
	for _, l := range logs {
		s := w.story(l.Log.name)
		all, err := readAll(l.Log)
		if err != nil {
			return err
		}
		w.checkKeys(d.opened[l.Log.name], s, all)
	}
	return nil
}

// mayClean notes how far a compaction may get: sealed segments below the high
// watermark, and what is old enough.
func (w *world) mayClean(l *watched, s *story, highWatermark int64) {
	s.keys.highWatermark = max(s.keys.highWatermark, highWatermark)
	end := min(highWatermark, l.view.Load().active().baseOffset)
	for _, b := range s.batches {
		if w.waited(s.times[b.BaseOffset()]) < s.settings.MinCompactionLag {
			end = min(end, b.BaseOffset())
		}
	}
	now := w.clock.passed()
	s.keys.looks = append(s.keys.looks, look{max(end, s.keys.end()), now})
}

// checkKeys compares what is in a compacted log with what was appended, and returns
// the batches of which something may be found.
func (w *world) checkKeys(l *watched, s *story, all []byte) (kept []record.Batch) {
	w.t.Helper()
	first, end := l.StartOffset(), l.EndOffset()
	if end < s.keys.end() {
		w.fatalf("%s ends at %d, and was sealed up to %d", l.name, end, s.keys.end())
	}
	var written []found
	lastOffset := int64(-1)
	for _, b := range s.batches {
		if b.NextOffset() > end {
			continue
		}
		kept, written = append(kept, b), append(written, w.records(b)...)
		if b.ProducerID() == crashProducer {
			lastOffset = b.LastOffset()
		}
	}
	present, isProducers := map[int64]found{}, false
	for next := int64(0); len(all) > 0; {
		b, rest, err := record.Next(all)
		if err != nil || b.BaseOffset() < next {
			w.fatalf("%s: batch at %d after %d: %v", l.name, b.BaseOffset(), next-1, err)
		}
		next, all = b.NextOffset(), rest
		isProducers = isProducers || b.ProducerID() == crashProducer && b.LastOffset() == lastOffset
		for _, f := range w.records(b) {
			present[f.offset] = f
		}
	}
	if lastOffset >= first && !isProducers && w.policy != OS { // there a later one, which made it needless, may be lost
		w.fatalf("%s: the producer's last batch, which ends at %d, is lost", l.name, lastOffset)
	}
	w.checkRecords(l, s, written, present)
	return kept
}

// checkRecords holds each record that was written against those that are present.
func (w *world) checkRecords(l *watched, s *story, written []found, present map[int64]found) {
	w.t.Helper()
	last, lastCleaned := map[string]found{}, map[string]found{}
	for _, f := range written {
		if last[f.key] = f; f.offset < s.keys.end() {
			lastCleaned[f.key] = f
		}
	}
	for _, f := range written {
		got, there := present[f.offset]
		delete(present, f.offset)
		_, lastThere := present[last[f.key].offset]
		switch {
		case there && (got != f || s.keys.gone[f.offset]):
			w.fatalf("%s: found %+v where %+v was written, which was gone: %v", l.name, got, f, s.keys.gone[f.offset])
		case there && f != last[f.key] && !lastThere && f.offset >= l.StartOffset():
			w.fatalf("%s: %+v is there, and %+v, which came after it, is not", l.name, f, last[f.key])
		case !there && f.offset >= l.StartOffset() && lastCleaned[f.key].offset <= f.offset && !w.hadItsTime(s, f):
			w.fatalf("%s: %+v is lost; compaction was at %v", l.name, f, s.keys.looks)
		case !there:
			s.keys.gone[f.offset] = true
		}
	}
	for _, f := range present {
		w.fatalf("%s: %+v was never written", l.name, f)
	}
}

// hadItsTime reports whether a compaction may have taken a tombstone because an
// earlier one had met it long enough ago.
func (w *world) hadItsTime(s *story, f found) bool {
	met, ok := s.keys.lookedAt(f.offset)
	return ok && f.tombstone && s.keys.looks[len(s.keys.looks)-1].at-met+w.unsaved >= s.settings.DeleteRetention
}

// records returns those of a batch, at their offsets.
func (w *world) records(b record.Batch) (all []found) {
	w.t.Helper()
	payload, err := cleanerOptions.Decompress(b.Codec(), b.Payload(), 1<<20)
	if err == nil {
		err = b.Each(payload, func(r record.Record, _ []byte) error {
			all = append(all, found{b.BaseOffset() + int64(r.OffsetDelta), b.BaseTimestamp() + r.TimestampDelta, keyed{string(r.Key), string(r.Value), r.Value == nil}})
			return nil
		})
	}
	if err != nil {
		w.fatalf("batch at %d: %v", b.BaseOffset(), err)
	}
	return all
}

// checkCounts compares what is counted of all logs together with what the logs
// have. With a committer beside the test they change meanwhile.
func (w *world) checkCounts(d *running) {
	w.t.Helper()
	if !w.byHand || w.fs.Crashed() {
		return
	}
	bytes, active, segments := int64(0), 0, map[*segment]bool{}
	indexBytes := int64(0)
	for _, l := range d.openLogs() {
		bytes += l.Size()
		for _, s := range l.view.Load().segments {
			segments[s] = true
			if x := s.index.Load(); x != nil {
				active++
				indexBytes += int64(cap(x.offsets) + cap(x.times))
			}
		}
	}
	if used := d.budget.used.Load(); used != bytes {
		w.fatalf("the budget counts %d bytes, and the logs have %d", used, bytes)
	}
	if used := d.indexes.used.Load(); used != indexBytes || len(d.indexes.all) != active || active != len(d.openLogs()) {
		w.fatalf("%d indexes of %d bytes are counted; there are %d of %d bytes", len(d.indexes.all), used, active, indexBytes)
	}
	dirty := 0
	for key, h := range d.files.open {
		if !segments[key.seg] || h.refs != 0 {
			w.fatalf("file %s is open, with %d users; its segment is there: %v", key.seg.path(key.ext), h.refs, segments[key.seg])
		}
		if h.dirty() {
			dirty++
		}
	}
	if open, counted := d.files.count(); counted != dirty || open != len(d.files.open) || open > w.options.OpenFiles {
		w.fatalf("%d files are open, %d of them dirty; %d and %d are counted, and %d may be open", len(d.files.open), dirty, open, counted, w.options.OpenFiles)
	}
}
