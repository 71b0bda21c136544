package commitlog

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/headwater/headwater/broker/disk"
)

// resetFile says, in a log's directory, that the log is to be emptied. It is there
// before the first segment goes, and goes when the log is empty and the checkpoints
// say so; a start that finds it goes on from there. So a power cut leaves the log as it
// was, or empty. Until its removal is durable checkpoints do not say where in a segment
// the log ends: a start that does not find it makes that durable then.
const resetFile = "headwater.reset"

const maxResetBytes = 1 << 10

// reset is what resetFile says: where the log's one segment begins, and where the log
// starts and ends: there, or behind that when its first batch will begin before its
// start.
type reset struct{ baseOffset, startOffset int64 }

func formatReset(r reset) []byte {
	return sealed(fmt.Appendf(nil, "0\n%d %d\n", r.baseOffset, r.startOffset), " ")
}

func parseReset(data []byte) (r reset, err error) {
	if !isSealed(data, " ") {
		return r, fmt.Errorf("%s is damaged", resetFile)
	}
	if _, err := fmt.Sscanf(string(data), "0\n%d %d\n", &r.baseOffset, &r.startOffset); err != nil {
		return r, fmt.Errorf("%s: %w", resetFile, err)
	}
	if r.baseOffset < 0 || r.startOffset < r.baseOffset || !bytes.Equal(formatReset(r), data) {
		return r, fmt.Errorf("%s: from %d to %d", resetFile, r.baseOffset, r.startOffset)
	}
	return r, nil
}

// Reset removes everything: the log starts and ends at startOffset, wherever it was
// before, and knows no leader epoch. What Truncate says of the durable end, of readers,
// of what the caller remembers and of errors holds here, too.
func (l *Log) Reset(startOffset int64) error {
	err := l.whileStill(func() error {
		if startOffset < 0 {
			return fmt.Errorf("%s: %w", l.name, ErrOffsetOutOfRange)
		}
		return l.restart(startOffset, startOffset)
	})
	l.awaitTelling()
	if err != nil {
		return fmt.Errorf("reset to offset %d: %w", startOffset, err)
	}
	return nil
}

// restart empties the log, for who has it to himself. Its segment begins at baseOffset.
func (l *Log) restart(baseOffset, startOffset int64) error {
	path := filepath.Join(l.path, resetFile)
	if err := disk.WriteFile(l.fs, path, formatReset(reset{baseOffset, startOffset})); err != nil {
		if removeErr := l.fs.Remove(path); !removed(removeErr) { // it has its name, durably perhaps
			return l.fail("reset", err)
		}
		if noSpace(err) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("%s: %w", l.name, err)
	}
	v, end := l.view.Load(), l.end.Load()
	next := l.publishReset(v, baseOffset, startOffset)
	cutBytes := l.countCut(v, end)
	if err := l.resetFiles(next); err != nil {
		return l.fail("reset", err)
	}
	l.finishCut(point{baseOffset, -1, 0, startOffset}, end, cutBytes)
	return nil
}

// publishReset has readers see the empty log.
func (l *Log) publishReset(v *view, baseOffset, startOffset int64) (next *segment) {
	next = newSegment(l.path, baseOffset)
	next.index.Store(newIndex(baseOffset))
	l.dir.indexes.join(next.index.Load())
	l.dir.indexes.leave(v.active().index.Load())
	l.appended = true

	l.epochs.mu.Lock()
	defer l.epochs.mu.Unlock()
	l.mu.Lock()
	l.view.Store(&view{[]*segment{next}})
	l.start.Store(startOffset)
	l.end.Store(startOffset)
	l.durable.Store(startOffset)
	l.startOffset = startOffset
	l.tail = point{baseOffset, -1, 0, startOffset}
	l.synced = unsettled(startOffset)
	if l.highWatermark >= 0 {
		l.highWatermark = startOffset
	}
	l.agesDue = 0
	l.mu.Unlock()
	l.cuts.Add(1)
	l.epochs.known.Store(&epochs{})
	l.epochs.current.Store(-1)
	l.epochs.next.Store(-1)
	for _, s := range v.segments {
		l.files.forget(s, true)
	}
	return next
}

// resetFiles does on disk what resetFile says, and removes that.
func (l *Log) resetFiles(next *segment) error {
	if err := l.wipe(); err != nil {
		return err
	}
	file, err := l.createFile(next)
	if err != nil {
		return err
	}
	l.files.adopt(next, logExt, file)
	if err := l.dir.cleanPoints.lower(l.name, l.StartOffset()); err != nil {
		return err
	}
	if err := l.dir.checkpointBack(l, l.StartOffset(), l.EndOffset()); err != nil {
		return err
	}
	return l.endReset()
}

// wipe removes the files of all segments and what is written about them, durably.
// Snapshots of producers are not this room's, and lie behind the log's end or before
// its start from now on.
func (l *Log) wipe() error {
	entries, err := l.fs.ReadDir(l.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, ext, named := parseSegmentName(e.Name())
		ofSegment := named && (ext == indexExt || ext == timeIndexExt || strings.HasPrefix(ext, logExt))
		if !ofSegment && e.Name() != agesFile && e.Name() != epochFile {
			continue
		}
		if err := l.fs.Remove(filepath.Join(l.path, e.Name())); err != nil && !removed(err) {
			return err
		}
	}
	return l.fs.SyncDir(l.path)
}

func (l *Log) endReset() error {
	if err := l.fs.Remove(filepath.Join(l.path, resetFile)); err != nil && !removed(err) {
		return err
	}
	return l.fs.SyncDir(l.path)
}

// finishReset does what is left of a reset that was cut short, before the log is
// opened, and returns where it stands then. m is where it stood at the last checkpoint.
func (l *Log) finishReset(m mark) (mark, error) {
	data, err := disk.ReadFile(l.fs, filepath.Join(l.path, resetFile), maxResetBytes)
	if removed(err) {
		return m, nil
	}
	var r reset
	if err == nil {
		r, err = parseReset(data)
	}
	if err != nil {
		l.log.Error("headwater.reset is damaged; the log is left as it is", "log", l.name, "err", err)
		return m, l.endReset()
	}
	m = mark{topicID: l.topicID, segment: -1, last: -1, recoveryPoint: r.startOffset, startOffset: r.startOffset, highWatermark: r.startOffset}
	// Its name may be in the machine's memory only, if it was the process that ended.
	if err := l.fs.SyncDir(l.path); err != nil {
		return m, err
	}
	if err := l.wipe(); err != nil {
		return m, err
	}
	file, err := l.createFile(newSegment(l.path, r.baseOffset))
	if err != nil {
		return m, err
	}
	if err := file.Close(); err != nil {
		return m, err
	}
	if err := l.dir.cleanPoints.lower(l.name, r.startOffset); err != nil {
		return m, err
	}
	if err := l.dir.resetMark(l.name, m); err != nil {
		return m, err
	}
	l.log.Info("reset that was cut short is finished", "log", l.name, "logStartOffset", r.startOffset)
	return m, l.endReset()
}

// resetMark has checkpoints say m of a log that is not open.
func (d *Dir) resetMark(name string, m mark) error {
	d.mu.Lock()
	d.marks[name] = m
	delete(d.startOffsets, name)
	delete(d.closedWell, name)
	d.mu.Unlock()
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	if err := d.lowerOffset(startOffsetFile, name, m.startOffset); err != nil {
		return err
	}
	if err := d.lowerOffset(highWatermarkFile, name, m.highWatermark); err != nil {
		return err
	}
	return d.writeCheckpoint(true)
}
