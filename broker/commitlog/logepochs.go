package commitlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// epochFile is where a log keeps its leader epochs, in Kafka's format. Each is
// there before its first batch can be seen. The file can be ahead of the log, when
// that batch was lost, and say more of the past, when the log's start has moved:
// what it says counts within the log's start and end.
const epochFile = "leader-epoch-checkpoint"

// maxEpochBytes bounds the file when it is read: some 500,000 epochs.
const maxEpochBytes = 16 << 20

// logEpochs are the leader epochs of one log. They are not read before someone asks
// for them, or appends.
type logEpochs struct {
	mu      sync.Mutex // held while they are read or written; taken after a Log's appendMu, and before its mu
	known   atomic.Pointer[epochs]
	current atomic.Int32 // of the last append of this process, -1 before it; changes under appendMu
	next    atomic.Int32 // that the next append will be of, as far as is known; -1
}

// BeginEpoch says that what is appended from now on will be of leaderEpoch, which
// counts as begun at the log's end before its first batch is there.
func (l *Log) BeginEpoch(leaderEpoch int32) { l.epochs.next.Store(leaderEpoch) }

// LastEpoch returns the leader epoch in which the last batch was appended, -1
// when there is none. A batch that is deleted by now counts, while no other epoch
// has begun.
func (l *Log) LastEpoch() (leaderEpoch int32, err error) {
	if l.epochs.known.Load() == nil {
		if leaderEpoch, ok := l.tailEpoch(); ok { // spares a start the file
			return leaderEpoch, nil
		}
	}
	known, err := l.knownEpochs()
	return known.last(), err
}

// EndOffsetForEpoch returns where a leader epoch ends, as Kafka's
// OffsetForLeaderEpoch has it: the latest epoch of the log up to the one that is
// asked for, and the offset that follows its last record; -1, -1 for an epoch that
// the log does not know yet.
func (l *Log) EndOffsetForEpoch(leaderEpoch int32) (foundEpoch int32, endOffset int64, err error) {
	for {
		cuts := l.cuts.Load()
		if foundEpoch, endOffset, err = l.endOffsetForEpoch(leaderEpoch); l.cuts.Load() == cuts {
			return foundEpoch, endOffset, err
		}
	}
}

func (l *Log) endOffsetForEpoch(leaderEpoch int32) (foundEpoch int32, endOffset int64, err error) {
	if l.closed.Load() {
		return -1, -1, fmt.Errorf("%s: %w", l.name, ErrClosed)
	}
	endOffset = l.EndOffset() // before the epochs: a later one begins no earlier
	known, err := l.knownEpochs()
	if err != nil {
		return -1, -1, err
	}
	if next := l.epochs.next.Load(); next > known.last() {
		known = known.with(next, endOffset)
	}
	foundEpoch, endOffset = known.from(l.StartOffset()).endOffset(leaderEpoch, endOffset)
	return foundEpoch, endOffset, nil
}

// assignEpoch makes leaderEpoch the one that the log's end is in, durably, before a
// batch of it is written, at baseOffset. That costs the first append of an epoch two
// syncs. appendMu is held.
func (l *Log) assignEpoch(leaderEpoch int32, baseOffset int64) error {
	if leaderEpoch < 0 || leaderEpoch == l.epochs.current.Load() {
		return nil
	}
	known, err := l.epochsToAppend()
	if err != nil {
		return err
	}
	l.epochs.mu.Lock()
	defer l.epochs.mu.Unlock()
	start := l.StartOffset()
	known = known.from(start)
	if known.last() != leaderEpoch {
		known = known.with(leaderEpoch, baseOffset)
		known[0].startOffset = min(known[0].startOffset, start) // what lies between, if a leader has compacted it away
	}
	err = l.writeEpochs(known)
	switch {
	case noSpace(err):
		return fmt.Errorf("%s: leader epoch %d: %w: %w", l.name, leaderEpoch, ErrFull, err)
	case errors.Is(err, ErrDescriptors):
		return fmt.Errorf("%s: leader epoch %d: %w", l.name, leaderEpoch, err)
	case err != nil:
		return l.fail("keep the leader epoch", err)
	}
	l.epochs.known.Store(&known)
	l.epochs.current.Store(leaderEpoch)
	return nil
}

// epochsToAppend is knownEpochs for an append.
func (l *Log) epochsToAppend() (epochs, error) {
	known, err := l.knownEpochs()
	if err != nil && !errors.Is(err, ErrDescriptors) {
		err = fmt.Errorf("%w: %w", ErrOffline, err) // for now: the next append tries again
	}
	return known, err
}

// knownEpochs returns the log's epochs, which it reads when nobody has before. That
// is before the first append of this process, so that the log's end is where
// recovery found it.
func (l *Log) knownEpochs() (epochs, error) {
	if known := l.epochs.known.Load(); known != nil {
		return *known, nil
	}
	l.epochs.mu.Lock()
	defer l.epochs.mu.Unlock()
	if known := l.epochs.known.Load(); known != nil {
		return *known, nil
	}
	known, damage := l.readEpochs()
	if damage != nil {
		written := known
		var err error
		if known, err = l.collectEpochs(); err != nil {
			return nil, fmt.Errorf("%s: leader epochs: %w", l.name, err)
		}
		if !removed(damage) && !slices.Equal(written, known) { // else it is the batch whose epoch is damaged: no checksum covers it
			err := l.writeEpochs(known) // the next epoch does without
			l.log.Warn("leader-epoch-checkpoint is damaged; written anew from the batches", "log", l.name, "err", damage, "writeErr", err)
		}
	}
	l.epochs.known.Store(&known)
	return known, nil
}

func (l *Log) writeEpochs(e epochs) error {
	return disk.WriteFile(l.fs, filepath.Join(l.path, epochFile), formatEpochs(e))
}

// readEpochs reads the file, and holds it against the log's start and its last
// batch. It returns what the file says with the error too, if that can be read.
func (l *Log) readEpochs() (epochs, error) {
	data, err := disk.ReadFile(l.fs, filepath.Join(l.path, epochFile), maxEpochBytes)
	if err != nil {
		return nil, err
	}
	known, err := parseEpochs(data)
	if err != nil {
		return nil, err
	}
	start, end := l.StartOffset(), l.EndOffset()
	known = known.within(start, end)
	last, haveLast := l.lastBatchEpoch()
	switch {
	case start == end && haveLast: // deleted, and still there to be asked
		return epochs{{last, start}}, nil
	case start < end && (len(known) == 0 || known[0].startOffset > start):
		return nil, fmt.Errorf("%s does not say of which epoch offset %d is", epochFile, start)
	case start < end && haveLast && last != known.last():
		return known, fmt.Errorf("%s ends with epoch %d, the log with %d", epochFile, known.last(), last)
	}
	return known, nil
}

// tailEpoch reads the last batch's header where the log remembers it, so that a
// start does not go through what lies before it.
func (l *Log) tailEpoch() (leaderEpoch int32, ok bool) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if l.tail.last < 0 || l.closed.Load() {
		return -1, false
	}
	file, err := l.fs.OpenFile(l.view.Load().active().path(logExt), os.O_RDONLY, 0) // a start leaves nothing open
	if err != nil {
		return -1, false
	}
	defer file.Close()
	return epochAt(file, l.tail)
}

// lastBatchEpoch is tailEpoch for those who may hold appendMu.
func (l *Log) lastBatchEpoch() (leaderEpoch int32, ok bool) {
	l.mu.Lock()
	tail := l.tail
	l.mu.Unlock()
	active := l.view.Load().active()
	if tail.last < 0 || tail.segment != active.baseOffset {
		return -1, false
	}
	file, err := l.files.acquire(active, logExt)
	if err != nil {
		return -1, false
	}
	defer l.files.release(file)
	return epochAt(file, tail)
}

// epochAt reads the header of the batch before a place in a segment.
func epochAt(file disk.File, p point) (leaderEpoch int32, ok bool) {
	header := make(record.Batch, record.HeaderLen)
	if _, err := file.ReadAt(header, p.last); err != nil || header.NextOffset() != p.offset {
		return -1, false
	}
	return header.LeaderEpoch(), true
}

// collectEpochs finds the epochs by the batches' headers: the first of each
// segment, and all of a segment in which the epoch changes. Nothing can be appended
// meanwhile.
func (l *Log) collectEpochs() (found epochs, err error) {
	for range readAttempts { // a segment may go, and then the log starts later
		var v *view
		if v, _, err = l.snapshot(); err != nil {
			return nil, err
		}
		found = nil
		for i, s := range v.segments {
			if err = l.collectFrom(s, v.endOf(i), l.epochAfter(v, i), &found); err != nil {
				break
			}
		}
		if !removed(err) {
			break
		}
	}
	start := l.StartOffset()
	if len(found) > 0 { // the first batches may be gone, by damage or compaction
		found[0].startOffset = min(found[0].startOffset, start)
	}
	return found.from(start), err
}

// epochAfter is the epoch with which what follows the i-th segment begins, or with
// which the active one ends; -1 when it is not known.
func (l *Log) epochAfter(v *view, i int) int32 {
	if i == len(v.segments)-1 {
		last, _ := l.lastBatchEpoch()
		return last
	}
	next := v.segments[i+1]
	if file, err := l.files.acquire(next, logExt); err == nil {
		defer l.files.release(file)
		w := window{r: file, size: next.size.Load(), buf: make([]byte, record.HeaderLen)}
		if h, _, err := w.header(0, next.baseOffset); err == nil {
			return h.LeaderEpoch()
		}
	}
	return -1
}

// collectFrom adds the epochs that begin in a segment, which must end at limit. If
// its first batch is of epochAfter, so are the others.
func (l *Log) collectFrom(s *segment, limit int64, epochAfter int32, found *epochs) error {
	file, err := l.files.acquire(s, logExt)
	if err != nil {
		return err
	}
	defer l.files.release(file)
	note := func(h record.Batch) (more bool) {
		if h.LeaderEpoch() > found.last() {
			*found = append(*found, epochStart{h.LeaderEpoch(), h.BaseOffset()})
		}
		return epochAfter < 0 || found.last() < epochAfter
	}
	size := s.size.Load()
	err = walk(file, size, 0, s.baseOffset, func(h record.Batch, _, _ int64) bool { return note(h) })
	if !badData(err) && !disk.Unreadable(err) {
		return err
	}
	// Not repaired here: that takes locks which come before those of an append.
	b := bounds{size: size, baseOffset: s.baseOffset, endOffset: limit}
	_, err = b.survey(file, 0, s.baseOffset, func(h record.Batch, _, _ int64) error {
		if !note(h) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return nil
	}
	return err
}
