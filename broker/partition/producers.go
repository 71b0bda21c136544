package partition

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// ProducerLimits bound what is remembered of idempotent producers.
type ProducerLimits struct {
	Max        int           // producers of one partition; the one that appended longest ago goes first
	Total      int           // of all partitions; then each partition has a few, or what it has. 0 is no limit
	Expiration time.Duration // since a producer's last append, on a clock that cannot jump
}

// DefaultProducerLimits remembers a producer for a day, as Kafka does
// (producer.id.expiration.ms).
func DefaultProducerLimits() ProducerLimits {
	return ProducerLimits{Max: 1000, Expiration: 24 * time.Hour}
}

const (
	// replayBytes is how much may follow the newest snapshot before the next one
	// is due: what a start after a kill has to read of a partition.
	replayBytes = 1 << 20
	// replayPerSnapshot makes large snapshots rarer, so that they stay a small part
	// of what is written.
	replayPerSnapshot = 16
)

// batches is what producers need of a log; commitlog.Log has it.
type batches interface {
	Append(b record.Batch, leaderEpoch int32) (baseOffset int64, err error)
	AppendReplicas(batches []byte) error
	Read(fromOffset, endOffset int64, maxBytes int, atLeastOne bool) ([]byte, error)
	StartOffset() int64
	EndOffset() int64
	DurableEnd() int64
	Flush() error
}

// producers knows the idempotent producers of one partition. A partition that has
// none costs a pointer check: no snapshot on disk means that there never was one,
// or none that is still remembered, since the first append of one is preceded by
// an empty snapshot.
type producers struct {
	name    string // "sensors-7", for errors and logs
	path    string // the partition's directory
	fs      disk.FS
	log     batches
	limits  ProducerLimits
	dropped *droppedProducers
	logger  *slog.Logger

	compacted atomic.Bool // batches may be missing in the log that were not lost

	active  atomic.Bool  // there is a snapshot on disk; changes under mu
	unsaved atomic.Int64 // bytes appended since the newest snapshot, while active

	saveMu sync.Mutex // held while snapshots are written or removed; taken before mu
	// mu is held across check and append, so that of two equal batches at the same
	// time one is appended and the other finds it. It guards all below.
	mu        sync.Mutex
	known     map[int64]*producer
	counted   int     // of known, in all of all partitions
	snapshots []int64 // those on disk, by offset
	closed    bool
}

type producer struct {
	history
	seen time.Time // its last append, or when this process read of it
}

// fewProducers is how many a partition may have though there are too many in all.
const fewProducers = 4

// droppedProducers counts those that are known, and those that were forgotten, of
// all partitions.
type droppedProducers struct{ all, expired, overLimit atomic.Int64 }

// recount tells how many are known now. mu is held.
func (s *producers) recount() {
	s.dropped.all.Add(int64(len(s.known) - s.counted))
	s.counted = len(s.known)
}

// max is how many producers the partition may have. mu is held.
func (s *producers) max() int {
	if s.limits.Total > 0 && s.dropped.all.Load() >= int64(s.limits.Total) {
		return min(s.limits.Max, max(s.counted, fewProducers))
	}
	return s.limits.Max
}

// append appends b, of an idempotent producer, or finds it appended before. It
// returns the offsets of b's first record and of the one that follows b.
func (s *producers) append(b record.Batch, leaderEpoch int32) (baseOffset, nextOffset int64, err error) {
	if err := checkProducer(b); err != nil {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, 0, commitlog.ErrClosed
	}
	var before *history // nil: not known
	who := s.known[b.ProducerID()]
	if who != nil {
		before = &who.history
	}
	if m, ok := before.repeated(b); ok {
		return m.baseOffset(), m.nextOffset(), nil
	}
	if err := before.follows(b); err != nil {
		return 0, 0, err
	}
	if err := s.begin(); err != nil {
		return 0, 0, err
	}
	if baseOffset, err = s.log.Append(b, leaderEpoch); err != nil {
		return 0, 0, err
	}
	s.note(b)
	s.unsaved.Add(int64(len(b)))
	return baseOffset, b.NextOffset(), nil
}

// note remembers an appended batch. mu is held.
func (s *producers) note(b record.Batch) {
	who := s.known[b.ProducerID()]
	if who == nil {
		s.makeRoom(1)
		who = &producer{history: history{epoch: b.ProducerEpoch()}}
		s.known[b.ProducerID()] = who
		s.recount()
	}
	who.add(b.ProducerEpoch(), markOf(b))
	who.seen = time.Now()
}

// makeRoom forgets those who appended longest ago, until there is room for n
// more. mu is held.
func (s *producers) makeRoom(n int) {
	for len(s.known) > 0 && len(s.known)+n > s.max() {
		oldest, at := int64(-1), int64(math.MaxInt64)
		for id, who := range s.known {
			if last, _ := who.last(); oldest < 0 || last.lastOffset < at {
				oldest, at = id, last.lastOffset
			}
		}
		delete(s.known, oldest)
		s.dropped.overLimit.Add(1)
	}
}

// begin makes sure that a start after a crash will look for producers. The
// snapshot stands where nothing can be lost any more; there is no producer before
// it. mu is held, across the disk, once in the life of most partitions.
func (s *producers) begin() error {
	if s.active.Load() {
		return nil
	}
	at := s.log.DurableEnd()
	if err := disk.WriteFile(s.fs, s.file(at), encodeSnapshot(nil)); err != nil {
		return diskError(err)
	}
	s.snapshots = []int64{at}
	s.known = map[int64]*producer{}
	s.unsaved.Store(0)
	s.active.Store(true)
	return nil
}

func (s *producers) file(nextOffset int64) string {
	return filepath.Join(s.path, snapshotName(nextOffset))
}

// appended notes a batch of nobody whom producers knows.
func (s *producers) appended(b record.Batch) {
	if s.active.Load() {
		s.unsaved.Add(int64(len(b)))
	}
}

// due reports whether a snapshot should be taken: because a start would have much
// to read, or since the log no longer reaches back to the newest.
func (s *producers) due() bool {
	if !s.active.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active.Load() {
		return false
	}
	much := max(replayBytes, replayPerSnapshot*keptBatches*entryLen*int64(len(s.known)))
	newest := int64(-1) // none is left if a full disk met a power cut
	if len(s.snapshots) > 0 {
		newest = slices.Max(s.snapshots)
	}
	return s.unsaved.Load() >= much || newest < s.log.StartOffset()
}

// save takes a snapshot, and removes those that it makes superfluous.
func (s *producers) save() error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	if s.closed || !s.active.Load() {
		s.mu.Unlock()
		return nil
	}
	covered := s.unsaved.Load()
	at := s.log.EndOffset() // under mu: no producer's batch is before it and not known
	data := encodeSnapshot(s.histories())
	s.mu.Unlock()

	if err := disk.WriteFile(s.fs, s.file(at), data); err != nil {
		return err
	}
	s.unsaved.Add(-covered)
	s.mu.Lock()
	if !slices.Contains(s.snapshots, at) {
		s.snapshots = append(s.snapshots, at)
	}
	old := superfluous(s.snapshots, s.log.DurableEnd())
	s.mu.Unlock()
	return s.remove(old)
}

func (s *producers) histories() map[int64]*history {
	all := make(map[int64]*history, len(s.known))
	for id, who := range s.known {
		all[id] = &who.history
	}
	return all
}

// outlive makes sure that a start can know the producers without the records before
// offset, which are about to go: there is a snapshot at offset or behind it, and no
// power cut leaves it beyond the log's end.
func (s *producers) outlive(offset int64) error {
	if !s.active.Load() {
		return nil
	}
	s.mu.Lock()
	covered := len(s.snapshots) > 0 && slices.Max(s.snapshots) >= offset
	s.mu.Unlock()
	if !covered {
		if err := s.save(); err != nil {
			return diskError(err)
		}
	}
	return s.log.Flush()
}

// diskError is what a file of producers' that was not written is to those who
// depend on it.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", commitlog.ErrFull, err)
	}
	if errors.Is(err, commitlog.ErrDescriptors) {
		return err
	}
	return fmt.Errorf("%w: %w", commitlog.ErrOffline, err)
}

// superfluous returns the snapshots before the newest that no power cut can leave
// beyond the log's end.
func superfluous(snapshots []int64, durableEnd int64) []int64 {
	for i, at := range slices.Backward(snapshots) {
		if at <= durableEnd {
			return slices.Clone(snapshots[:i])
		}
	}
	return nil
}

// remove removes snapshots, durably. saveMu is held, or nobody else knows s yet.
func (s *producers) remove(snapshots []int64) error {
	if len(snapshots) == 0 {
		return nil
	}
	for _, at := range snapshots {
		if err := s.fs.Remove(s.file(at)); err != nil && !removed(err) {
			return err
		}
	}
	if err := s.fs.SyncDir(s.path); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots = slices.DeleteFunc(s.snapshots, func(at int64) bool { return slices.Contains(snapshots, at) })
	return nil
}

// expire forgets producers that have not appended for the time that the limits
// say. When none is left, the partition is one without producers again.
func (s *producers) expire(now time.Time) error {
	if !s.active.Load() {
		return nil
	}
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, who := range s.known {
		if now.Sub(who.seen) >= s.limits.Expiration {
			delete(s.known, id)
			s.dropped.expired.Add(1)
		}
	}
	s.recount()
	if len(s.known) > 0 || s.closed || !s.active.Load() {
		return nil
	}
	for _, at := range s.snapshots {
		if err := s.fs.Remove(s.file(at)); err != nil && !removed(err) {
			return err
		}
	}
	s.snapshots, s.known = nil, nil
	s.active.Store(false) // should a power cut bring a snapshot back, it tells nothing wrong
	return nil
}

// len is how many producers are known.
func (s *producers) len() int {
	if !s.active.Load() {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}

// close returns when nothing is written to the partition's directory any more: it
// may be another partition's soon.
func (s *producers) close() {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.dropped.all.Add(int64(-s.counted))
	s.counted = 0
}
