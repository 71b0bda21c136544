package group

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/record"
)

const (
	// loaders is how many partitions are loaded at a time, of those that this broker
	// begins to lead at once.
	loaders = 2
	// loadAgainAfter is how long a partition that could not be loaded is left alone.
	loadAgainAfter = 30 * time.Second
	// loadBytes is how much of the log is read at a time.
	loadBytes = 1 << 20
	// maxInflatedBytes bounds what one compressed batch, which another broker may have
	// written, expands to.
	maxInflatedBytes = 64 << 20
)

// open begins to answer. A broker that shares its groups with nobody leads every
// partition of the topic, if that is there.
func (c *Coordinator) open() {
	n := c.topic.Partitions()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = true
	if c.cfg.Clustered {
		return
	}
	c.partitions = n
	for i := range n {
		c.shards[i] = &shard{index: i}
		c.want(c.shards[i])
	}
}

// loadWanted loads partitions as they become this broker's until ctx is done.
func (c *Coordinator) loadWanted(ctx context.Context) {
	for {
		if s, loadCtx := c.nextWanted(ctx); s != nil {
			c.load(loadCtx, s)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-c.loadable:
		}
	}
}

// nextWanted takes the shard that waits longest to be loaded, nil for none. The
// context ends when the shard is given up.
func (c *Coordinator) nextWanted(ctx context.Context) (*shard, context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wanted) == 0 {
		return nil, nil
	}
	s := c.wanted[0]
	c.wanted = slices.Delete(c.wanted, 0, 1)
	if len(c.wanted) > 0 {
		c.callLoader() // another one, if it is free
	}
	ctx, s.cancel = context.WithCancel(ctx)
	return s, ctx
}

// load reads the groups of a shard, which are served from then on. When the log
// cannot be read to its end, they are not served at all: an offset that is missing
// would have its consumer start over.
func (c *Coordinator) load(ctx context.Context, s *shard) {
	start := time.Now()
	l := loader{groups: map[string]*group{}, limits: c.limits()}
	err := l.readAll(ctx, c.topic, s.index, c.clock)
	c.metrics.loadSeconds.Add(time.Since(start).Seconds())
	c.metrics.skipped.Add(float64(l.skipped))
	made, news := c.take(ctx, s, l.groups, err)
	if !news {
		return // given up meanwhile, failed as before, or the broker is stopping
	}
	if err != nil {
		c.log.Error("groups not loaded; they are not served", "partition", s.name(), "err", err)
	}
	for _, k := range made {
		k.do(func(*group, time.Time) {}) // counts it, and sees to what will be due
	}
	if l.skipped > 0 {
		c.log.Warn("records of groups and offsets could not be read, and were left out", "partition", s.name(), "records", l.skipped, "err", l.firstSkipped)
	}
	if n := l.undecided(); n > 0 {
		c.log.Warn("offsets of transactions without an end were left out", "partition", s.name(), "offsets", n)
	}
	if err == nil {
		c.log.Info("groups loaded", "partition", s.name(), "groups", len(l.groups), "records", l.records, "took", time.Since(start))
	}
}

// take makes the loaded groups known, all at once, unless err says that they could
// not be loaded. There is no news when the shard has been given up, or could not be
// loaded before for the same reason. Groups that are more than may be made are kept:
// they were made when they might.
func (c *Coordinator) take(ctx context.Context, s *shard, groups map[string]*group, err error) (made []*cell, news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return nil, false
	}
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	if err != nil {
		news = s.err == nil || s.err.Error() != err.Error()
		s.status, s.err = failed, err
		return nil, news
	}
	for id, g := range groups {
		k := newCell(c, s, g)
		c.groups[id] = k
		made = append(made, k)
	}
	s.status, s.err = serving, nil
	return made, true
}

// loadAgain tries the partitions again that could not be loaded.
func (c *Coordinator) loadAgain() {
	var again []*shard
	c.mu.Lock()
	for _, s := range c.shards {
		if s.status == failed {
			s.status = loading
			again = append(again, s)
		}
	}
	c.mu.Unlock()
	for _, s := range again {
		if c.cfg.Clustered {
			c.topic.Settle(s.index, func(err error) { c.settled(s, err) })
		} else {
			c.settled(s, nil)
		}
	}
}

// loader makes groups of records.
type loader struct {
	groups       map[string]*group
	limits       limits
	records      int
	skipped      int
	firstSkipped error
	open         transactions
}

// readAll reads what the partition holds at the start of the call.
func (l *loader) readAll(ctx context.Context, topic Log, index int32, clock Clock) error {
	from, end, err := topic.Offsets(index)
	if err != nil {
		return err
	}
	for from < end && ctx.Err() == nil {
		batches, err := topic.Read(index, from, loadBytes)
		if err != nil {
			return fmt.Errorf("read from offset %d: %w", from, err)
		}
		next := from
		for len(batches) > 0 {
			b, rest, err := record.Split(batches)
			if err != nil {
				return fmt.Errorf("read from offset %d: %w", next, err)
			}
			now, _ := clock()
			l.batch(b, now)
			next, batches = b.NextOffset(), rest
		}
		if next <= from {
			return fmt.Errorf("read from offset %d: nothing comes, and the log ends at %d", from, end)
		}
		from = next
	}
	return ctx.Err()
}

// batch takes in the records of b. What cannot be understood is counted and left
// out.
func (l *loader) batch(b record.Batch, now time.Time) {
	if b.Control() {
		l.end(b, now)
		return
	}
	err := codec.Records(b, maxInflatedBytes, func(r record.Record) bool {
		l.records++
		said, err := parse(r.Key, r.Value)
		if err != nil {
			l.skip(fmt.Errorf("offset %d: %w", b.BaseOffset()+int64(r.OffsetDelta), err))
			return true
		}
		said.doubtful = slices.ContainsFunc(r.Headers, func(h record.Header) bool { return h.Key == doubtHeader })
		at := b.BaseOffset() + int64(r.OffsetDelta)
		if b.Transactional() && said.Topic != "" {
			l.suspend(b.ProducerID(), said, at)
			return true
		}
		l.apply(said, at, now)
		return true
	})
	if err != nil {
		l.skip(fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err))
	}
}

func (l *loader) skip(err error) {
	if l.skipped++; l.firstSkipped == nil {
		l.firstSkipped = err
	}
}

// apply does what a record says, as the broker did that wrote it.
func (l *loader) apply(said read, at int64, now time.Time) {
	g := l.groups[said.group]
	switch {
	case said.Topic != "" && said.offset == nil:
		if g != nil {
			g.forget(said.TopicPartition)
		}
	case said.Topic != "":
		if g == nil {
			g = newGroup(said.group, l.limits, now)
			l.groups[said.group] = g
		}
		g.keep(offset{*said.offset, stamp{said.committed, said.doubtful, now}, at})
	case said.metadata == nil:
		if g != nil { // its offsets have tombstones of their own
			bare := newGroup(said.group, l.limits, now)
			bare.inherit(g)
			l.groups[said.group] = bare
		}
	default:
		fresh := restored(said.group, l.limits, said.metadata, said.doubtful, now)
		if g != nil {
			fresh.inherit(g)
		}
		l.groups[said.group] = fresh
	}
	if g := l.groups[said.group]; g != nil && g.idle() && !g.stored {
		delete(l.groups, said.group)
	}
}

// inherit takes over the offsets of what g was before.
func (g *group) inherit(before *group) {
	for _, o := range before.offsets {
		g.keep(o)
	}
}
