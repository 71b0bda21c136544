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
	// loadBytes is how much of the log is read at a time.
	loadBytes = 1 << 20
	// maxInflatedBytes bounds what one compressed batch, which another broker may have
	// written, expands to.
	maxInflatedBytes = 64 << 20
)

// loadAll loads every partition of the topic, if it is there.
func (c *Coordinator) loadAll(ctx context.Context) {
	n := c.topic.Partitions()
	c.mu.Lock()
	c.opened = true
	c.shards = make([]shard, n)
	c.mu.Unlock()
	for i := range n {
		c.Load(ctx, i)
	}
}

// create makes the topic and begins to serve it.
func (c *Coordinator) create() error {
	c.creating.Lock()
	defer c.creating.Unlock()
	c.mu.RLock()
	have := len(c.shards)
	c.mu.RUnlock()
	if have > 0 {
		return nil // someone was faster
	}
	n, err := c.topic.Create(context.Background(), c.cfg.Partitions)
	if err != nil {
		if c.createFailed != err.Error() { // clients try again and again, and are not told why
			c.createFailed = err.Error()
			c.log.Error("topic for groups and offsets not created; no group can be served", "topic", Topic, "err", err)
		}
		return fmt.Errorf("%w: create %s: %v", ErrNotAvailable, Topic, err)
	}
	c.mu.Lock()
	c.shards = make([]shard, n)
	c.mu.Unlock()
	for i := range n {
		c.Load(context.Background(), i) // all are empty
	}
	return nil
}

// Load reads the groups of a partition that this broker leads now, and serves them
// from then on. When the log cannot be read to its end, they are not served at
// all: an offset that is missing would have its consumer start over.
func (c *Coordinator) Load(ctx context.Context, index int32) {
	c.setShard(index, shard{status: loading})
	start := time.Now()
	l := loader{groups: map[string]*group{}, limits: c.limits()}
	err := l.readAll(ctx, c.topic, index, c.clock)
	c.metrics.loadSeconds.Add(time.Since(start).Seconds())
	c.metrics.skipped.Add(float64(l.skipped))
	name := fmt.Sprintf("%s-%d", Topic, index)
	if ctx.Err() != nil {
		return
	}
	if l.skipped > 0 {
		c.log.Warn("records of groups and offsets could not be read, and were left out", "partition", name, "records", l.skipped, "err", l.firstSkipped)
	}
	if err != nil {
		c.log.Error("groups not loaded; they are not served", "partition", name, "err", err)
		c.setShard(index, shard{status: failed, err: err})
		return
	}
	c.take(index, l.groups)
	c.setShard(index, shard{status: serving})
	c.log.Info("groups loaded", "partition", name, "groups", len(l.groups), "records", l.records, "took", time.Since(start))
}

// take makes the loaded groups known. Those that are more than may be made are
// kept: they were made when they might.
func (c *Coordinator) take(index int32, groups map[string]*group) {
	for id, g := range groups {
		k := newCell(c, index, g)
		c.mu.Lock()
		c.groups[id] = k
		c.mu.Unlock()
		k.do(func(*group, time.Time) {})
	}
}

// Unload ends the groups of a partition that another broker leads now.
func (c *Coordinator) Unload(index int32) {
	c.setShard(index, shard{status: away})
	for _, k := range c.cells() {
		if k.partition == index {
			k.unload()
		}
	}
}

func (c *Coordinator) setShard(index int32, s shard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shards[index] = s
}

// loader makes groups of records.
type loader struct {
	groups       map[string]*group
	limits       limits
	records      int
	skipped      int
	firstSkipped error
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
		l.apply(said, b.BaseOffset()+int64(r.OffsetDelta), now)
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
