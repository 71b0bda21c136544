package partition

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// replayStep is how much of the log is read at a time, in bytes.
const replayStep = 256 << 10

func removed(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// recover learns who the partition's producers are: from the newest snapshot that
// is good, and from the log behind it. It must run before anything is appended: a
// snapshot beyond the end of the log tells of records that a power cut took, and
// is removed before other records can have their offsets.
func (s *producers) recover() error {
	found, err := s.list()
	if err != nil || len(found) == 0 {
		return err
	}
	s.known = map[int64]*producer{}
	from, useless, good := s.load(found)
	s.replay(from)
	s.recount()
	s.makeRoom(0)
	s.recount()
	now := time.Now()
	for _, who := range s.known {
		who.seen = now
	}
	s.active.Store(true)
	s.snapshots = found
	if len(useless) > 0 && !good {
		useless = s.replace(useless)
	}
	return s.remove(useless)
}

// replace saves a good snapshot where there is none: with none at all, the next
// start would not look for producers. It returns which of the useless ones must
// go. On a disk that takes no snapshot the damaged ones stay, for what they say by
// being there.
func (s *producers) replace(useless []int64) []int64 {
	end := s.log.EndOffset()
	err := s.save()
	if err != nil {
		s.logger.Warn("producers not saved; the next start reads the whole log", "partition", s.name, "err", err)
	}
	return slices.DeleteFunc(useless, func(at int64) bool { return at == end || err != nil && at < end })
}

// list returns the offsets of the snapshots on disk, in order.
func (s *producers) list() ([]int64, error) {
	entries, err := s.fs.ReadDir(s.path)
	if err != nil {
		return nil, err
	}
	var found []int64
	for _, e := range entries {
		if at, ok := parseSnapshotName(e.Name()); ok {
			found = append(found, at)
		}
	}
	slices.Sort(found)
	return found, nil
}

// load takes the newest good snapshot within the log and returns where the log
// goes on from it; with none that is the log's beginning. useless are those that
// are damaged or lie beyond the end.
func (s *producers) load(found []int64) (from int64, useless []int64, good bool) {
	start, end := s.log.StartOffset(), s.log.EndOffset()
	for _, at := range slices.Backward(found) {
		if at > end {
			useless = append(useless, at)
			continue
		}
		if at < start { // what lay between it and the log's start is not known
			break
		}
		histories, err := s.read(at)
		if err == nil {
			for id, h := range histories {
				s.known[id] = &producer{history: *h}
			}
			return at, useless, true
		}
		s.logger.Error("snapshot of producers is damaged", "partition", s.name, "file", s.file(at), "err", err)
		useless = append(useless, at)
	}
	return start, useless, false
}

func (s *producers) read(at int64) (map[int64]*history, error) {
	data, err := disk.ReadFile(s.fs, s.file(at), maxSnapshotBytes)
	if err != nil {
		return nil, err
	}
	return decodeSnapshot(data, at)
}

// replay notes what the log has from offset from on. Where it has a gap, or cannot
// be read, a producer's last batch may be missing, and its next one would seem out
// of order for ever: those known so far are forgotten, and any sequence number of
// theirs will be taken. In a compacted log gaps are nothing odd, and a producer's
// last batch is there.
func (s *producers) replay(from int64) {
	end := s.log.EndOffset()
	for at := from; at < end; {
		batches, err := s.log.Read(at, end, replayStep, true)
		if err == nil && len(batches) == 0 { // a gap up to the end
			clear(s.known)
			return
		}
		for len(batches) > 0 && err == nil {
			var b record.Batch
			if b, batches, err = record.Split(batches); err == nil {
				if b.BaseOffset() > at && !s.compacted.Load() {
					clear(s.known)
				}
				s.replayed(b)
				at = max(at+1, b.NextOffset())
			}
		}
		if err != nil {
			s.logger.Error("producers forgotten: the log cannot be read", "partition", s.name, "offset", at, "err", err)
			clear(s.known)
			return
		}
	}
}

func (s *producers) replayed(b record.Batch) {
	s.unsaved.Add(int64(len(b)))
	if remembered(b) {
		s.note(b)
	}
}

// remembered reports whether b is a batch of an idempotent producer's.
func remembered(b record.Batch) bool {
	return b.ProducerID() >= 0 && !b.Control() && checkProducer(b) == nil
}
