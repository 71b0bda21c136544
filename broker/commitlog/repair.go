package commitlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// damaged is the error of a read that met bytes that are no batch.
type damaged struct {
	segment *segment
	cause   error
}

func (d *damaged) Error() string {
	return fmt.Sprintf("segment %d is damaged: %v", d.segment.baseOffset, d.cause)
}

func (d *damaged) Unwrap() error { return d.cause }

// damage makes err one that calls for a repair of s, if that is what it is about.
func damage(s *segment, err error) error {
	if badData(err) || disk.Unreadable(err) {
		return &damaged{s, err}
	}
	return err
}

// repair takes out of a segment what is no batch, so that the rest can be read.
// An active one is sealed first. A segment that cannot be written anew, for want
// of space perhaps, is left as it is and read around.
func (l *Log) repair(s *segment) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if l.closed.Load() || s.spoiled.Load() || !slices.Contains(l.view.Load().segments, s) {
		return
	}
	err := l.sealFor(s)
	if err == nil {
		err = l.mend(s)
	}
	if err != nil {
		s.spoiled.Store(true)
		l.log.Error("damaged segment not repaired; reading around the damage", "log", l.name, "segment", s.baseOffset, "err", err)
	}
}

// sealFor seals s if it is active.
func (l *Log) sealFor(s *segment) error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if l.view.Load().active() != s {
		return nil
	}
	if err := l.usable(); err != nil {
		return err
	}
	return l.roll()
}

// mend surveys a sealed segment and puts a clean one in its place. retainMu is
// held.
func (l *Log) mend(s *segment) error {
	segments := l.view.Load().segments
	i := slices.Index(segments, s)
	b := bounds{baseOffset: s.baseOffset, endOffset: segments[i+1].baseOffset}
	next, err := l.clean(s, &b)
	if err != nil || next == nil {
		return err
	}
	l.mu.Lock()
	segments = slices.Clone(l.view.Load().segments) // an append may have rolled
	segments[slices.Index(segments, s)] = next
	next.age = s.age
	l.view.Store(&view{segments})
	l.mu.Unlock()
	l.budget.used.Add(next.size.Load() - s.size.Load())
	l.files.forget(s, true)
	return nil
}

// clean surveys the file of s and, if there are bad bytes in it, puts them into
// quarantine and writes the file anew without them. It returns the segment that
// the new file is, nil when the old one was clean, and sets b's size.
func (l *Log) clean(s *segment, b *bounds) (*segment, error) {
	file, err := l.fs.OpenFile(s.path(logExt), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if b.size, err = file.Size(); err != nil {
		return nil, err
	}
	f, err := b.survey(file, 0, s.baseOffset, func(record.Batch, int64, int64) error { return nil })
	if err != nil {
		return nil, err
	}
	if len(f.bad) == 0 {
		s.size.Store(b.size)
		l.reportGaps(f, *b)
		return nil, nil
	}
	if err := l.setAside(file, s, f.bad); err != nil {
		return nil, err
	}
	size, err := l.rewrite(file, s, f.bad, b.size)
	if err != nil {
		return nil, err
	}
	l.reportGaps(f, *b)
	next := newSegment(l.path, s.baseOffset)
	next.size.Store(size)
	return next, nil
}

// setAside copies bad bytes into the quarantine.
func (l *Log) setAside(file io.ReaderAt, s *segment, bad []span) error {
	for _, span := range bad {
		kept, err := l.quarantine.keep(file, s.baseOffset, span.from, span.to)
		if err != nil {
			return err
		}
		l.metrics.quarantined.Add(float64(span.to - span.from))
		l.log.Error("damaged bytes taken out of a segment", "log", l.name, "segment", s.baseOffset,
			"position", span.from, "bytes", span.to-span.from, "kept", kept)
	}
	return nil
}

// rewrite replaces the segment's file by one without the bad bytes, and returns
// its size. The indexes go before: their positions are the old file's.
func (l *Log) rewrite(file io.ReaderAt, s *segment, bad []span, size int64) (newSize int64, err error) {
	path := s.path(logExt)
	tmp, err := l.fs.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return 0, err
	}
	pos := int64(0)
	for _, span := range append(slices.Clone(bad), span{from: size, to: size}) {
		if newSize, err = copyRange(tmp, newSize, file, pos, span.from); err != nil {
			break
		}
		pos = span.to
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		l.fs.Remove(path + ".tmp")
		return 0, err
	}
	for _, ext := range []string{indexExt, timeIndexExt} {
		if err := l.fs.Remove(s.path(ext)); err != nil && !removed(err) {
			return 0, err
		}
	}
	if err := l.fs.SyncDir(l.path); err != nil {
		return 0, err
	}
	if err := l.fs.Rename(path+".tmp", path); err != nil {
		return 0, err
	}
	return newSize, l.fs.SyncDir(l.path)
}

// reportGaps reports the offsets that bad bytes held, and those that are missing
// at the segment's end.
func (l *Log) reportGaps(f findings, b bounds) {
	for _, span := range f.middle() {
		l.reportGap(offsetGap{span.fromOffset, span.toOffset})
	}
	if b.endOffset != noEnd {
		l.reportGap(offsetGap{f.nextOffset, b.endOffset})
	}
}
