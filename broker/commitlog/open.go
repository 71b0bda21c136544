package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// plausible is before any time at which a box can be running.
var plausible = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// load opens what is in the log's directory, or begins the log at offset 0 when no
// segment is there. It leaves everything that it finds durable.
func (l *Log) load() error {
	segments, err := l.findSegments()
	if err != nil {
		return err
	}
	if len(segments) == 0 {
		first := newSegment(l.path, 0)
		if l.file, err = l.createSegment(first); err != nil {
			return err
		}
		l.view.Store(&view{[]*segment{first}})
		return nil
	}
	last := segments[len(segments)-1]
	if err := l.recover(last); err != nil {
		return fmt.Errorf("recover segment %d: %w", last.baseOffset, err)
	}
	l.view.Store(&view{segments})
	// A process that was killed may have left names that only the machine's memory
	// holds.
	return l.fs.SyncDir(l.path)
}

// findSegments lists the segments on disk, oldest first. It removes what an
// interrupted step left: temporary files, and indexes without their log.
func (l *Log) findSegments() ([]*segment, error) {
	entries, err := l.fs.ReadDir(l.path)
	if err != nil {
		return nil, err
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
		s.firstAppend = appendTime(info.ModTime(), time.Now())
		s.lastAppend = s.firstAppend
		segments, logs[baseOffset] = append(segments, s), true
	}
	for _, e := range entries {
		baseOffset, ext, ok := parseSegmentName(e.Name())
		orphan := ok && (ext == indexExt || ext == timeIndexExt) && !logs[baseOffset]
		if orphan || strings.HasSuffix(e.Name(), ".tmp") {
			if err := l.fs.Remove(filepath.Join(l.path, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.baseOffset, b.baseOffset) })
	return segments, nil
}

// appendTime is when a file found at now had its last append. A box without a
// clock may have written it in 1970, or have started in 1970 to find it from the
// future; then its age counts from now.
func appendTime(modified, now time.Time) time.Time {
	if modified.Before(plausible) || modified.After(now) {
		return now
	}
	return modified
}

// recover finds where the last segment's whole batches end, cuts what follows, and
// makes sure that the rest is on stable storage: after a kill, what the survey has
// read may have come from memory. Bad bytes that whole batches follow are no torn
// tail but damage: what follows them may have been acknowledged, and stays.
func (l *Log) recover(s *segment) (err error) {
	file, err := l.fs.OpenFile(s.path(logExt), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { // file is another one after a repair
		if err != nil {
			file.Close()
		}
	}()
	x, f, size, err := l.surveyLast(s, file)
	if err != nil {
		return err
	}
	if len(f.middle()) > 0 {
		if cleanErr := l.cleanLast(s, file, f, size); cleanErr != nil {
			s.spoiled.Store(true)
			l.log.Error("damaged segment not repaired; reading around the damage", "log", l.name, "segment", s.baseOffset, "err", cleanErr)
		} else {
			clean, err := l.fs.OpenFile(s.path(logExt), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			file.Close()
			file = clean
			if x, f, size, err = l.surveyLast(s, file); err != nil {
				return err
			}
		}
	}
	if f.goodEnd < size {
		l.log.Warn("torn tail cut", "log", l.name, "segment", s.baseOffset, "cutBytes", size-f.goodEnd, "endOffset", f.nextOffset)
		if err := file.Truncate(f.goodEnd); err != nil {
			return err
		}
	}
	if size > 0 {
		if err := file.Sync(); err != nil {
			return err
		}
	}
	s.index.Store(x)
	s.size.Store(f.goodEnd)
	l.file = file
	l.end.Store(f.nextOffset)
	l.durable.Store(f.nextOffset)
	l.told.durableEnd = f.nextOffset
	return nil
}

// surveyLast surveys the last segment and builds its index.
func (l *Log) surveyLast(s *segment, file disk.File) (x *index, f findings, size int64, err error) {
	if size, err = file.Size(); err != nil {
		return nil, findings{}, 0, err
	}
	x = newIndex(s.baseOffset)
	b := bounds{size: size, baseOffset: s.baseOffset, endOffset: noEnd}
	f, err = b.survey(file, 0, s.baseOffset, func(h record.Batch, pos, n int64) error {
		x.add(h, pos, n)
		return nil
	})
	return x, f, size, err
}

// cleanLast takes bad bytes out of the last segment, before anything is appended.
func (l *Log) cleanLast(s *segment, file disk.File, f findings, size int64) error {
	if err := l.setAside(file, s, f.middle()); err != nil {
		return err
	}
	if _, err := l.rewrite(file, s, f.bad, size); err != nil {
		return err
	}
	l.reportGaps(f, bounds{endOffset: noEnd})
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
