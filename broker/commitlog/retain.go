package commitlog

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Retain seals the active segment if it is old enough, and removes the oldest
// segments as the settings say: while the rest still has RetentionBytes, and
// those whose last append is longer ago than Retention. What is not below the
// high watermark stays. Ages are by the age clock, and count from when a batch was
// appended: no producer, and no wall clock, makes a record older.
func (l *Log) Retain(highWatermark int64) (removedBytes int64, err error) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	now := l.dir.clock.now()
	rollErr := l.rollAged(now)
	if rollErr != nil && !errors.Is(rollErr, ErrFull) { // a full disk needs the rest all the more
		return 0, rollErr
	}
	if removedBytes, err = l.removeDeleted(); err != nil {
		return removedBytes, err
	}
	for {
		s := l.oldestToGo(now, highWatermark)
		if s == nil {
			return removedBytes, rollErr
		}
		if err := l.remove(s, byRetention); err != nil {
			return removedBytes, err
		}
		removedBytes += s.size.Load()
	}
}

// rollAged seals an active segment that took its first append SegmentAge ago, or
// its last one Retention ago.
func (l *Log) rollAged(now time.Duration) error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	active, s := l.view.Load().active(), l.settings.Load()
	if active.size.Load() == 0 || !l.aged(active, now, s.SegmentAge) && !l.expired(active, now, s.Retention) {
		return nil
	}
	return l.roll()
}

// expired reports whether s had its last append longer ago than retention.
func (l *Log) expired(s *segment, now, retention time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return retention >= 0 && s.lastAppend > 0 && l.dir.clock.ago(s.lastAppend, now) > retention
}

// oldestToGo returns the first segment if it is sealed and may go.
func (l *Log) oldestToGo(now time.Duration, highWatermark int64) *segment {
	v, s := l.view.Load(), l.settings.Load()
	if l.closed.Load() || len(v.segments) == 1 || v.segments[1].baseOffset > highWatermark {
		return nil
	}
	oldest := v.segments[0]
	tooMuch := s.RetentionBytes >= 0 && l.Size()-oldest.size.Load() >= s.RetentionBytes
	if tooMuch || l.expired(oldest, now, s.Retention) {
		return oldest
	}
	return nil
}

// remove takes the first segment away. It is out of the list before its file
// goes, so that readers who find no file know why; and its name is gone for good
// before the next one may go, so that no power cut leaves a hole.
func (l *Log) remove(s *segment, why dropReason) error {
	if err := l.syncNames(); err != nil { // of one that went before
		return err
	}
	l.mu.Lock()
	rest := slices.Clone(l.view.Load().segments[1:])
	l.view.Store(&view{rest})
	l.mu.Unlock()
	l.metrics.dropped(why, s.size.Load(), l.readableIn(s, rest[0]))
	defer l.files.forget(s, true)
	defer l.budget.removed(s.size.Load())
	for _, ext := range []string{logExt, indexExt, timeIndexExt} {
		if err := l.fs.Remove(s.path(ext)); err != nil && !removed(err) {
			return fmt.Errorf("%s: remove segment %d: %w", l.name, s.baseOffset, err)
		}
	}
	l.unsyncedNames = true
	return l.syncNames()
}

// syncNames makes it durable that segments' names are gone. retainMu is held.
func (l *Log) syncNames() error {
	if !l.unsyncedNames {
		return nil
	}
	err := l.fs.SyncDir(l.path)
	switch {
	case errors.Is(err, ErrDescriptors): // the directory was not opened, let alone synced
		return fmt.Errorf("%s: remove a segment: %w", l.name, err)
	case err != nil:
		return l.fail("remove a segment", err)
	}
	l.unsyncedNames = false
	return nil
}
