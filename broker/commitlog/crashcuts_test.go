package commitlog

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"github.com/headwater/headwater/broker/record"
)

// Truncations, resets and a leader's batches in the crash tests.

// emptied notes that the log is empty, and starts at an offset.
func (s *story) emptied(at int64) {
	s.batches, s.kept, s.emptyAt = nil, -1, -1
	s.minStart, s.maxStart, s.maxEnd, s.durable = at, at, at, at
	sequence := s.keys.sequence
	s.keys = newKeyStory()
	s.keys.sequence = sequence
}

// truncate cuts a log back: a compacted one to the high watermark at the least. Before
// it has returned, any end from the new one to the old one may be found.
func (w *world) truncate(l *watched, s *story) error {
	start, end := l.StartOffset(), l.EndOffset()
	lowest := min(max(start, s.keys.end(), s.keys.highWatermark), end)
	switch w.rng.IntN(4) {
	case 0, 1:
		lowest = max(lowest, end-6)
	case 2:
		if !s.settings.Compact {
			lowest = max(0, start-3)
		}
	}
	to := lowest + w.rng.Int64N(end-lowest+1)
	if to >= end {
		if start == end {
			s.batches, s.kept = nil, -1 // all deleted: of an epoch without batches it is not known whether there were any
		}
		return l.Truncate(to + w.rng.Int64N(3))
	}
	kept, newEnd := upTo(s.batches, to)
	if newEnd <= start {
		return w.emptyAt(l, s, min(to, start), func() error { return l.Truncate(to) })
	}
	for i, look := range s.keys.looks { // it may have ended in a gap
		s.keys.looks[i].end = min(look.end, newEnd)
	}
	s.durable = min(s.durable, newEnd)
	s.kept = min(s.kept, kept[len(kept)-1].LeaderEpoch())
	if err := l.Truncate(to); err != nil {
		return err
	}
	if l.EndOffset() != newEnd || l.DurableEnd() != newEnd || l.StartOffset() != start {
		w.fatalf("%s was %d to %d; truncated to %d it is %d to %d, durable to %d, want %d", l.name, start, end, to, l.StartOffset(), l.EndOffset(), l.DurableEnd(), newEnd)
	}
	s.batches, s.maxEnd = slices.Clone(kept), newEnd
	s.maxStart = min(s.maxStart, newEnd)
	s.settled(newEnd)
	maps.DeleteFunc(s.keys.gone, func(offset int64, _ bool) bool { return offset >= newEnd })
	s.epoch = kept[len(kept)-1].LeaderEpoch() + int32(w.rng.IntN(3))
	return w.readBack(l, s)
}

// reset empties a log.
func (w *world) reset(l *watched, s *story) error {
	to := l.EndOffset()
	if w.rng.IntN(3) != 0 {
		to = w.rng.Int64N(to + 20)
	}
	return w.emptyAt(l, s, to, func() error { return l.Reset(to) })
}

// emptyAt does what empties a log. Before it has returned, the log may be found as it
// was, or empty.
func (w *world) emptyAt(l *watched, s *story, at int64, do func() error) error {
	s.emptyAt = at
	if err := do(); err != nil {
		return err
	}
	if l.StartOffset() != at || l.EndOffset() != at || l.DurableEnd() != at {
		w.fatalf("%s is %d to %d, durable to %d, and was to be empty at %d", l.name, l.StartOffset(), l.EndOffset(), l.DurableEnd(), at)
	}
	s.emptied(at)
	s.epoch = int32(w.rng.IntN(5))
	return w.readBack(l, s)
}

// readBack compares what is in a log with what is to be.
func (w *world) readBack(l *watched, s *story) error {
	got, err := readAll(l.Log)
	if err != nil || s.settings.Compact {
		return err
	}
	var want []byte
	for _, b := range s.batches {
		if b.NextOffset() > l.StartOffset() {
			want = append(want, b...)
		}
	}
	if !bytes.Equal(got, want) && !w.fs.Crashed() {
		w.fatalf("%s: %d to %d has %d bytes, want %d", l.name, l.StartOffset(), l.EndOffset(), len(got), len(want))
	}
	return nil
}

// appendReplicas appends what a fetch may bring: some batches, with gaps at times; in an
// empty log perhaps one that begins before its start.
func (w *world) appendReplicas(d *running, l *watched, s *story, i int) error {
	next, inside := l.EndOffset(), l.StartOffset() == l.EndOffset() && w.rng.IntN(2) == 0
	known := len(s.batches)
	var fetched []byte
	for range 1 + w.rng.IntN(3) {
		b := w.newBatch(s, i)
		switch {
		case inside && next > 0 && b.Count() > 1:
			next -= min(next, int64(b.Count()-1))
			s.batches = nil // deleted; the new one has offsets of theirs
			maps.DeleteFunc(s.keys.gone, func(offset int64, _ bool) bool { return offset >= next })
		case w.rng.IntN(4) == 0:
			next += w.rng.Int64N(4)
		}
		inside = false
		s.epoch += int32(w.rng.IntN(6) / 5)
		b.Stamp(next, s.epoch)
		next = b.NextOffset()
		s.batches = append(s.batches, b)
		s.times[b.BaseOffset()] = w.clock.passed()
		fetched = append(fetched, b...)
	}
	s.maxEnd = next
	s.emptyAt = l.EndOffset() // one that has to begin before its start is emptied first
	if l.StartOffset() < l.EndOffset() {
		s.emptyAt = -1
	}
	if w.options.Budget > 0 {
		w.mayMakeRoom(d)
		if !s.settings.KeepWhenFull { // the last of a fetch may push out the first
			s.maxStart = max(s.maxStart, next)
		}
	}
	err := l.AppendReplicas(fetched)
	if errors.Is(err, ErrFull) && w.options.Budget > 0 {
		s.batches = slices.DeleteFunc(s.batches, func(b record.Batch) bool { return b.NextOffset() > l.EndOffset() })
		next, err = l.EndOffset(), nil
	}
	if err != nil {
		return err
	}
	s.emptyAt = -1
	if s.maxEnd = next; l.EndOffset() != next {
		w.fatalf("%s ends at %d after %d batches, want %d", l.name, l.EndOffset(), len(s.batches)-known, next)
	}
	if w.rng.IntN(3) != 0 {
		w.commit(l.committer)
		if err := l.await(next); err != nil {
			return err
		}
		s.settled(next)
	}
	return nil
}

// saveHighWatermarks saves some, of which none has to be right.
func (w *world) saveHighWatermarks(d *running) error {
	offsets := map[string]int64{}
	for _, name := range w.names() {
		l := d.opened[name]
		if end := l.EndOffset(); l.Log == d.find(name) {
			offsets[name] = w.rng.Int64N(end + 10)
		}
	}
	return d.SaveHighWatermarks(offsets)
}
