package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// Verify reads all of the log and does at once what its readers would do one day:
// it takes bytes that are no batch out of segments, counts offsets that are gone,
// builds index files anew that do not lead to batches, and leader epochs that are
// not theirs. What it finds is
// logged, as when a reader finds it. Nobody else may use the log meanwhile.
// progress is told of bytes read. An error is one of reading, or ctx's.
func (l *Log) Verify(ctx context.Context, progress func(bytes int64)) error {
	for _, s := range l.view.Load().segments { // a repair may add to the list what needs no look
		if err := l.verifySegment(ctx, s, progress); err != nil {
			return fmt.Errorf("%s: segment %d: %w", l.name, s.baseOffset, err)
		}
	}
	_, err := l.knownEpochs()
	return err
}

func (l *Log) verifySegment(ctx context.Context, s *segment, progress func(int64)) error {
	i := slices.Index(l.view.Load().segments, s)
	if i < 0 || s.spoiled.Load() { // the start has said so
		progress(s.size.Load())
		return nil
	}
	limit := l.view.Load().endOf(i)
	f, c, err := l.look(ctx, s, limit, progress)
	switch {
	case err != nil:
		return err
	case len(f.bad) > 0:
		l.repair(s)
		l.haveIndexes(l.view.Load().segments[i])
	case limit == noEnd:
		return l.verifyLastIndex(s, c)
	default:
		l.reportGaps(f, bounds{endOffset: limit})
		return l.verifyIndex(s, c)
	}
	return nil
}

// look surveys a segment and holds its index files against its batches.
func (l *Log) look(ctx context.Context, s *segment, limit int64, progress func(int64)) (findings, *indexCheck, error) {
	c := l.newIndexCheck(s)
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return findings{}, c, err
	}
	defer l.files.release(file)
	b := bounds{size: s.size.Load(), baseOffset: s.baseOffset, endOffset: limit}
	f, err := b.survey(readerUntil{ctx, file}, 0, s.baseOffset, func(h record.Batch, pos, size int64) error {
		c.add(h, pos, size)
		progress(size)
		return nil
	})
	for _, span := range f.bad {
		progress(span.to - span.from)
	}
	return f, c, err
}

// readerUntil fails once ctx has ended.
type readerUntil struct {
	ctx context.Context
	r   io.ReaderAt
}

func (r readerUntil) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, off)
}

// verifyIndex builds the index files of a sealed segment anew if anything is wrong
// with them: also what a reader would only find out by looking for one offset.
func (l *Log) verifyIndex(s *segment, c *indexCheck) error {
	err := c.end()
	if err == nil {
		err = l.checkEnd(s)
	}
	if err == nil {
		return nil
	}
	s.checkMu.Lock()
	defer s.checkMu.Unlock()
	if removed(err) {
		l.log.Warn("index files missing", "log", l.name, "segment", s.baseOffset)
	} else {
		l.log.Warn("index files wrong", "log", l.name, "segment", s.baseOffset, "why", err)
	}
	_, err = l.rebuildIndexes(s)
	return err
}

// verifyLastIndex does the same for the active segment, whose index is in memory:
// its files are what an earlier stop has left, if there are any, and may end
// early.
func (l *Log) verifyLastIndex(s *segment, c *indexCheck) error {
	err := c.end()
	if err == nil || removed(err) {
		return nil
	}
	l.log.Warn("index files wrong", "log", l.name, "segment", s.baseOffset, "why", err)
	s.index.Store(c.found)
	return l.writeIndexes(s, true)
}

// indexCheck holds the entries of a segment's index files against its batches.
type indexCheck struct {
	baseOffset     int64
	found          *index // what the files should have
	offsets, times table
	nextOffset     int // entry that no batch has been held against
	nextTime       int
	err            error // the first that is wrong
}

func (l *Log) newIndexCheck(s *segment) *indexCheck {
	c := &indexCheck{baseOffset: s.baseOffset, found: newIndex(s.baseOffset)}
	offsets, times, err := l.readIndexes(s)
	var t tables
	if err == nil {
		t, err = readTables(bytes.NewReader(offsets), bytes.NewReader(times), int64(len(offsets)), int64(len(times)))
	}
	if err == nil {
		err = t.check(s.size.Load())
	}
	c.offsets, c.times, c.err = t.offsets, t.times, err
	return c
}

// add takes the segment's next batch.
func (c *indexCheck) add(h record.Batch, pos, size int64) {
	c.found.add(h, pos, size)
	if c.err != nil {
		return
	}
	first, last := h.BaseOffset()-c.baseOffset, h.LastOffset()-c.baseOffset
	for ; c.nextOffset < c.offsets.n && c.err == nil; c.nextOffset++ {
		offset, at, err := c.offsets.offsetEntry(c.nextOffset)
		if at > pos && err == nil {
			break
		}
		if err != nil || at != pos || offset != last {
			c.err = errors.Join(err, fmt.Errorf("offset index entry %d: offset %d at byte %d is no batch", c.nextOffset, offset, at))
		}
	}
	for ; c.nextTime < c.times.n && c.err == nil; c.nextTime++ {
		timestamp, offset, err := c.times.timeEntry(c.nextTime)
		if offset > last && err == nil {
			break
		}
		if err != nil || offset < first || timestamp != h.MaxTimestamp() {
			c.err = errors.Join(err, fmt.Errorf("time index entry %d: time %d is not that of the batch with offset %d", c.nextTime, timestamp, offset))
		}
	}
}

// end returns what is wrong with the entries, when all batches were added.
func (c *indexCheck) end() error {
	if c.err == nil && (c.nextOffset < c.offsets.n || c.nextTime < c.times.n) {
		c.err = errors.New("there are entries behind the last batch")
	}
	return c.err
}

// LogBytes is how many bytes of segments there are in the data directory at path.
func LogBytes(fsys disk.FS, path string) (total int64, err error) {
	err = eachLog(fsys, path, func(name string, files []fileInfo) error {
		for _, f := range files {
			if _, ext, ok := parseSegmentName(f.name); ok && ext == logExt {
				total += f.size
			}
		}
		return nil
	})
	return total, err
}
