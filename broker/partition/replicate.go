package partition

import (
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
)

// replicate appends batches as their leader stamped them, and notes whose they are: a
// follower that becomes the leader must know what its producers have sent. The leader
// has checked their sequence numbers. It returns the leader epoch of the last batch
// that was appended, -1 for none.
func (s *producers) replicate(batches []byte) (lastEpoch int32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return -1, commitlog.ErrClosed
	}
	if anyProducer(batches) {
		if err := s.begin(); err != nil {
			return -1, err
		}
	}
	before := s.log.EndOffset()
	err = s.log.AppendReplicas(batches)
	return s.noteAll(batches, before), err
}

// noteAll notes the batches that were appended to a log that had ended at before. mu is
// held.
func (s *producers) noteAll(batches []byte, before int64) (lastEpoch int32) {
	lastEpoch = -1
	end, active := s.log.EndOffset(), s.active.Load()
	for len(batches) > 0 {
		b, rest, err := record.Split(batches)
		if err != nil || b.NextOffset() <= before || b.NextOffset() > end {
			break
		}
		if active {
			s.replayed(b)
		}
		lastEpoch, batches = b.LeaderEpoch(), rest
	}
	return lastEpoch
}

// anyProducer reports whether one of the batches is of an idempotent producer.
func anyProducer(batches []byte) bool {
	for len(batches) > 0 {
		b, rest, err := record.Split(batches)
		if err != nil {
			break
		}
		if remembered(b) {
			return true
		}
		batches = rest
	}
	return false
}

// truncated learns anew who the producers are, by what is left of the log. Snapshots of
// what is not there any more are gone when it returns without an error. Nothing is
// appended meanwhile.
func (s *producers) truncated() error {
	if !s.active.Load() {
		return nil
	}
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	fresh := &producers{name: s.name, path: s.path, fs: s.fs, log: s.log, limits: s.limits, dropped: new(droppedProducers), logger: s.logger}
	fresh.compacted.Store(s.compacted.Load())
	if err := fresh.recover(); err != nil {
		return diskError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return commitlog.ErrClosed
	}
	s.known, s.snapshots = fresh.known, fresh.snapshots
	s.unsaved.Store(fresh.unsaved.Load())
	s.active.Store(fresh.active.Load())
	s.recount()
	return nil
}

// reset forgets all producers, on disk too: the log is about to be emptied.
func (s *producers) reset() error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	snapshots := s.snapshots
	s.mu.Unlock()
	if err := s.remove(snapshots); err != nil {
		return diskError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = nil
	s.active.Store(false)
	s.recount()
	return nil
}
