package commitlog

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// aside is appended to the file name of a segment that cannot be part of the log
// any more. Nothing reads it again; an operator may.
const aside = ".aside"

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
	if segments, err = l.contiguous(segments); err != nil {
		return err
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

// contiguous returns the newest run of segments in which each begins where the one
// before ends. Our own steps cannot leave a hole, since the older segment's name
// is gone for good before the next may go; a file system check, a bad block or a
// person can. Of two runs the newer is kept: offsets go on from it, and what was
// told to be stored last is in it. The older files are set aside, not removed.
func (l *Log) contiguous(segments []*segment) ([]*segment, error) {
	for i := len(segments) - 2; i >= 0; i-- {
		end := segments[i+1].baseOffset
		if l.checkEnd(segments[i], end) == nil {
			continue
		}
		nextOffset, err := l.rebuildIndexes(segments[i])
		if err == nil && nextOffset != end {
			err = fmt.Errorf("it ends at offset %d", nextOffset)
		}
		if err == nil {
			continue
		}
		l.log.Error("segments set aside", "log", l.name, "from", segments[0].baseOffset, "to", end, "damaged", segments[i].baseOffset, "err", err)
		for _, s := range segments[:i+1] {
			l.files.forget(s, true)
			if err := l.fs.Rename(s.path(logExt), s.path(logExt)+aside); err != nil {
				return nil, err
			}
		}
		return segments[i+1:], nil
	}
	return segments, nil
}

// recover finds where the last segment's whole batches end, cuts what follows, and
// makes sure that the rest is on stable storage: after a kill, what the scan has
// read may have come from memory.
func (l *Log) recover(s *segment) (err error) {
	file, err := l.fs.OpenFile(s.path(logExt), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	size, err := file.Size()
	if err != nil {
		return err
	}
	x := newIndex(s.baseOffset)
	goodBytes, nextOffset, err := scan(file, size, s.baseOffset, x)
	if err != nil {
		return err
	}
	if goodBytes < size {
		l.log.Warn("torn tail cut", "log", l.name, "segment", s.baseOffset, "cutBytes", size-goodBytes, "endOffset", nextOffset)
		if err := file.Truncate(goodBytes); err != nil {
			return err
		}
	}
	if size > 0 {
		if err := file.Sync(); err != nil {
			return err
		}
	}
	s.index.Store(x)
	s.size.Store(goodBytes)
	l.file = file
	l.end.Store(nextOffset)
	l.durable.Store(nextOffset)
	l.told.durableEnd = nextOffset
	return nil
}

// checkIdentity compares partition.metadata with the topic id, or writes it.
func (l *Log) checkIdentity(topicID string) error {
	path := filepath.Join(l.path, partitionMetadata)
	found, err := readTopicID(l.fs, path)
	switch {
	case removed(err):
		return disk.WriteFile(l.fs, path, formatPartitionMetadata(topicID))
	case err != nil:
		return err
	case found != topicID:
		return fmt.Errorf("the directory is of topic id %s, not %s", found, topicID)
	}
	return nil
}
