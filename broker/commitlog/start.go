package commitlog

import "fmt"

// DeleteBefore gives up the records before offset: the log starts there from now on,
// in the middle of a segment perhaps, or where it starts already if that is later. It
// returns the start offset. No crash takes it back: what is not durable yet is made
// so. Segments that lie before the start altogether are removed.
func (l *Log) DeleteBefore(offset int64) (logStartOffset int64, err error) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	start := l.StartOffset()
	switch {
	case offset > l.EndOffset():
		return 0, fmt.Errorf("%s: delete records: %w: offset %d is past the last one", l.name, ErrOffsetOutOfRange, offset)
	case offset <= start:
		return start, nil
	}
	if err := l.keepStart(offset); err != nil {
		return 0, err
	}
	l.start.Store(offset)
	l.metrics.dropped(byDelete, 0, offset-start)
	if _, err := l.removeDeleted(); err != nil { // retention tries again
		l.log.Warn("segments of deleted records not removed", "log", l.name, "logStartOffset", offset, "err", err)
	}
	return offset, nil
}

// keepStart has the checkpoints say that the log starts at offset. What comes
// before is made durable by any policy: the start of a log is not past its end.
func (l *Log) keepStart(offset int64) error {
	l.mu.Lock()
	syncedEnd := l.synced.offset
	l.mu.Unlock()
	if syncedEnd < offset {
		if err := l.Flush(); err != nil {
			return err
		}
	}
	l.setKeptStart(offset)
	err := l.dir.checkpoint(true)
	if err != nil {
		l.setKeptStart(l.start.Load())
		if noSpace(err) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("%s: delete records: %w", l.name, err)
	}
	return nil
}

func (l *Log) setKeptStart(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.startOffset = offset
}

// removeDeleted removes the segments whose records were all deleted. The active one
// is sealed for that. retainMu is held.
func (l *Log) removeDeleted() (removedBytes int64, err error) {
	start := l.start.Load()
	if start == l.end.Load() && start > l.view.Load().active().baseOffset {
		if err := l.rollForDrop(); err != nil {
			return 0, err
		}
	}
	for {
		v := l.view.Load()
		if len(v.segments) == 1 || v.segments[1].baseOffset > start {
			return removedBytes, nil
		}
		s := v.segments[0]
		if err := l.remove(s, byDelete); err != nil {
			return removedBytes, err
		}
		removedBytes += s.size.Load()
	}
}

// readableIn is how many offsets of the first segment, which next follows, are not
// before the log's start.
func (l *Log) readableIn(s, next *segment) int64 {
	return max(0, next.baseOffset-max(s.baseOffset, l.start.Load()))
}

// Flush makes all that was appended before it durable, whatever the policy.
func (l *Log) Flush() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	return l.flush()
}

// flush is Flush for who holds syncMu.
func (l *Log) flush() error {
	l.mu.Lock()
	tail := l.tail
	l.mu.Unlock()
	if !l.syncDirty() {
		if err := l.failure(); err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", l.name, ErrClosed)
	}
	if l.durable.Load() < tail.offset { // whoever appended has told the committer
		l.durable.Store(tail.offset)
	}
	return nil
}
