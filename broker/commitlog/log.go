package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// Log is one partition's batches on disk.
type Log struct {
	name       string // "telemetry-3", for errors and logs
	topicID    string
	dir        *Dir
	path       string // its directory
	fs         disk.FS
	files      *files
	committer  *committer
	quarantine quarantine
	metrics    *metrics
	budget     *budget
	log        *slog.Logger

	settings atomic.Pointer[Settings]
	view     atomic.Pointer[view]
	end      atomic.Int64 // offset that follows the last batch appended
	durable  atomic.Int64 // and the last that the policy calls durable
	unsynced commitGroup  // since the committer's last sync began
	start    atomic.Int64 // offset that the log was told to start at; a first segment that begins later says more
	closed   atomic.Bool
	cuts     atomic.Int64 // truncations and resets; counted once the end is the new one, before it is anything else's
	epochs   logEpochs

	retainMu sync.Mutex // held while files of sealed segments are removed or replaced; guards unsyncedNames
	appendMu sync.Mutex // one append, roll or close at a time; guards appended
	// syncMu lets only one sync of this log run. The kernel reports a failed
	// write-back to one caller of fsync only: a second one, at the same time,
	// would be told that all is well. The active segment changes under appendMu and
	// syncMu, so that either keeps it.
	syncMu   sync.Mutex
	appended bool // since it was opened

	unsyncedNames bool // the last removal of a segment is not known to be durable

	mu            sync.Mutex // guards what follows, and the segments' ages
	notify        func(durableEnd int64, err error)
	failed        error                  // wraps ErrOffline, or ErrClosed when deleted
	gaps          map[offsetGap]struct{} // reported
	tail          point                  // the end of the last batch
	synced        point                  // the end of the last that is on stable storage
	highWatermark int64                  // -1: as far as is synced
	startOffset   int64                  // that a checkpoint says: start, or where it is to be
	saidDurable   int64                  // no checkpoint says a recovery point or a high watermark beyond it
	agesDue       time.Duration          // since when there are ages to save; 0 when there are none

	tellMu  sync.Mutex  // held while notify is called; taken before mu, with nothing else held
	told    telling     // only the committer's worker that has the log touches it
	pending commitState // guarded by committer.mu
	urgent  bool        // guarded by committer.mu
}

// Notify sets the function that is called when the durable end moves, and once
// with the reason when the log fails or is deleted. It must be set before the
// first Append. Under every policy the calls come from Dir.Run's goroutines, in
// order, one at a time for a log, and with no lock held that a method takes, but for
// Truncate, Reset and AppendReplica. Under OS they may come a tick later: who appends
// looks at DurableEnd.
//
// The ends that are told grow, until the log is truncated or reset. Once that has
// returned no end from before is told any more, and what is told begins anew, with
// the end as it is then: who truncates looks at DurableEnd, too, and holds no lock
// that fn takes.
func (l *Log) Notify(fn func(durableEnd int64, err error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notify = fn
}

// StartOffset is the offset of the first record that can be read.
func (l *Log) StartOffset() int64 { return l.startOf(l.view.Load()) }

// startOf is the log's start offset as of a list of segments.
func (l *Log) startOf(v *view) int64 { return max(l.start.Load(), v.startOffset()) }

// EndOffset is the offset that follows the last record appended.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// DurableEnd is the offset that follows the last record that is durable as the
// policy has it. Under OS it moves within Append.
func (l *Log) DurableEnd() int64 { return l.durable.Load() }

// Size is how many bytes of batches the log holds.
func (l *Log) Size() int64 {
	total := int64(0)
	for _, s := range l.view.Load().segments {
		total += s.size.Load()
	}
	return total
}

// Configure changes the settings. They count from the next Append or Retain on.
func (l *Log) Configure(s Settings) { l.settings.Store(s.bounded()) }

// Append stamps b, which must be valid, with the next offset and puts it at the
// end of the log, where Read finds it at once. It is durable when the durable end
// has passed it. After an error nothing was appended. When there is no room, the
// oldest segments of the directory's logs go, as their settings allow; if too few
// may, the error wraps ErrFull.
func (l *Log) Append(b record.Batch, leaderEpoch int32) (baseOffset int64, err error) {
	return l.stampAndAppend(b, leaderEpoch, anywhere)
}

// AppendAt is Append for a batch that belongs at baseOffset alone. When the log ends
// elsewhere, the error wraps an *OffsetMismatch.
func (l *Log) AppendAt(b record.Batch, leaderEpoch int32, baseOffset int64) error {
	_, err := l.stampAndAppend(b, leaderEpoch, baseOffset)
	return err
}

// OffsetMismatch is the error of a batch that was to have one offset, and would
// have got another.
type OffsetMismatch struct{ Wanted, Next int64 }

func (e *OffsetMismatch) Error() string {
	return fmt.Sprintf("the next offset is %d, not %d", e.Next, e.Wanted)
}

// anywhere is where a batch belongs that takes the offset that comes.
const anywhere = -1

// stampAndAppend appends b, which belongs at wanted or anywhere.
func (l *Log) stampAndAppend(b record.Batch, leaderEpoch int32, wanted int64) (baseOffset int64, err error) {
	if len(b) < record.HeaderLen || b.LastOffsetDelta() < 0 || len(b) > math.MaxInt32 {
		return 0, fmt.Errorf("%s: %w: %d bytes", l.name, record.ErrInvalid, len(b))
	}
	err = l.admit(int64(len(b)), func() (appendedBytes int64, err error) {
		baseOffset, err = l.append(b, leaderEpoch, wanted)
		return int64(len(b)), err
	})
	return baseOffset, err
}

// admit has put append up to so many bytes, once the budget has room for them. What
// put fails with, it has appended nothing.
func (l *Log) admit(bytes int64, put func() (appendedBytes int64, err error)) error {
	if err := l.budget.admit(bytes); err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	appendedBytes, err := put()
	if errors.Is(err, ErrFull) && l.budget.relieve(bytes) {
		appendedBytes, err = put()
	}
	if err != nil {
		appendedBytes = 0
	}
	l.budget.used.Add(appendedBytes - bytes)
	return err
}

// append writes b, for which the budget has room.
func (l *Log) append(b record.Batch, leaderEpoch int32, wanted int64) (baseOffset int64, err error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	baseOffset = l.end.Load()
	if wanted != anywhere && wanted != baseOffset {
		return 0, fmt.Errorf("%s: %w", l.name, &OffsetMismatch{Wanted: wanted, Next: baseOffset})
	}
	now := l.dir.clock.now()
	active, err := l.prepareAppend(int64(len(b)), baseOffset, baseOffset+int64(b.LastOffsetDelta()), leaderEpoch, now)
	if err != nil {
		return 0, err
	}
	b.Stamp(baseOffset, leaderEpoch)
	pos := active.size.Load()
	if err := l.write(active, b, pos); err != nil {
		return 0, err
	}
	active.index.Load().add(b, pos, int64(len(b)))
	l.publish(active, len(b), b, pos, now)
	return baseOffset, nil
}

// prepareAppend returns the segment that takes a batch of so many bytes, with these
// offsets: there is a new one if it must, and the leader epoch is kept.
func (l *Log) prepareAppend(bytes, baseOffset, lastOffset int64, leaderEpoch int32, now time.Duration) (*segment, error) {
	active := l.view.Load().active()
	if rollTo, must := l.mustRoll(active, bytes, baseOffset, lastOffset, now); must {
		if err := l.rollTo(rollTo); err != nil {
			return nil, err
		}
		active = l.view.Load().active()
	}
	if err := l.assignEpoch(leaderEpoch, baseOffset); err != nil {
		return nil, err
	}
	if l.budget.reserve.given.Load() { // for what was just written, perhaps
		return nil, fmt.Errorf("%s: %w", l.name, errReserved)
	}
	return active, nil
}

// write puts batches into the active segment's file at pos, or nothing.
func (l *Log) write(active *segment, batches []byte, pos int64) error {
	file, err := l.files.acquireToWrite(active, l)
	switch {
	case errors.Is(err, ErrDescriptors):
		return fmt.Errorf("%s: %w", l.name, err)
	case err != nil:
		return l.fail("open the active segment", err)
	}
	if _, err = file.WriteAt(batches, pos); err != nil {
		err = l.undo(file, pos, err)
	}
	l.files.wrote(file)
	return err
}

// publish makes written batches the log's, which are in the index: so many bytes, of
// which the last batch stands at lastPos. The order matters to readers, who load the
// end first: what is below it must be there to be found.
func (l *Log) publish(active *segment, bytes int, last record.Batch, lastPos int64, now time.Duration) {
	l.appended = true
	l.mu.Lock() // so that who looks for room sees no size without its age
	if active.firstAppend == 0 {
		active.firstAppend = now
	}
	active.lastAppend = now
	end := lastPos + int64(len(last))
	active.size.Store(end)
	l.end.Store(last.NextOffset())
	l.tail = point{active.baseOffset, lastPos, end, last.NextOffset()}
	l.mu.Unlock()

	if l.committer.policy == OS {
		l.durable.Store(last.NextOffset())
	}
	l.unsynced.add(bytes)
	l.dir.appended.Add(int64(bytes))
	l.metrics.appendedBytes.Add(float64(bytes))
	l.committer.dirty(l, false)
}

// usable returns why nothing can be appended, if so.
func (l *Log) usable() error {
	if l.closed.Load() || l.committer.stopping.Load() {
		return fmt.Errorf("%s: %w", l.name, ErrClosed)
	}
	return l.failure()
}

func (l *Log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// fail takes the log off line for good, and returns the error to report.
func (l *Log) fail(doing string, cause error) error {
	return l.endWith(fmt.Errorf("%s: %s: %w: %w", l.name, doing, ErrOffline, cause))
}

// endWith makes err what every later append gets and those who wait are told,
// unless the log has failed before. It returns the first failure.
func (l *Log) endWith(err error) error {
	l.mu.Lock()
	if l.failed == nil {
		l.failed = err
	}
	err = l.failed
	l.mu.Unlock()
	l.files.abandon(l.view.Load().active())
	l.committer.dirty(l, true)
	return err
}

// undo takes back a failed write at pos, when it failed for want of space. After
// any other failure the disk cannot be believed.
func (l *Log) undo(file disk.File, pos int64, err error) error {
	if !noSpace(err) {
		return l.fail("append", err)
	}
	if truncErr := file.Truncate(pos); truncErr != nil {
		return l.fail("take back a write", errors.Join(err, truncErr))
	}
	return fmt.Errorf("%s: %w: %w", l.name, ErrFull, err)
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// mustRoll reports whether a batch of so many bytes, with these offsets, needs a
// segment of its own, and where that begins: where the log ends, unless the offsets
// between that and the batch are too many for an index.
func (l *Log) mustRoll(active *segment, bytes, baseOffset, lastOffset int64, now time.Duration) (rollTo int64, must bool) {
	size, s, end := active.size.Load(), l.settings.Load(), l.end.Load()
	if lastOffset-active.baseOffset > maxRelative {
		if lastOffset-end > maxRelative {
			return baseOffset, true
		}
		return end, true
	}
	return end, size > 0 && (size+bytes > s.SegmentBytes || l.aged(active, now, s.SegmentAge))
}

// aged reports whether s had its first append age ago. An age that is not
// positive never comes.
func (l *Log) aged(s *segment, now, age time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return age > 0 && s.firstAppend > 0 && l.dir.clock.ago(s.firstAppend, now) >= age
}

// syncError marks a failed sync, which is final, among the failures of a step
// that can be taken again.
type syncError struct{ error }

func (e syncError) Unwrap() error { return e.error }

// roll seals the active segment and starts the next. Whatever comes after it may
// rely on this order: the old batches are durable, then the old indexes, then the
// new file's name, and only then is anything appended to it. So every segment but
// the last is whole, and its indexes are, if their names are there. appendMu is
// held: an append has to wait for all of this anyway.
func (l *Log) roll() error { return l.rollTo(l.end.Load()) }

// rollTo is roll for a segment that begins at baseOffset, where the log ends or
// behind that: then the offsets between are nobody's.
func (l *Log) rollTo(baseOffset int64) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	old := l.view.Load().active()
	err := l.timedSync()
	switch {
	case errors.Is(err, ErrDescriptors):
		return fmt.Errorf("%s: roll: %w", l.name, err)
	case err != nil:
		return l.fail("sync", err)
	}
	l.expectGap(offsetGap{l.end.Load(), baseOffset})
	next := newSegment(l.path, baseOffset)
	err = l.writeIndexes(old, true)
	var file disk.File
	if err == nil {
		file, err = l.createSegment(next)
	}
	switch {
	case errors.As(err, new(syncError)):
		return l.fail("roll", err)
	case noSpace(err): // as after any failure but a sync's, the next append begins the roll anew
		return fmt.Errorf("%s: roll: %w: %w", l.name, ErrFull, err)
	case err != nil:
		return fmt.Errorf("%s: roll: %w", l.name, err)
	}
	l.files.adopt(next, logExt, file)
	l.dir.indexes.join(next.index.Load())
	l.dir.indexes.leave(old.index.Load())
	l.mu.Lock()
	l.view.Store(&view{append(slices.Clone(l.view.Load().segments), next)})
	l.end.Store(next.baseOffset)
	l.tail = point{next.baseOffset, -1, 0, next.baseOffset}
	l.synced = l.tail
	if l.agesDue == 0 {
		l.agesDue = l.dir.clock.now()
	}
	l.mu.Unlock()
	old.checked = good
	old.index.Store(nil)
	return nil
}

// createSegment makes the file of a new segment, its name durable, and its index.
func (l *Log) createSegment(s *segment) (disk.File, error) {
	file, err := l.createFile(s)
	if err == nil {
		s.index.Store(newIndex(s.baseOffset))
	}
	return file, err
}

// createFile makes the file of a new segment, and its name durable.
func (l *Log) createFile(s *segment) (disk.File, error) {
	file, err := l.fs.OpenFile(s.path(logExt), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := l.fs.SyncDir(l.path); err != nil {
		file.Close()
		if errors.Is(err, ErrDescriptors) { // the directory was not opened, let alone synced
			return nil, err
		}
		return nil, syncError{err}
	}
	return file, nil
}

// timedSync syncs the active segment. syncMu is held.
func (l *Log) timedSync() error {
	file, writes, err := l.files.acquireToSync(l.view.Load().active())
	if err != nil {
		return err
	}
	start := time.Now()
	err = file.Sync()
	l.files.synced(file, writes)
	l.metrics.syncs.Inc()
	l.metrics.syncSeconds.Observe(time.Since(start).Seconds())
	return err
}

// close ends appending and reading. With seal, what is there is synced and its
// indexes are written, so that the tools of a dead box's reader find them; they
// are not synced, since the last segment is scanned at the next start anyway.
func (l *Log) close(seal bool) error {
	l.retainMu.Lock() // what retention and a rebuild of indexes do to files must not meet a later log of the name
	defer l.retainMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if l.closed.Swap(true) {
		return nil
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	var err error
	if seal && l.appended && l.failure() == nil {
		err = l.sealActive()
	}
	l.dir.indexes.leave(l.view.Load().active().index.Load())
	for _, s := range l.view.Load().segments {
		l.files.forget(s, true)
	}
	return err
}

func (l *Log) sealActive() error {
	if err := l.timedSync(); err != nil {
		return fmt.Errorf("%s: sync: %w", l.name, err)
	}
	l.durable.Store(l.end.Load())
	l.mu.Lock()
	l.synced = l.tail
	l.mu.Unlock()
	if err := l.writeIndexes(l.view.Load().active(), false); err != nil && !noSpace(err) {
		return fmt.Errorf("%s: write indexes: %w", l.name, err)
	}
	return nil
}

// removed reports whether err says that a file has gone: with its segment, by
// retention, or with the log.
func removed(err error) bool { return errors.Is(err, fs.ErrNotExist) }
