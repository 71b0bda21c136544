package partition

import (
	"context"
	"maps"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
)

// saveHighWatermarksEvery is Kafka's: how far behind the high watermarks may be with
// which partitions start after a kill.
const saveHighWatermarksEvery = 5 * time.Second

// RunHighWatermarks saves the high watermarks of partitions with other replicas, now
// and then, until ctx is done. What is not saved is not lost: who leads finds out anew
// what is committed.
func (s *Set) RunHighWatermarks(ctx context.Context) error {
	tick := time.NewTicker(saveHighWatermarksEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.SaveHighWatermarks()
		}
	}
}

// SaveHighWatermarks saves what has changed since the last time.
func (s *Set) SaveHighWatermarks() {
	s.savingHighWatermarks.Lock()
	defer s.savingHighWatermarks.Unlock()
	offsets := map[string]int64{}
	for _, p := range s.All() {
		if offset, ok := p.sharedHighWatermark(); ok {
			offsets[p.name] = offset
		}
	}
	if maps.Equal(offsets, s.savedHighWatermarks) {
		return
	}
	if err := s.dir.SaveHighWatermarks(offsets); err != nil {
		s.log.Warn("high watermarks not saved", "err", err) // the next time, then
		return
	}
	s.savedHighWatermarks = offsets
}

// sharedHighWatermark is the high watermark of a partition that has other replicas.
func (p *Partition) sharedHighWatermark() (offset int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.highWatermark, len(p.order.Replicas) > 1 && p.failed == nil
}

// checkpointed is the high watermark with which a partition starts: as it was saved,
// within the log. Where none was, nothing is known to be committed; a leader without
// other replicas knows better at once.
func (s *Set) checkpointed(name string, log *commitlog.Log) int64 {
	offset, known := s.dir.HighWatermark(name)
	if !known {
		return log.StartOffset()
	}
	return max(min(offset, log.DurableEnd()), log.StartOffset())
}
