package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/record"
)

// readAttempts is how often a read starts over because retention removed the
// segment that it was about to open. Each time the log starts later.
const readAttempts = 16

// Read returns whole batches in order, from the one that holds fromOffset on, or
// the next one where offsets were lost, and none that reaches past endOffset. Each
// was held against its checksum; bytes that are damaged are taken out of the log
// when they are met. They are at most maxBytes, but for the first
// one, which comes at any size if atLeastOne. It returns no bytes when there is
// nothing between fromOffset and endOffset, and ErrOffsetOutOfRange when
// fromOffset is before the log's start or after its end. A read that a truncation
// overtakes finds nothing.
func (l *Log) Read(fromOffset, endOffset int64, maxBytes int, atLeastOne bool) (batches []byte, err error) {
	var out buffer.Buffer // never released
	if err := l.ReadInto(&out, fromOffset, endOffset, maxBytes, atLeastOne); err != nil {
		return nil, err
	}
	return out.Bytes, nil
}

// ReadInto is Read into out, which must be empty. The caller releases it.
func (l *Log) ReadInto(out *buffer.Buffer, fromOffset, endOffset int64, maxBytes int, atLeastOne bool) (err error) {
	cuts := l.cuts.Load()
	for range readAttempts {
		out.Bytes = out.Bytes[:0]
		err = l.read(out, fromOffset, endOffset, max(maxBytes, 0), atLeastOne)
		if l.cuts.Load() != cuts {
			out.Bytes = out.Bytes[:0]
			err = l.overtaken(fromOffset)
			break
		}
		if !l.again(err) {
			break
		}
	}
	if err != nil {
		out.Bytes = out.Bytes[:0]
		return fmt.Errorf("%s: read from offset %d: %w", l.name, fromOffset, err)
	}
	return nil
}

// overtaken is what a read from an offset ends with that has met a truncation. What it
// has read may be of batches that are no more, or of ones that took their place: the
// caller's end offset was not about those.
func (l *Log) overtaken(fromOffset int64) error {
	if start, end := l.StartOffset(), l.EndOffset(); fromOffset < start || fromOffset > end {
		return fmt.Errorf("%w: the log is %d to %d", ErrOffsetOutOfRange, start, end)
	}
	return nil
}

// again reports whether a read that ended with err is to start over: its segment
// has gone, or was repaired.
func (l *Log) again(err error) bool {
	var d *damaged
	if errors.As(err, &d) {
		l.repair(d.segment)
		return true
	}
	return removed(err)
}

func (l *Log) read(out *buffer.Buffer, fromOffset, endOffset int64, maxBytes int, atLeastOne bool) error {
	v, logEnd, err := l.snapshot()
	if err != nil {
		return err
	}
	if start := l.startOf(v); fromOffset < start || fromOffset > logEnd {
		return fmt.Errorf("%w: the log is %d to %d", ErrOffsetOutOfRange, start, logEnd)
	}
	if endOffset = min(endOffset, logEnd); fromOffset >= endOffset {
		return nil
	}
	for i := v.find(fromOffset); i < len(v.segments); i++ {
		s, want := v.segments[i], wanted{max(fromOffset, v.segments[i].baseOffset), endOffset, maxBytes, atLeastOne}
		more, err := l.readSegment(s, v.endOf(i), out, want)
		if err != nil && len(out.Bytes) == 0 {
			return err
		}
		if err != nil || !more {
			break // what came before a failure is good; the next read will meet it first
		}
	}
	return nil
}

// snapshot returns the segments, and an end offset that they reach: a roll, and
// then an append, between the two loads must not leave the end ahead.
func (l *Log) snapshot() (*view, int64, error) {
	logEnd := l.end.Load()
	v := l.view.Load()
	if l.closed.Load() {
		return nil, 0, ErrClosed
	}
	return v, logEnd, nil
}

// wanted is what a Read asks for.
type wanted struct {
	fromOffset, endOffset int64
	maxBytes              int
	atLeastOne            bool
}

// room is how many bytes may be read beside the ones that are there, for a batch
// of size bytes to come first.
func (w wanted) room(have int, size int64) int64 {
	room := int64(w.maxBytes - have)
	if size > room && w.atLeastOne && have == 0 {
		return size
	}
	return room
}

// readSegment appends to out what Read wants of one segment, which must end at
// limit. more is set when the next segment may have more of it.
func (l *Log) readSegment(s *segment, limit int64, out *buffer.Buffer, want wanted) (more bool, err error) {
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return false, err
	}
	defer l.files.release(file)
	if s.spoiled.Load() {
		return l.readAround(s, limit, file, out, want)
	}
	segmentBytes := s.size.Load()
	at, first, err := l.locate(s, limit, file, segmentBytes, want.fromOffset)
	if err != nil {
		return false, damage(s, err)
	}
	if first.size == 0 { // not there: lost, or compaction has left a gap
		l.reportEnd(first.nextOffset, limit)
		return true, nil
	}
	room := want.room(len(out.Bytes), first.size)
	if first.nextOffset > want.endOffset { // unless it only says so
		return false, damage(s, newScanWindow(file, segmentBytes).checksum(at, first.size))
	}
	if first.size > room {
		return false, nil
	}
	start, n := len(out.Bytes), int(min(room, segmentBytes-at))
	out.Grow(n)
	grown := out.Bytes[:start+n]
	if m, err := file.ReadAt(grown[start:], at); m < n {
		return false, damage(s, fmt.Errorf("at byte %d: %w", at, noEOF(err)))
	}
	c := chain{nextOffset: first.baseOffset, limit: limit, endOffset: want.endOffset, last: at+int64(n) == segmentBytes}
	good, err := c.check(grown[start:])
	out.Bytes = grown[:start+good]
	if more = err == nil && at+int64(good) == segmentBytes; more {
		l.reportEnd(c.nextOffset, limit)
	}
	if err != nil {
		err = damage(s, fmt.Errorf("at byte %d: %w", at+int64(good), err))
	}
	return more, err
}

// reportEnd reports offsets that are missing between the end of a sealed segment
// and the next one.
func (l *Log) reportEnd(nextOffset, limit int64) {
	if limit != noEnd {
		l.reportGap(offsetGap{nextOffset, limit})
	}
}

// readAround is readSegment for a segment with damage in it that could not be
// repaired: it surveys, and takes one batch.
func (l *Log) readAround(s *segment, limit int64, file io.ReaderAt, out *buffer.Buffer, want wanted) (more bool, err error) {
	at, first := int64(0), place{}
	b := bounds{size: s.size.Load(), baseOffset: s.baseOffset, endOffset: limit}
	f, err := b.survey(file, 0, s.baseOffset, func(h record.Batch, pos, size int64) error {
		if h.NextOffset() <= want.fromOffset {
			return nil
		}
		at, first = pos, place{h.BaseOffset(), h.NextOffset(), size}
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return false, err
	}
	if first.size == 0 {
		l.reportGaps(f, b)
		return true, nil
	}
	if first.size > want.room(len(out.Bytes), first.size) || first.nextOffset > want.endOffset {
		return false, nil
	}
	start := len(out.Bytes)
	out.Grow(int(first.size))
	batch := record.Batch(out.Bytes[start:][:first.size])
	if n, err := file.ReadAt(batch, at); n < len(batch) {
		return false, fmt.Errorf("segment %d at byte %d: %w", s.baseOffset, at, noEOF(err))
	}
	if err := batch.Check(); err != nil {
		return false, err
	}
	out.Bytes = out.Bytes[:start+len(batch)]
	return false, nil
}

// errFound ends a survey.
var errFound = errors.New("found")

// place is where a batch is in the log, and its size; size 0 is none.
type place struct{ baseOffset, nextOffset, size int64 }

// locate returns where the first batch stands that reaches offset or past it. If s
// has none, the place's size is 0 and its nextOffset where s ends.
func (l *Log) locate(s *segment, limit int64, file io.ReaderAt, segmentBytes, offset int64) (at int64, first place, err error) {
	from, last := l.place(s, offset)
	for {
		agrees := true // the batch at from is the one that the index says is there
		first = place{nextOffset: s.baseOffset}
		err = walk(file, segmentBytes, from, s.baseOffset, func(h record.Batch, pos, n int64) bool {
			agrees = agrees && (pos != from || last < 0 || h.LastOffset()-s.baseOffset == last)
			first = place{h.BaseOffset(), h.NextOffset(), 0}
			if agrees && h.NextOffset() > offset {
				at, first.size = pos, n
			}
			return agrees && first.size == 0
		})
		if from > 0 && (err != nil || !agrees) { // do without the index
			from, last = 0, -1
			continue
		}
		if err == nil && first.nextOffset > limit {
			err = fmt.Errorf("%w: offset %d is in the next segment", record.ErrCorrupt, first.nextOffset-1)
		}
		return at, first, err
	}
}

// walkFrom is walk from a position that an index gave, and from the segment's
// beginning when that proves to be none.
func walkFrom(file io.ReaderAt, segmentBytes, from, baseOffset int64, yield func(h record.Batch, pos, size int64) bool) error {
	err := walk(file, segmentBytes, from, baseOffset, yield)
	if err != nil && from > 0 {
		err = walk(file, segmentBytes, 0, baseOffset, yield)
	}
	return err
}

// floor looks something up in a segment's indexes and returns the position found.
// Indexes that cannot be used cost time, not the answer: it is 0 then. last is the
// relative last offset of the batch there, -1 when it is not known.
func (l *Log) floor(s *segment, look func(tables) (pos, last int64, err error)) (pos, last int64) {
	t, done := l.indexes(s)
	defer done()
	pos, last, err := look(t)
	if err != nil {
		return 0, -1
	}
	return pos, last
}

// place is floor for an offset. At the end of a log that was just opened, what is
// before is not looked at.
func (l *Log) place(s *segment, offset int64) (pos, last int64) {
	x := s.index.Load()
	if x == nil || x.from.Load() == 0 || offset < x.fromOffset {
		return l.floor(s, func(t tables) (int64, int64, error) { return t.floor(offset - s.baseOffset) })
	}
	from := x.from.Load()
	if pos, last, err := x.tables().floor(offset - s.baseOffset); err == nil && last >= 0 {
		return pos, last
	}
	return from, -1
}

// indexes returns the indexes of s; done must follow. When they cannot be used,
// it returns empty ones that rule nothing out.
func (l *Log) indexes(s *segment) (t tables, done func()) {
	if x := s.index.Load(); x != nil {
		l.fillIndex(s, x)
		return x.tables(), func() {}
	}
	if l.haveIndexes(s) {
		if t, done, err := l.openIndexes(s); err == nil {
			return t, done
		}
	}
	return tables{maxTimestamp: math.MaxInt64}, func() {}
}

// chain checks that bytes are whole batches that follow from one another.
type chain struct {
	nextOffset int64 // the lowest base offset that can come
	limit      int64 // no batch of the segment reaches past it
	endOffset  int64 // no batch that reaches past it is wanted
	last       bool  // the bytes go on to the segment's end
}

// check returns how many bytes at the start of buf are batches that end there and
// before endOffset. Each was held against its checksum, and its offset against its
// neighbours': one that jumps ahead and has no neighbour yet is left for later,
// unless it is the first, at which the caller has looked.
func (c *chain) check(buf []byte) (int, error) {
	rest := buf
	for {
		done := len(buf) - len(rest)
		b, after, err := record.Next(rest)
		if errors.Is(err, io.ErrUnexpectedEOF) && !(c.last && len(rest) > 0) || err == nil && b.NextOffset() > c.endOffset && b.NextOffset() <= c.limit {
			return done, nil
		}
		switch {
		case err != nil && len(rest) == 0:
			return done, nil
		case err != nil:
			return done, err
		case b.BaseOffset() < c.nextOffset || b.LastOffsetDelta() < 0 || b.NextOffset() > c.limit:
			return done, fmt.Errorf("%w: offsets %d to %d after %d", record.ErrCorrupt, b.BaseOffset(), b.LastOffset(), c.nextOffset)
		case b.BaseOffset() == c.nextOffset || done == 0:
		case len(after) >= record.HeaderLen:
			if base := record.Batch(after).BaseOffset(); base >= c.nextOffset && base < b.NextOffset() {
				return done, fmt.Errorf("%w: base offset %d, and the next batch has %d", record.ErrCorrupt, b.BaseOffset(), base)
			}
		case !c.last || len(after) > 0:
			return done, nil
		}
		rest, c.nextOffset = after, b.NextOffset()
	}
}

// BatchForTime returns the first batch that reaches timestamp, of those that
// reach fromOffset and end before endOffset. Its first record at or after the time
// is the caller's to find: where it lies before fromOffset, there is none in it.
func (l *Log) BatchForTime(timestamp, fromOffset, endOffset int64) (b record.Batch, found bool, err error) {
	cuts := l.cuts.Load()
	for range readAttempts {
		b, err = l.batchForTime(timestamp, fromOffset, endOffset)
		if l.cuts.Load() != cuts {
			return nil, false, nil
		}
		if !l.again(err) {
			break
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: look for time %d: %w", l.name, timestamp, err)
	}
	return b, b != nil, nil
}

func (l *Log) batchForTime(timestamp, fromOffset, endOffset int64) (record.Batch, error) {
	v, logEnd, err := l.snapshot()
	if err != nil {
		return nil, err
	}
	fromOffset, endOffset = max(fromOffset, l.startOf(v)), min(endOffset, logEnd)
	for i, s := range v.segments {
		if s.baseOffset >= endOffset {
			break
		}
		if v.endOf(i) <= fromOffset || s.size.Load() == 0 {
			continue
		}
		b, err := l.searchSegment(s, v.endOf(i), timestamp, fromOffset, endOffset)
		if err != nil || b != nil {
			return b, err
		}
	}
	return nil, nil
}

// searchSegment is BatchForTime in one segment, which must end at limit.
func (l *Log) searchSegment(s *segment, limit, timestamp, fromOffset, endOffset int64) (b record.Batch, err error) {
	from, _ := l.floor(s, func(t tables) (int64, int64, error) {
		if t.maxTimestamp < timestamp {
			return s.size.Load(), -1, nil
		}
		offset, err := t.floorTime(timestamp)
		if err != nil {
			return 0, -1, err
		}
		return t.floor(offset)
	})
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return nil, err
	}
	defer l.files.release(file)
	find := func(h record.Batch, pos, size int64) error {
		if h.NextOffset() > endOffset {
			return errFound
		}
		if h.MaxTimestamp() < timestamp || h.NextOffset() <= fromOffset || h.Count() == 0 { // compaction may leave a batch empty
			return nil
		}
		b = make(record.Batch, size)
		if n, err := file.ReadAt(b, pos); int64(n) < size {
			return fmt.Errorf("at byte %d: %w", pos, noEOF(err))
		}
		if err := b.Check(); err != nil {
			return fmt.Errorf("at byte %d: %w", pos, err)
		}
		return errFound
	}
	if s.spoiled.Load() {
		around := bounds{size: s.size.Load(), baseOffset: s.baseOffset, endOffset: limit}
		_, err = around.survey(file, 0, s.baseOffset, find)
	} else {
		walkErr := walkFrom(file, s.size.Load(), from, s.baseOffset, func(h record.Batch, pos, size int64) bool {
			err = find(h, pos, size)
			return err == nil
		})
		err = damage(s, cmp.Or(err, walkErr))
	}
	if errors.Is(err, errFound) {
		return b, nil
	}
	return nil, err
}

// noEOF keeps a file that ends early from looking like the end of a stream.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
