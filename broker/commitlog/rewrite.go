package commitlog

import (
	"cmp"
	"errors"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// rewrite makes one segment of a group of them, without the records that
// compaction takes. A segment that stays as it is costs no write: the file is begun
// with the first batch that changes, or when there are several segments.
type rewrite struct {
	r     *round
	parts []part
	next  *segment
	x     *index
	size  int64 // of the new file; all of it but out is written
	out   []byte
	file  disk.File // nil before it is begun: what is there so far is as it was
	done  bool      // the file is in use

	kept    []byte        // records of the batch at hand
	removed int64         // records
	horizon time.Duration // the latest of those parts that keep tombstones
}

func newRewrite(r *round, parts []part) *rewrite {
	next := newSegment(r.l.path, parts[0].baseOffset)
	return &rewrite{r: r, parts: parts, next: next, x: newIndex(next.baseOffset)}
}

func (w *rewrite) begun() bool { return w.file != nil }

// segment goes through one of the group, and adds what stays of it.
func (w *rewrite) segment(p part) error {
	if len(w.parts) > 1 && !w.begun() {
		if err := w.begin(p); err != nil {
			return err
		}
	}
	last := p.at == w.parts[len(w.parts)-1].at
	return w.r.eachBatch(p.at, func(b record.Batch, pos int64) error {
		// The last batch says where the segment ends, and its producer's last one what
		// that must send next: they stay, though it be without records.
		end, isProducers := w.r.producers[b.ProducerID()]
		keepEmpty := last && pos+int64(len(b)) == p.sizeBytes || b.ProducerID() >= 0 && isProducers && end == b.LastOffset()
		left, changed, err := w.filter(b, p, keepEmpty)
		if err != nil {
			return err
		}
		if changed && !w.begun() {
			if err := w.begin(p); err != nil {
				return err
			}
		}
		return w.add(left)
	})
}

// filter returns what stays of b, nil for nothing.
func (w *rewrite) filter(b record.Batch, p part, keepEmpty bool) (left record.Batch, changed bool, err error) {
	if b.Count() == 0 && !b.Control() {
		if keepEmpty {
			return b, false, nil
		}
		return nil, true, nil
	}
	payload, ok := w.r.open(b)
	if !ok {
		w.r.opaque = true
		return b, false, nil
	}
	w.kept = w.kept[:0]
	count, maxTimestamp := int32(0), int64(-1)
	err = b.Each(payload, func(rec record.Record, raw []byte) error {
		if w.stays(b, rec, p) {
			w.kept = append(w.kept, raw...)
			count, maxTimestamp = count+1, max(maxTimestamp, b.BaseTimestamp()+rec.TimestampDelta)
		}
		return nil
	})
	switch {
	case err != nil || count == b.Count():
		return b, false, err
	case count == 0 && keepEmpty:
		left = b.Emptied()
	case count > 0:
		if b.LogAppendTime() {
			maxTimestamp = b.MaxTimestamp()
		}
		packed, err := w.r.c.o.Compress(b.Codec(), w.kept)
		if err != nil {
			return nil, false, err
		}
		left = b.With(b.Codec(), packed, count, maxTimestamp)
	}
	w.removed += int64(b.Count() - count)
	return left, true, nil
}

// stays reports whether compaction keeps a record: the last of its key, and one
// without a value, a tombstone, only while readers may have to see it. Behind a
// batch that could not be looked into it stays for ever: that may have an earlier
// value of the key.
func (w *rewrite) stays(b record.Batch, rec record.Record, p part) bool {
	offset := b.BaseOffset() + int64(rec.OffsetDelta)
	if offset >= w.r.end {
		return true
	}
	if rec.Key == nil { // from before the topic was compacted; nothing can be the last of it
		return false
	}
	if last, ok := w.r.keys.get(rec.Key); ok && last > offset {
		return false
	}
	if rec.Value != nil {
		return true
	}
	waited := p.age.cleaned > 0 && !p.alone && w.r.l.dir.clock.ago(p.age.cleaned, w.r.now) >= w.r.settings.DeleteRetention
	if waited && !w.r.opaque {
		return false
	}
	if !p.alone { // without a horizon, it was lost with the file that it stood in
		w.horizon = max(w.horizon, cmp.Or(p.horizon, w.r.now))
	}
	return true
}

// begin makes the file, with what has been added so far, which is the beginning of
// p's.
func (w *rewrite) begin(p part) (err error) {
	if w.file, err = w.r.l.createCleaned(w.next); err != nil || w.size == 0 {
		return err
	}
	from, err := w.r.l.files.acquire(p.segment, logExt)
	if err != nil {
		return cleanFailure(p.segment, err)
	}
	defer w.r.l.files.release(from)
	if _, err := copyRange(w.file, 0, from, 0, w.size); err != nil {
		return err
	}
	w.r.stats.readBytes += w.size
	return w.wrote(w.size)
}

// add puts a batch at the end, nil for none.
func (w *rewrite) add(b record.Batch) error {
	if b == nil {
		return nil
	}
	w.x.add(b, w.size, int64(len(b)))
	w.size += int64(len(b))
	if !w.begun() {
		return nil
	}
	w.out = append(w.out, b...)
	if len(w.out) < scanBytes {
		return nil
	}
	return w.flush()
}

func (w *rewrite) flush() error {
	if _, err := w.file.WriteAt(w.out, w.size-int64(len(w.out))); err != nil {
		return err
	}
	n := int64(len(w.out))
	w.out = w.out[:0]
	return w.wrote(n)
}

func (w *rewrite) wrote(n int64) error {
	w.r.stats.writtenBytes += n
	return w.r.c.throttle.count(w.r.ctx, n)
}

// finish returns the segment, whole and synced, that may take the others' place.
func (w *rewrite) finish() (*segment, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	err := w.file.Sync()
	if err = errors.Join(err, w.file.Close()); err != nil {
		return nil, err
	}
	w.next.size.Store(w.size)
	w.next.index.Store(w.x)
	w.next.age = age{w.parts[0].age.firstAppend, w.parts[len(w.parts)-1].age.lastAppend, w.horizon}
	return w.next, nil
}

// close removes the file, unless it has found its place.
func (w *rewrite) close() {
	if w.begun() && !w.done {
		w.file.Close() // again perhaps: nothing in it is wanted
		w.r.l.dropCleaned(w.next)
	}
}
