package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// fillIndex completes the index of the active segment: from its index files, if a
// clean stop has left them, and else from the headers of its batches. What cannot
// be read is left out: then more is walked.
func (l *Log) fillIndex(s *segment, x *index) {
	x.fill.Lock()
	defer x.fill.Unlock()
	from := x.from.Load()
	if from == 0 {
		return
	}
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return
	}
	defer l.files.release(file)
	head, at := l.savedIndex(s, from)
	first := at
	err = walk(file, from, at, s.baseOffset, func(h record.Batch, pos, size int64) bool {
		if pos > first || first == 0 {
			head.add(h, pos, size)
		}
		return true
	})
	if err != nil {
		l.log.Warn("index of the active segment is not whole", "log", l.name, "segment", s.baseOffset, "err", err)
	}
	x.prepend(head)
}

// savedIndex returns what the index files say of a segment's first bytes, up to
// before, and where their last batch stands.
func (l *Log) savedIndex(s *segment, before int64) (x *index, at int64) {
	x = newIndex(s.baseOffset)
	offsets, times, err := l.readIndexes(s)
	if err != nil {
		return x, 0
	}
	t, err := readTables(bytes.NewReader(offsets), bytes.NewReader(times), int64(len(offsets)), int64(len(times)))
	if err != nil || t.check(before) != nil || t.offsets.n == 0 {
		return x, 0
	}
	_, at, err = t.offsets.offsetEntry(t.offsets.n - 1)
	if err != nil {
		return x, 0
	}
	x.offsets, x.times = offsets, times
	if t.times.n > 0 {
		timestamp, reached, err := t.times.timeEntry(t.times.n - 1)
		if err != nil {
			return newIndex(s.baseOffset), 0
		}
		x.maxTimestamp, x.maxAt = timestamp, int32(reached)
	}
	return x, at
}

// readIndexes reads the index files of a segment.
func (l *Log) readIndexes(s *segment) (offsets, times []byte, err error) {
	maxBytes := s.size.Load()/indexInterval*timeEntryLen + 2*timeEntryLen
	if offsets, err = disk.ReadFile(l.fs, s.path(indexExt), maxBytes); err != nil {
		return nil, nil, err
	}
	times, err = disk.ReadFile(l.fs, s.path(timeIndexExt), maxBytes)
	return offsets, times, err
}

// writeIndexes writes the index files of a segment that will not grow. With sync
// they are durable, but for their names.
func (l *Log) writeIndexes(s *segment, sync bool) error {
	x := s.index.Load()
	l.fillIndex(s, x)
	offsets, times := x.files()
	if err := l.writeIndex(s.path(indexExt), offsets, sync); err != nil {
		return err
	}
	return l.writeIndex(s.path(timeIndexExt), times, sync)
}

func (l *Log) writeIndex(path string, data []byte, sync bool) error {
	f, err := l.fs.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil && sync {
		if err = f.Sync(); err != nil {
			err = syncError{err}
		}
	}
	return errors.Join(err, f.Close())
}

// openIndexes opens the index files of a sealed segment; done must follow.
func (l *Log) openIndexes(s *segment) (t tables, done func(), err error) {
	offsets, err := l.files.acquire(s, indexExt)
	if err != nil {
		return tables{}, nil, err
	}
	times, err := l.files.acquire(s, timeIndexExt)
	if err != nil {
		l.files.release(offsets)
		return tables{}, nil, err
	}
	done = func() {
		l.files.release(offsets)
		l.files.release(times)
	}
	offsetsSize, err1 := offsets.Size()
	timesSize, err2 := times.Size()
	if err = errors.Join(err1, err2); err == nil {
		t, err = readTables(offsets, times, offsetsSize, timesSize)
	}
	if err != nil {
		done()
		return tables{}, nil, err
	}
	return t, done, nil
}

// haveIndexes reports whether the index files of a sealed segment can be used.
// They are looked through at their first use, and built anew when they are
// missing or odd. Without them, things are found by walking the segment.
func (l *Log) haveIndexes(s *segment) bool {
	s.checkMu.Lock()
	defer s.checkMu.Unlock()
	if s.checked != unchecked {
		return s.checked == good
	}
	s.checked = good
	if l.checkIndexes(s) != nil || l.checkEnd(s) != nil {
		l.retainMu.Lock()
		defer l.retainMu.Unlock()
		if l.closed.Load() || !slices.Contains(l.view.Load().segments, s) {
			return false
		}
		if _, err := l.rebuildIndexes(s); err != nil {
			s.checked = useless
			l.log.Warn("index not built", "log", l.name, "segment", s.baseOffset, "err", err)
		}
	}
	return s.checked == good
}

// checkIndexes reads the index files of a sealed segment through.
func (l *Log) checkIndexes(s *segment) error {
	offsets, times, err := l.readIndexes(s)
	if err != nil {
		return err
	}
	t, err := readTables(bytes.NewReader(offsets), bytes.NewReader(times), int64(len(offsets)), int64(len(times)))
	if err != nil {
		return err
	}
	return t.check(s.size.Load())
}

// rebuildIndexes writes the index files of a sealed segment from its batches, and
// returns the offset that follows the last. Its error is about the batches: if
// only the files cannot be written, the segment does without. Its caller has the
// segment to itself, or holds checkMu.
func (l *Log) rebuildIndexes(s *segment) (nextOffset int64, err error) {
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return 0, err
	}
	defer l.files.release(file)
	x := newIndex(s.baseOffset)
	goodBytes, nextOffset, err := scan(file, s.size.Load(), s.baseOffset, x)
	if err != nil {
		return 0, err
	}
	if goodBytes != s.size.Load() {
		return 0, fmt.Errorf("%w: at byte %d of %d", record.ErrCorrupt, goodBytes, s.size.Load())
	}
	offsets, times := x.files()
	err = disk.WriteFile(l.fs, s.path(indexExt), offsets)
	if err == nil {
		err = disk.WriteFile(l.fs, s.path(timeIndexExt), times)
	}
	l.files.forget(s, false)
	s.checked = good
	if err != nil {
		s.checked = useless
	}
	l.log.Warn("index built anew", "log", l.name, "segment", s.baseOffset, "writeErr", err)
	return nextOffset, nil
}

// checkEnd follows the last entries of the index files to the end of a sealed
// segment, whose batches must fill it. It reads a few KiB.
func (l *Log) checkEnd(s *segment) error {
	t, done, err := l.openIndexes(s)
	if err != nil {
		return err
	}
	defer done()
	lastOffset, pos := int64(-1), int64(0)
	if t.offsets.n > 0 {
		if lastOffset, pos, err = t.offsets.offsetEntry(t.offsets.n - 1); err != nil {
			return err
		}
	}
	if pos < 0 {
		return fmt.Errorf("index ends at byte %d", pos)
	}
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return err
	}
	defer l.files.release(file)

	// unnoted gets what the index would have got from its last entry on: nothing,
	// unless it lost its own end.
	unnoted, agrees := newIndex(s.baseOffset), true
	err = walk(file, s.size.Load(), pos, s.baseOffset, func(h record.Batch, at, size int64) bool {
		if at == pos && lastOffset >= 0 && h.LastOffset() != s.baseOffset+lastOffset {
			agrees = false
		}
		unnoted.add(h, at, size)
		return agrees
	})
	switch {
	case err != nil:
		return err
	case !agrees:
		return errors.New("the last index entry is not of the batch it leads to")
	case len(unnoted.offsets) > 0 || unnoted.maxTimestamp > t.maxTimestamp:
		return errors.New("index ends early")
	}
	return nil
}
