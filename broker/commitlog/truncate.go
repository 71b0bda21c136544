package commitlog

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// A truncation goes from the outside in, and a power cut between any two steps leaves
// the log as it was, or ended at a batch that is not before the new end:
//
//  1. what stays is synced;
//  2. what is written elsewhere of batches that go is taken back: ages of segments, how
//     far compaction got, and the recovery point: with the old one a start would take
//     the missing batches for lost. Until the end of step 5 checkpoints do not say
//     where in a segment that is, so that a start after a kill, which may find what
//     only the machine's memory holds, makes all of it durable. The index files of the
//     segment that will be the last go, too: other batches will have the places in it;
//  3. readers get the new list of segments, and the new end;
//  4. segments behind the new end go, the last one first, each durably before the next:
//     there is never a hole;
//  5. the last segment is cut, and that is synced.
//
// Of the leader epochs' file nothing is taken back: what it says behind the log's end
// does not count, and it is written anew before the next batch is.

// cut is where a log is to end: in one of its segments, behind a whole batch.
type cut struct {
	at  int   // the segment's place in the view
	end point // as the tail will be
}

// Truncate removes all batches that reach endOffset or lie behind it, so that the log
// ends there, or where the last batch before it does: a batch goes whole, and of the
// offsets that compaction or damage has left open none is the log's any more. Leader
// epochs that begin at the new end or behind it go, too, also when no batch does. A log
// that starts behind endOffset is empty then, and starts there.
//
// When it returns no power cut can bring anything back, all that is left is durable,
// and the durable end, which goes back here, is the log's end; see Notify. A read that
// is under way finds nothing. A caller that reads up to an offset which it settled
// before must settle it again, and one that remembers what batches have told, like the
// snapshots of producers that it keeps in the log's directory, must forget what is
// behind the new end before it appends. No crash leaves more to do for a start than
// what it does anyway.
//
// It may not be called with a lock held that the log's notify function takes. After an
// error that does not wrap ErrOffline nothing is changed.
func (l *Log) Truncate(endOffset int64) error {
	err := l.whileStill(func() error { return l.truncate(endOffset) })
	l.awaitTelling()
	if err != nil {
		return fmt.Errorf("truncate to offset %d: %w", endOffset, err)
	}
	return nil
}

// whileStill does what needs the log for itself: nothing is appended, removed, replaced
// or synced meanwhile.
func (l *Log) whileStill(do func() error) error {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	return do()
}

// truncate is Truncate for who has the log to himself.
func (l *Log) truncate(endOffset int64) error {
	start, end := l.StartOffset(), l.end.Load()
	switch {
	case endOffset < 0:
		return fmt.Errorf("%s: %w", l.name, ErrOffsetOutOfRange)
	case endOffset >= end:
		l.epochs.mu.Lock()
		defer l.epochs.mu.Unlock()
		l.cutEpochs(end)
		return nil
	case endOffset <= start:
		return l.restart(endOffset, endOffset)
	}
	if err := l.flush(); err != nil {
		return err
	}
	v := l.view.Load()
	c, err := l.findCut(v, endOffset)
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	if c.end.offset <= start {
		return l.restart(start, start)
	}
	file, err := l.fs.OpenFile(v.segments[c.at].path(logExt), os.O_RDWR, 0) // before anything depends on it
	if err == nil {
		if err = l.prepareCut(v, c); err != nil {
			file.Close()
		}
	}
	if noSpace(err) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	next := l.publishCut(v, c)
	cutBytes := l.countCut(v, end)
	if err := l.cutFiles(v, c, file); err != nil {
		file.Close()
		return l.fail("truncate", err)
	}
	l.files.adopt(next, logExt, file)
	l.finishCut(c.end, end, cutBytes)
	return nil
}

// findCut looks for the last batch that ends at or before endOffset, in the segment
// that holds that.
func (l *Log) findCut(v *view, endOffset int64) (c cut, err error) {
	c.at = v.find(endOffset)
	s := v.segments[c.at]
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return c, err
	}
	defer l.files.release(file)
	if !s.spoiled.Load() {
		if c.end, err = l.lastBefore(s, file, endOffset); err == nil || !badData(err) && !disk.Unreadable(err) {
			return c, err
		}
	}
	// Not repaired here: there may be no space for that.
	c.end = point{s.baseOffset, -1, 0, s.baseOffset}
	b := bounds{size: s.size.Load(), baseOffset: s.baseOffset, endOffset: v.endOf(c.at)}
	_, err = b.survey(file, 0, s.baseOffset, func(h record.Batch, pos, n int64) error {
		if h.NextOffset() > endOffset {
			return errFound
		}
		c.end = point{s.baseOffset, pos, pos + n, h.NextOffset()}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return c, err
}

// lastBefore is findCut in a segment without damage.
func (l *Log) lastBefore(s *segment, file io.ReaderAt, endOffset int64) (end point, err error) {
	from, last := l.hint(s, endOffset-1)
	for {
		agrees := true // the batch at from is the one that the index says is there
		end = point{s.baseOffset, -1, 0, s.baseOffset}
		err = walk(file, s.size.Load(), from, s.baseOffset, func(h record.Batch, pos, n int64) bool {
			agrees = agrees && (pos != from || last < 0 || h.LastOffset()-s.baseOffset == last)
			if !agrees || h.NextOffset() > endOffset {
				return false
			}
			end = point{s.baseOffset, pos, pos + n, h.NextOffset()}
			return true
		})
		if from > 0 && (err != nil || !agrees || end.last < 0) { // do without the index
			from, last = 0, -1
			continue
		}
		return end, err
	}
}

// hint is place for who may not wait for an index file to be built.
func (l *Log) hint(s *segment, offset int64) (pos, last int64) {
	if s.index.Load() != nil {
		return l.place(s, offset)
	}
	t, done, err := l.openIndexes(s)
	if err != nil {
		return 0, -1
	}
	defer done()
	if pos, last, err = t.floor(offset - s.baseOffset); err != nil {
		return 0, -1
	}
	return pos, last
}

// prepareCut is step 2.
func (l *Log) prepareCut(v *view, c cut) error {
	if c.at < len(v.segments)-1 {
		if err := l.saveAgesOf(func([]*segment) []*segment { return v.segments[:c.at] }); err != nil {
			return err
		}
	}
	if err := l.dir.cleanPoints.lower(l.name, c.end.offset); err != nil {
		return err
	}
	l.mu.Lock()
	synced := l.synced
	l.synced = unsettled(c.end.offset) // what checkpoints say from here on
	l.mu.Unlock()
	err := l.dir.checkpointBack(l, l.StartOffset(), c.end.offset)
	if err == nil {
		err = l.removeIndexes(v.segments[c.at])
	}
	if err != nil {
		l.setSynced(synced)
	}
	return err
}

// unsettled is the end of a log that is truncated or reset at this moment.
func unsettled(endOffset int64) point { return point{-1, -1, 0, endOffset} }

// removeIndexes removes the index files of a segment, durably.
func (l *Log) removeIndexes(s *segment) error {
	found := false
	for _, ext := range []string{indexExt, timeIndexExt} {
		err := l.fs.Remove(s.path(ext))
		if err != nil && !removed(err) {
			return err
		}
		found = found || err == nil
	}
	if !found {
		return nil
	}
	return l.fs.SyncDir(l.path)
}

// publishCut is step 3. It returns the new last segment, another one than that which
// readers may have had: what they have open is the old one's.
func (l *Log) publishCut(v *view, c cut) (next *segment) {
	old := v.segments[c.at]
	next = newSegment(l.path, old.baseOffset)
	next.size.Store(c.end.position)
	next.spoiled.Store(old.spoiled.Load())
	next.index.Store(newIndexFrom(old.baseOffset, c.end.position, c.end.offset))
	l.dir.indexes.join(next.index.Load())
	l.dir.indexes.leave(v.active().index.Load())
	l.appended = true // so that a stop writes its index

	l.epochs.mu.Lock()
	defer l.epochs.mu.Unlock()
	l.mu.Lock()
	if c.end.position > 0 {
		next.age = old.age
	}
	l.view.Store(&view{append(slices.Clone(v.segments[:c.at]), next)})
	l.end.Store(c.end.offset)
	l.durable.Store(c.end.offset)
	l.tail = c.end
	if l.highWatermark >= 0 {
		l.highWatermark = min(l.highWatermark, c.end.offset)
	}
	l.mu.Unlock()
	l.cuts.Add(1)
	l.cutEpochs(c.end.offset)
	for _, s := range v.segments[c.at:] {
		l.files.forget(s, true)
	}
	return next
}

// cutFiles is steps 4 and 5; file is the last segment's.
func (l *Log) cutFiles(v *view, c cut, file disk.File) error {
	for _, s := range slices.Backward(v.segments[c.at+1:]) {
		for _, ext := range []string{logExt, indexExt, timeIndexExt} {
			if err := l.fs.Remove(s.path(ext)); err != nil && !removed(err) {
				return err
			}
		}
		if err := l.fs.SyncDir(l.path); err != nil {
			return err
		}
	}
	if err := file.Truncate(c.end.position); err != nil {
		return err
	}
	return file.Sync()
}

// countCut counts what went since the log had these segments and this end.
func (l *Log) countCut(v *view, end int64) (cutBytes int64) {
	cutBytes = -l.Size()
	for _, s := range v.segments {
		cutBytes += s.size.Load()
	}
	l.budget.removed(cutBytes)
	l.metrics.dropped(byTruncation, cutBytes, max(0, end-l.EndOffset()))
	return cutBytes
}

// finishCut is for when nothing of what went is on disk any more: the log ends at tail,
// and ended at end before.
func (l *Log) finishCut(tail point, end, cutBytes int64) {
	l.setSynced(tail)
	l.dir.appended.Add(1) // so that a checkpoint says it
	l.forgetGaps(tail.offset)
	l.log.Info("log truncated", "log", l.name, "fromOffset", end, "logStartOffset", l.StartOffset(), "endOffset", l.EndOffset(), "bytes", cutBytes)
}

// cutEpochs forgets the leader epochs that begin at endOffset or behind it. epochs.mu
// is held, and the log's end is there.
func (l *Log) cutEpochs(endOffset int64) {
	l.epochs.next.Store(-1)
	known := l.epochs.known.Load()
	if known == nil { // what is read later is held against the end
		return
	}
	if left := known.before(endOffset); len(left) < len(*known) {
		l.epochs.known.Store(&left)
		l.epochs.current.Store(-1) // the next append writes the file, whatever its epoch
	}
}

// checkpointBack writes checkpoints in which l is not said to hold more than it will:
// its mark says so already. Kafka's files are written if they may say more, and the
// lines that do go first.
func (d *Dir) checkpointBack(l *Log, startOffset, endOffset int64) error {
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	l.mu.Lock()
	said := l.saidDurable
	l.mu.Unlock()
	if said <= endOffset {
		return d.writeCheckpoint(false)
	}
	if err := d.lowerOffset(startOffsetFile, l.name, startOffset); err != nil {
		return err
	}
	if err := d.lowerOffset(highWatermarkFile, l.name, endOffset); err != nil {
		return err
	}
	if err := d.writeCheckpoint(true); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.saidDurable = endOffset
	return nil
}

// lowerOffset has a checkpoint in Kafka's format say at most offset of a log. One that
// cannot be read is written anew with the next checkpoint. checkpointMu is held.
func (d *Dir) lowerOffset(file, name string, offset int64) error {
	offsets, err := d.readOffsets(file)
	if said, ok := offsets[name]; err != nil || !ok || said <= offset {
		return nil
	}
	offsets = maps.Clone(offsets)
	offsets[name] = offset
	return d.writeOffsets(file, offsets)
}
