package partition

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
)

const (
	rememberEvery   = time.Second // looks for snapshots that are due
	snapshotsATime  = 16          // at most, with each look: a snapshot costs two syncs
	expireEvery     = time.Minute
	saveAtStopLimit = 2 * time.Second
)

// LimitProducers sets what is remembered of idempotent producers, for partitions
// that are opened from now on.
func (s *Set) LimitProducers(limits ProducerLimits) { s.limits = limits }

func (s *Set) producersOf(k key, log *commitlog.Log) *producers {
	return &producers{
		name: k.String(), path: filepath.Join(s.dir.Path(), k.String()), fs: s.dir.FS(), log: log,
		limits: s.limits, dropped: &s.dropped, logger: s.log,
	}
}

// RunProducers saves what is known of idempotent producers, so that a start has
// little to read, and forgets those that are gone, until ctx is done.
func (s *Set) RunProducers(ctx context.Context) error {
	tick := time.NewTicker(rememberEvery)
	defer tick.Stop()
	expired := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			due := s.withProducers((*producers).due)
			for _, p := range due[:min(len(due), snapshotsATime)] {
				s.saveProducers(p)
			}
			if now.Sub(expired) >= expireEvery {
				expired = now
				s.expireProducers(now)
			}
		}
	}
}

// SaveProducers saves what is known of idempotent producers before a stop, when
// nothing appends any more: of those partitions first that a start would have to
// read the most of. What there is no time for is read at the start.
func (s *Set) SaveProducers() {
	deadline := time.Now().Add(saveAtStopLimit)
	unsaved := func(p *producers) bool { return p.active.Load() && p.unsaved.Load() > 0 }
	for _, p := range s.withProducers(unsaved) {
		if time.Now().After(deadline) {
			return
		}
		s.saveProducers(p)
	}
}

// withProducers returns the partitions that serve and are wanted, the one with
// the most to save first.
func (s *Set) withProducers(wanted func(*producers) bool) []*Partition {
	var found []*Partition
	s.mu.RLock()
	for _, p := range s.partitions {
		if p.producers.active.Load() {
			found = append(found, p)
		}
	}
	s.mu.RUnlock()
	found = slices.DeleteFunc(found, func(p *Partition) bool { return p.Err() != nil || !wanted(p.producers) })
	slices.SortFunc(found, func(a, b *Partition) int {
		return cmp.Compare(b.producers.unsaved.Load(), a.producers.unsaved.Load())
	})
	return found
}

// saveProducers logs what goes wrong: nothing is lost by it but time at the next
// start, and the next look tries again.
func (s *Set) saveProducers(p *Partition) {
	if err := p.producers.save(); err != nil {
		s.log.Warn("producers not saved", "partition", p.name, "err", err)
	}
}

func (s *Set) expireProducers(now time.Time) {
	for _, p := range s.withProducers(func(*producers) bool { return true }) {
		if err := p.producers.expire(now); err != nil && !errors.Is(err, commitlog.ErrClosed) {
			s.log.Warn("snapshots of producers not removed", "partition", p.name, "err", err)
		}
	}
}

// ProducerCounts is how many idempotent producers are remembered, over all
// partitions, and how many were forgotten since the start.
type ProducerCounts struct {
	Known     int
	Expired   int64 // they did not append for so long
	OverLimit int64 // others took their place
}

// ProducerCounts counts the producers.
func (s *Set) ProducerCounts() ProducerCounts {
	c := ProducerCounts{Expired: s.dropped.expired.Load(), OverLimit: s.dropped.overLimit.Load()}
	for _, p := range s.All() {
		c.Known += p.producers.len()
	}
	return c
}
