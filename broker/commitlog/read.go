package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/headwater/headwater/broker/record"
)

// readAttempts is how often a read starts over because retention removed the
// segment that it was about to open. Each time the log starts later.
const readAttempts = 16

// Read returns whole batches in order, from the one that holds fromOffset on, and
// none that reaches past endOffset. They are at most maxBytes, but for the first
// one, which comes at any size if atLeastOne. It returns no bytes when there is
// nothing between fromOffset and endOffset, and ErrOffsetOutOfRange when
// fromOffset is before the log's start or after its end.
func (l *Log) Read(fromOffset, endOffset int64, maxBytes int, atLeastOne bool) (batches []byte, err error) {
	for range readAttempts {
		batches, err = l.read(fromOffset, endOffset, max(maxBytes, 0), atLeastOne)
		if !removed(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read from offset %d: %w", l.name, fromOffset, err)
	}
	return batches, nil
}

func (l *Log) read(fromOffset, endOffset int64, maxBytes int, atLeastOne bool) ([]byte, error) {
	v, logEnd, err := l.snapshot()
	if err != nil {
		return nil, err
	}
	if fromOffset < v.startOffset() || fromOffset > logEnd {
		return nil, fmt.Errorf("%w: the log is %d to %d", ErrOffsetOutOfRange, v.startOffset(), logEnd)
	}
	if endOffset = min(endOffset, logEnd); fromOffset >= endOffset {
		return nil, nil
	}
	var out []byte
	for _, s := range v.segments[v.find(fromOffset):] {
		more, err := l.readSegment(s, &out, max(fromOffset, s.baseOffset), endOffset, maxBytes, atLeastOne)
		if err != nil && len(out) == 0 {
			return nil, err
		}
		if err != nil || !more {
			break // what came before a failure is good; the next read will meet it first
		}
	}
	return out, nil
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

// readSegment appends to out what Read wants of one segment. more is set when the
// next segment may have more of it.
func (l *Log) readSegment(s *segment, out *[]byte, fromOffset, endOffset int64, maxBytes int, atLeastOne bool) (more bool, err error) {
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return false, err
	}
	defer l.files.release(file)
	segmentBytes := s.size.Load()
	at, size, nextOffset, err := l.locate(s, file, segmentBytes, fromOffset)
	if err != nil || size == 0 { // not there: compaction may have left a gap
		return true, err
	}
	room := int64(maxBytes - len(*out))
	if size > room && atLeastOne && len(*out) == 0 {
		room = size
	}
	if size > room || nextOffset > endOffset {
		return false, nil
	}
	start, want := len(*out), int(min(room, segmentBytes-at))
	grown := slices.Grow(*out, want)[:start+want]
	if n, err := file.ReadAt(grown[start:], at); n < want {
		return false, fmt.Errorf("segment %d at byte %d: %w", s.baseOffset, at, noEOF(err))
	}
	n, err := wholeBatches(grown[start:], endOffset)
	*out = grown[:start+n]
	return err == nil && at+int64(n) == segmentBytes, err
}

// locate returns where the first batch stands that reaches offset or past it, its
// size and the offset that follows it. A size of 0 means that s has none.
func (l *Log) locate(s *segment, file io.ReaderAt, segmentBytes, offset int64) (at, size, nextOffset int64, err error) {
	from := l.floor(s, func(t tables) (int64, error) { return t.floor(offset - s.baseOffset) })
	baseOffset := int64(0)
	find := func(h record.Batch, pos, n int64) bool {
		if h.NextOffset() <= offset {
			return true
		}
		at, size, baseOffset, nextOffset = pos, n, h.BaseOffset(), h.NextOffset()
		return false
	}
	err = walkFrom(file, segmentBytes, from, s.baseOffset, find)
	if err == nil && from > 0 && at == from && baseOffset > offset { // the index led past it
		err = walk(file, segmentBytes, 0, s.baseOffset, find)
	}
	return at, size, nextOffset, err
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
// Indexes that cannot be used cost time, not the answer: it is 0 then.
func (l *Log) floor(s *segment, look func(tables) (int64, error)) int64 {
	t, done := l.indexes(s)
	defer done()
	pos, err := look(t)
	if err != nil {
		return 0
	}
	return pos
}

// indexes returns the indexes of s; done must follow. When they cannot be used,
// it returns empty ones that rule nothing out.
func (l *Log) indexes(s *segment) (t tables, done func()) {
	if x := s.index.Load(); x != nil {
		return x.tables(), func() {}
	}
	if l.haveIndexes(s) {
		if t, done, err := l.openIndexes(s); err == nil {
			return t, done
		}
	}
	return tables{maxTimestamp: math.MaxInt64}, func() {}
}

// wholeBatches returns how many bytes at the start of buf are batches that end
// there and before endOffset.
func wholeBatches(buf []byte, endOffset int64) (int, error) {
	rest := buf
	for {
		b, after, err := record.Split(rest)
		if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && b.NextOffset() > endOffset {
			return len(buf) - len(rest), nil
		}
		if err != nil {
			return len(buf) - len(rest), err
		}
		rest = after
	}
}

// BatchForTime returns the first batch that reaches timestamp, if one does before
// endOffset. Its first record at or after the time is the caller's to find.
func (l *Log) BatchForTime(timestamp, endOffset int64) (b record.Batch, found bool, err error) {
	for range readAttempts {
		b, err = l.batchForTime(timestamp, endOffset)
		if !removed(err) {
			break
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: look for time %d: %w", l.name, timestamp, err)
	}
	return b, b != nil, nil
}

func (l *Log) batchForTime(timestamp, endOffset int64) (record.Batch, error) {
	v, logEnd, err := l.snapshot()
	if err != nil {
		return nil, err
	}
	endOffset = min(endOffset, logEnd)
	for _, s := range v.segments {
		if s.baseOffset >= endOffset {
			break
		}
		b, err := l.searchSegment(s, timestamp, endOffset)
		if err != nil || b != nil {
			return b, err
		}
	}
	return nil, nil
}

// searchSegment is BatchForTime in one segment.
func (l *Log) searchSegment(s *segment, timestamp, endOffset int64) (b record.Batch, err error) {
	from := l.floor(s, func(t tables) (int64, error) {
		if t.maxTimestamp < timestamp {
			return s.size.Load(), nil
		}
		offset, err := t.floorTime(timestamp)
		if err != nil {
			return 0, err
		}
		return t.floor(offset)
	})
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return nil, err
	}
	defer l.files.release(file)
	walkErr := walkFrom(file, s.size.Load(), from, s.baseOffset, func(h record.Batch, pos, size int64) bool {
		if h.NextOffset() > endOffset {
			return false
		}
		if h.MaxTimestamp() < timestamp {
			return true
		}
		b = make(record.Batch, size)
		if n, readErr := file.ReadAt(b, pos); int64(n) < size {
			b, err = nil, fmt.Errorf("segment %d at byte %d: %w", s.baseOffset, pos, noEOF(readErr))
		}
		return false
	})
	return b, errors.Join(err, walkErr)
}

// noEOF keeps a file that ends early from looking like the end of a stream.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
