package commitlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// round is the compaction of one log, once. It notes the keys of what was not
// compacted before, as many as there is memory for, then goes through the log from
// its start and leaves out the records whose keys come again.
type round struct {
	ctx       context.Context
	c         *Cleaner
	l         *Log
	settings  *Settings
	keys      *offsetMap
	producers map[int64]int64 // last offset of each that is remembered
	now       time.Duration
	cuts      int64 // of the log, before its view was taken
	view      *view
	from      int64 // keys were noted from here on
	until     int64 // what may be compacted ends here
	end       int64 // and this round's part of it here
	opaque    bool  // a batch was met that cannot be looked into
	stats     roundStats
}

// roundStats are what a round has done.
type roundStats struct {
	readBytes, writtenBytes, freedBytes int64
	recordsRemoved                      int64
	mapFull                             bool
}

func newRound(ctx context.Context, c *Cleaner, log Compactable, from int64) *round {
	r := &round{ctx: ctx, c: c, l: log.Log, settings: log.Log.settings.Load(), keys: c.keys, now: c.dir.clock.now(), cuts: log.Log.cuts.Load()}
	r.view = r.l.view.Load()
	r.from = cleanStart(r.view, from)
	r.until = r.l.cleanableEnd(r.view, r.from, log.HighWatermark, r.now)
	if log.Producers != nil {
		r.producers = log.Producers()
	}
	return r
}

// run is the whole round. After an error what was replaced is compacted, and the
// next round goes over it again.
func (r *round) run() error {
	if len(r.producers) > 0 {
		// The batch that ends where a producer was last seen stays, and earlier ones go.
		// A power cut must not take the former once the latter are gone.
		if err := r.l.Flush(); err != nil {
			return err
		}
	}
	if err := r.noteKeys(); err != nil {
		return err
	}
	parts := r.parts()
	for _, g := range groups(parts, r.settings.SegmentBytes, max(r.settings.DeleteRetention/horizons, time.Second)) {
		if err := r.clean(parts[g.from:g.to]); err != nil {
			return err
		}
	}
	r.l.retainMu.Lock()
	defer r.l.retainMu.Unlock()
	if err := r.l.usable(); err != nil {
		return err
	}
	if r.l.cuts.Load() != r.cuts {
		return errChanged
	}
	return r.c.dir.cleanPoints.set(r.l.name, r.end)
}

// noteKeys fills the map, and settles where the round ends.
func (r *round) noteKeys() error {
	r.end = r.until
	for i, s := range r.view.segments {
		if r.view.endOf(i) <= r.from || s.baseOffset >= r.until {
			continue
		}
		err := r.eachBatch(i, func(b record.Batch, _ int64) error {
			if b.NextOffset() <= r.from {
				return nil
			}
			return r.noteBatch(b)
		})
		if errors.Is(err, errFound) {
			r.stats.mapFull = true
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// noteBatch puts the keys of b into the map. It ends with errFound where that is
// full, and the round's end is there then.
func (r *round) noteBatch(b record.Batch) error {
	payload, ok := r.open(b)
	if !ok {
		return nil
	}
	return b.Each(payload, func(rec record.Record, _ []byte) error {
		offset := b.BaseOffset() + int64(rec.OffsetDelta)
		if rec.Key == nil || offset < r.from || r.keys.put(rec.Key, offset) {
			return nil
		}
		r.end = offset
		return errFound
	})
}

// open returns the records of b, uncompressed and found in order. It reports false
// for a batch that stays as it is, whatever is in it: a marker or a part of a
// transaction, and one that cannot be decompressed within the bounds.
func (r *round) open(b record.Batch) (payload []byte, ok bool) {
	if b.Control() || b.Transactional() {
		return nil, false
	}
	payload, err := r.c.o.Decompress(b.Codec(), b.Payload(), max(r.c.o.MaxBatchBytes, int64(len(b.Payload()))))
	if err == nil {
		err = b.Each(payload, func(record.Record, []byte) error { return nil })
	}
	return payload, err == nil
}

// part is a segment that the round goes through, and what grouping asks of it.
type part struct {
	segment    *segment
	at         int // its place in the view
	sizeBytes  int64
	baseOffset int64
	endOffset  int64
	age        age
	horizon    time.Duration // from when its tombstones have their time; 0: there are none that is known, or the round does not reach all of them
	alone      bool          // nothing is merged with it
}

// parts lists the segments that the round reaches.
func (r *round) parts() []part {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	var parts []part
	for i, s := range r.view.segments[:len(r.view.segments)-1] {
		if s.baseOffset >= r.end {
			break
		}
		p := part{segment: s, at: i, sizeBytes: s.size.Load(), baseOffset: s.baseOffset, endOffset: r.view.endOf(i), age: s.age, horizon: s.cleaned}
		switch {
		case p.endOffset > r.end:
			p.horizon, p.alone = 0, true
		case p.horizon == 0 && p.endOffset > r.from: // compacted for the first time
			p.horizon = r.now
		}
		parts = append(parts, p)
	}
	return parts
}

// horizons is in how many steps the time of tombstones is told apart: segments are
// merged if theirs began within one. So merging makes none stay much longer, and a
// log has few small segments that wait for their tombstones' time.
const horizons = 8

// group is a run of parts, from inclusive, to exclusive.
type group struct{ from, to int }

// groups says which segments become one: neighbours that fit a segment as they
// are, whose offsets its indexes can hold, and whose tombstones go at about the
// same time.
func groups(parts []part, maxBytes int64, step time.Duration) []group {
	var out []group
	var bytes, horizon int64
	for i, p := range parts {
		stepOf := int64(p.horizon / step)
		if p.horizon == 0 {
			stepOf = -1
		}
		if n := len(out) - 1; n >= 0 {
			first := parts[out[n].from]
			fits := bytes+p.sizeBytes <= maxBytes && p.endOffset-1-first.baseOffset <= maxRelative
			if fits && !p.alone && !parts[i-1].alone && (stepOf < 0 || horizon < 0 || stepOf == horizon) {
				out[n].to, bytes, horizon = i+1, bytes+p.sizeBytes, max(horizon, stepOf)
				continue
			}
		}
		out, bytes, horizon = append(out, group{i, i + 1}), p.sizeBytes, stepOf
	}
	return out
}

// eachBatch goes through the i-th segment of the round's view.
func (r *round) eachBatch(i int, yield func(b record.Batch, pos int64) error) error {
	s := r.view.segments[i]
	if s.spoiled.Load() {
		return fmt.Errorf("segment %d is damaged, and could not be repaired", s.baseOffset)
	}
	file, err := r.l.files.acquire(s, logExt)
	if err != nil {
		return cleanFailure(s, err)
	}
	defer r.l.files.release(file)
	in := batchReader{r: file, size: s.size.Load(), nextOffset: s.baseOffset, limit: r.view.endOf(i), read: func(n int64) error {
		r.stats.readBytes += n
		return r.c.throttle.count(r.ctx, n)
	}}
	for {
		b, pos, err := in.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if r.l.again(damage(s, err)) { // it is repaired now, if it can be
				return errChanged
			}
			return cleanFailure(s, err)
		}
		if err := yield(b, pos); err != nil {
			return err
		}
	}
}

// batchReader reads a sealed segment from its beginning to its end. Its buffer
// grows to the largest batch.
type batchReader struct {
	r          io.ReaderAt
	size       int64
	nextOffset int64 // the lowest base offset that can come
	limit      int64 // no batch reaches past it
	read       func(bytes int64) error

	pos  int64 // of rest in the segment
	buf  []byte
	rest []byte
}

// next returns the next batch, which is whole and valid until the next call, and
// its position; io.EOF at the segment's end.
func (in *batchReader) next() (b record.Batch, pos int64, err error) {
	if in.pos == in.size {
		return nil, 0, io.EOF
	}
	b, rest, err := record.Next(in.rest)
	if errors.Is(err, io.ErrUnexpectedEOF) && in.pos+int64(len(in.rest)) < in.size {
		if err := in.fill(); err != nil {
			return nil, 0, err
		}
		b, rest, err = record.Next(in.rest)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("at byte %d: %w", in.pos, err)
	}
	if b.BaseOffset() < in.nextOffset || b.LastOffsetDelta() < 0 || b.NextOffset() > in.limit {
		return nil, 0, fmt.Errorf("at byte %d: %w: offsets %d to %d after %d", in.pos, record.ErrCorrupt, b.BaseOffset(), b.LastOffset(), in.nextOffset)
	}
	pos = in.pos
	in.rest, in.pos, in.nextOffset = rest, pos+int64(len(b)), b.NextOffset()
	return b, pos, nil
}

// fill reads on, as far as the batch that rest begins with, at least. A batch
// whose length is not there yet takes a second turn.
func (in *batchReader) fill() error {
	for want := int64(scanBytes); ; {
		if size, err := record.Size(in.rest); err == nil {
			want = max(want, size)
		}
		want = min(want, in.size-in.pos)
		have := int64(len(in.rest))
		if have == want {
			return nil
		}
		if int64(len(in.buf)) < want {
			in.buf = make([]byte, want)
		}
		copy(in.buf, in.rest)
		n, err := in.r.ReadAt(in.buf[have:want], in.pos+have)
		if int64(n) < want-have {
			return noEOF(err)
		}
		in.rest = in.buf[:want]
		if err := in.read(int64(n)); err != nil {
			return err
		}
	}
}

// clean compacts a group of segments, and has one take their place, if that
// changes anything.
func (r *round) clean(parts []part) error {
	w := newRewrite(r, parts)
	defer w.close()
	for _, p := range parts {
		if err := w.segment(p); err != nil {
			return err
		}
	}
	if !w.begun() {
		return r.settleHorizon(parts[0], w.horizon)
	}
	next, err := w.finish()
	if err != nil {
		return err
	}
	old := make([]*segment, 0, len(parts))
	oldBytes := int64(0)
	for _, p := range parts {
		old, oldBytes = append(old, p.segment), oldBytes+p.sizeBytes
	}
	replaced, err := r.l.replace(old, next, r.cuts)
	if err != nil {
		return err
	}
	if !replaced {
		return errChanged
	}
	w.done = true
	r.stats.freedBytes += oldBytes - next.size.Load()
	r.stats.recordsRemoved += w.removed
	return nil
}

// settleHorizon notes from when a segment, which stays as it is, has tombstones
// that wait.
func (r *round) settleHorizon(p part, horizon time.Duration) error {
	r.l.retainMu.Lock()
	defer r.l.retainMu.Unlock()
	if err := r.l.usable(); err != nil {
		return err
	}
	r.l.mu.Lock()
	same := p.segment.cleaned == horizon
	p.segment.cleaned = horizon
	r.l.mu.Unlock()
	if same || !slices.Contains(r.l.view.Load().segments, p.segment) {
		return nil
	}
	return r.l.saveAges()
}
