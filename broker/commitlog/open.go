package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// load opens what is in the log's directory, or begins the log when no segment is
// there. It leaves everything that it finds durable. m is where the log stood at
// the last checkpoint; with segment -1 that is not known.
func (l *Log) load(m mark) error {
	l.start.Store(m.startOffset)
	l.startOffset = m.startOffset
	segments, err := l.findSegments()
	if err != nil {
		return err
	}
	if len(segments) == 0 { // a new log, or one that lost them all
		first := newSegment(l.path, max(m.recoveryPoint, m.startOffset))
		file, err := l.createSegment(first)
		if err != nil {
			return err
		}
		l.files.adopt(first, logExt, file)
		l.view.Store(&view{[]*segment{first}})
		l.startAt(first, -1, first.baseOffset)
		l.reportGap(offsetGap{m.startOffset, first.baseOffset})
		return nil
	}
	last := segments[len(segments)-1]
	l.view.Store(&view{segments})
	if err := l.recover(last, m); err != nil {
		return fmt.Errorf("recover segment %d: %w", last.baseOffset, err)
	}
	l.loadAges(m)
	if m.segment == last.baseOffset && segments[0].baseOffset <= m.startOffset {
		return nil
	}
	// A process that was killed may have left names that only the machine's memory
	// holds, and taken others away.
	return l.fs.SyncDir(l.path)
}

// findSegments lists the segments on disk, oldest first. It finishes a compaction
// that was cut short, and removes what an interrupted step left: temporary files,
// and indexes without their log.
func (l *Log) findSegments() ([]*segment, error) {
	entries, err := l.fs.ReadDir(l.path)
	if err != nil {
		return nil, err
	}
	if changed, err := l.finishSwaps(entries); err != nil {
		return nil, err
	} else if changed {
		if entries, err = l.fs.ReadDir(l.path); err != nil {
			return nil, err
		}
	}
	logs := map[int64]bool{}
	var segments []*segment
	for _, e := range entries {
		baseOffset, ext, ok := parseSegmentName(e.Name())
		if !ok || ext != logExt {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		s := newSegment(l.path, baseOffset)
		s.size.Store(info.Size())
		segments, logs[baseOffset] = append(segments, s), true
	}
	for _, e := range entries {
		baseOffset, ext, ok := parseSegmentName(e.Name())
		orphan := ok && (ext == indexExt || ext == timeIndexExt) && !logs[baseOffset]
		if orphan || strings.HasSuffix(e.Name(), ".tmp") || strings.HasSuffix(e.Name(), cleanedExt) {
			if err := l.fs.Remove(filepath.Join(l.path, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.baseOffset, b.baseOffset) })
	return segments, nil
}

// recover finds where the last segment's whole batches end, cuts what follows, and
// makes sure that the rest is on stable storage: after a kill, what the survey has
// read may have come from memory.
//
// Bad bytes that whole batches follow are damage, and what follows stays, when all
// of it was synced: after a clean stop, and before the recovery point, which is
// where the survey begins. Behind that point a power cut leaves the same picture:
// the disk may have written a later batch and not an earlier one. Nothing from the
// first bad byte on is kept in the log then, since a batch without those before it
// would break its producer's order; the bytes go into quarantine.
func (l *Log) recover(s *segment, m mark) error {
	file, err := l.fs.OpenFile(s.path(logExt), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { file.Close() }() // another one after a repair; all in it is synced, or the log does not open
	r, err := l.surveyLast(s, file, m)
	if err != nil {
		return err
	}
	if len(r.middle()) > 0 && !l.dir.cleanStart {
		if err := l.tearOff(s, file, &r); err != nil {
			return err
		}
	}
	if len(r.middle()) > 0 {
		if cleanErr := l.cleanLast(s, file, r); cleanErr != nil {
			s.spoiled.Store(true)
			l.log.Error("damaged segment not repaired; reading around the damage", "log", l.name, "segment", s.baseOffset, "err", cleanErr)
		} else {
			clean, err := l.fs.OpenFile(s.path(logExt), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			file.Close()
			file = clean
			if r, err = l.surveyLast(s, file, mark{segment: -1}); err != nil {
				return err
			}
		}
	}
	if r.goodEnd < r.size {
		l.log.Warn("torn tail cut", "log", l.name, "segment", s.baseOffset, "cutBytes", r.size-r.goodEnd, "endOffset", r.nextOffset)
		if err := file.Truncate(r.goodEnd); err != nil {
			return err
		}
	}
	if r.size > r.from || m.segment < 0 { // or it was cut, by a process that got no further
		if err := file.Sync(); err != nil {
			return err
		}
	}
	s.index.Store(r.x)
	s.size.Store(r.goodEnd)
	l.startAt(s, r.last, r.nextOffset)
	l.raise(max(m.recoveryPoint, m.startOffset))
	return nil
}

// startAt makes nextOffset the end of the log, in s, whose last batch begins at
// last.
func (l *Log) startAt(s *segment, last, nextOffset int64) {
	l.tail = point{s.baseOffset, last, s.size.Load(), nextOffset}
	l.synced = l.tail
	l.end.Store(nextOffset)
	l.durable.Store(nextOffset)
	l.told.durableEnd, l.saidDurable = nextOffset, nextOffset
}

// raise moves the end up to offset, before which batches were synced, and seen
// perhaps: when they are lost, their offsets must not be another batch's.
func (l *Log) raise(offset int64) {
	end := l.end.Load()
	if end >= offset {
		return
	}
	l.reportGap(offsetGap{max(end, l.start.Load()), offset})
	l.tail.last, l.tail.position, l.tail.offset = -1, -1, offset // nothing that a start could rely on
	l.synced = l.tail
	l.end.Store(offset)
	l.durable.Store(offset)
	l.told.durableEnd, l.saidDurable = offset, offset
}

// lastSegment is what a start finds of the last segment.
type lastSegment struct {
	findings
	x    *index
	size int64
	last int64 // where the last whole batch begins; -1 when there is none

	// Where the survey began: what is before was not looked at.
	from       int64
	fromOffset int64 // of the batch that can stand there
	fromLast   int64 // last, as it is before it
}

// surveyLast surveys the last segment from where m says, and begins its index.
func (l *Log) surveyLast(s *segment, file disk.File, m mark) (r lastSegment, err error) {
	if r.size, err = file.Size(); err != nil {
		return r, err
	}
	nextOffset := s.baseOffset
	r.last = -1
	if m.holds(s, file, r.size, l.dir.cleanStart) {
		r.from, r.last, nextOffset = m.position, m.last, m.recoveryPoint
	}
	r.fromOffset, r.fromLast = nextOffset, r.last
	r.x = newIndexFrom(s.baseOffset, r.from, nextOffset)
	b := bounds{size: r.size, baseOffset: s.baseOffset, endOffset: noEnd}
	r.findings, err = b.survey(file, r.from, nextOffset, func(h record.Batch, pos, n int64) error {
		r.x.add(h, pos, n)
		r.last = pos
		return nil
	})
	return r, err
}

// tearOff ends what was found at the first bad byte, and survey's index with it. A
// quarantine that cannot be written to is no reason not to start.
func (l *Log) tearOff(s *segment, file disk.File, r *lastSegment) (err error) {
	first := r.bad[0]
	if err := l.setAside(file, s, []span{{from: first.from, to: r.size}}); err != nil {
		l.log.Error("torn tail not kept aside", "log", l.name, "segment", s.baseOffset, "err", err)
	}
	size := r.size
	b := bounds{size: first.from, baseOffset: s.baseOffset, endOffset: noEnd}
	from, next := r.from, r.fromOffset
	r.x, r.last = newIndexFrom(s.baseOffset, from, next), r.fromLast
	r.findings, err = b.survey(file, from, next, func(h record.Batch, pos, n int64) error {
		r.x.add(h, pos, n)
		r.last = pos
		return nil
	})
	r.size = size
	return err
}

// cleanLast takes bad bytes out of the last segment, before anything is appended.
func (l *Log) cleanLast(s *segment, file disk.File, r lastSegment) error {
	if err := l.setAside(file, s, r.middle()); err != nil {
		return err
	}
	if _, err := l.rewrite(file, s, r.bad, r.size); err != nil {
		return err
	}
	l.reportGaps(r.findings, bounds{endOffset: noEnd})
	return nil
}

// checkIdentity compares partition.metadata with the topic id, or writes it.
func (l *Log) checkIdentity(topicID string) error {
	path := filepath.Join(l.path, partitionMetadata)
	found, err := readTopicID(l.fs, path)
	switch {
	case errors.Is(err, errMetadata):
		l.log.Error("partition.metadata is damaged; written anew", "log", l.name, "err", err)
		return disk.WriteFile(l.fs, path, formatPartitionMetadata(topicID))
	case removed(err):
		return disk.WriteFile(l.fs, path, formatPartitionMetadata(topicID))
	case err != nil:
		return err
	case found != topicID:
		return fmt.Errorf("the directory is of topic id %s, not %s", found, topicID)
	}
	return nil
}
