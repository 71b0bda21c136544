package partition

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// maxCompactedBytes bounds what one compressed batch of a compacted topic may
// expand to. A larger one is refused, since the cleaner could not look into it.
const maxCompactedBytes = 16 << 20

// CleanerConfig is what compaction may take of the box, all partitions together.
type CleanerConfig struct {
	BufferBytes    int64         // memory for keys, held while something is compacted
	BytesPerSecond int64         // read and written
	Interval       time.Duration // between two looks for something to compact
}

// RunCleaner compacts the partitions whose topics say so, one at a time, the one
// with most to gain first, until ctx is done.
func (s *Set) RunCleaner(ctx context.Context, cfg CleanerConfig) error {
	cleaner := commitlog.NewCleaner(s.dir, commitlog.CleanerOptions{
		BufferBytes: cfg.BufferBytes, BytesPerSecond: cfg.BytesPerSecond, MaxBatchBytes: maxCompactedBytes,
		Decompress: codec.Decompress, Compress: codec.Compress,
	})
	tick := time.NewTicker(cfg.Interval)
	defer tick.Stop()
	for {
		for cleaner.CleanDirtiest(ctx, s.compactable()) {
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// compactable lists the partitions of compacted topics.
func (s *Set) compactable() []commitlog.Compactable {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []commitlog.Compactable
	for _, p := range s.partitions {
		if p.keys.wanted.Load() {
			_, highWatermark := p.Offsets()
			all = append(all, commitlog.Compactable{Log: p.log, HighWatermark: highWatermark, Producers: p.producers.lastOffsets})
		}
	}
	return all
}

// Configure gives an open partition the topic's new settings: what is appended from
// now on is held against them, and the next round of retention too. One that is not
// here gets them when it is opened.
func (s *Set) Configure(name string, index int32, settings topic.Settings) {
	if p, err := s.Get(name, index); err == nil {
		p.configure(settings)
	}
}

func (p *Partition) configure(settings topic.Settings) {
	p.keys.wanted.Store(settings.Cleanup.Compacts())
	p.producers.compacted.Store(settings.Cleanup.Compacts())
	p.log.Configure(logSettings(settings))
	p.setMinISR(settings.MinISR)
}

func (p *Partition) setMinISR(n int) {
	p.mu.Lock()
	p.minISR = n
	var news news
	if p.leading != nil {
		p.leading.SetMinISR(n, time.Now())
		news = p.settle(false)
	}
	p.mu.Unlock()
	news.tell()
}

// lastOffsets returns where the last batch of each producer ends.
func (s *producers) lastOffsets() map[int64]int64 {
	if !s.active.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := make(map[int64]int64, len(s.known))
	for id, who := range s.known {
		if m, ok := who.last(); ok {
			last[id] = m.lastOffset
		}
	}
	return last
}

// keyCheck refuses records that a compacted topic cannot take: those without a key.
type keyCheck struct {
	wanted atomic.Bool
	// One batch at a time is decompressed, of all partitions: what it expands to is
	// memory that no request was counted for.
	decompressing *sync.Mutex
}

func (c *keyCheck) check(b record.Batch) error {
	if b.Codec() == record.None {
		return eachHasKey(b, b.Payload())
	}
	c.decompressing.Lock()
	defer c.decompressing.Unlock()
	payload, err := codec.Decompress(b.Codec(), b.Payload(), maxCompactedBytes)
	if err != nil {
		return err
	}
	return eachHasKey(b, payload)
}

func eachHasKey(b record.Batch, payload []byte) error {
	return b.Each(payload, func(r record.Record, _ []byte) error {
		if r.Key == nil {
			return fmt.Errorf("%w: record %d has no key, and a compacted topic cannot accept one without", record.ErrInvalid, r.OffsetDelta)
		}
		return nil
	})
}
