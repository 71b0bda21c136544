// Package group coordinates consumer groups: who is a member, which member reads
// which partitions, and how far the group has read. It speaks Kafka's classic
// protocol and keeps offsets and groups in the topic __consumer_offsets, in
// Kafka's own records.
//
// The rules are in group, which does no I/O; a cell guards one and takes its
// records to the log in order; the Coordinator finds cells, loads them from the
// log and has them do what time asks for. All methods of a Coordinator may be
// called from any goroutine and return soon: what must be waited for comes by a
// channel. Run has one goroutine for all groups and their members, with one timer,
// and a few that load groups.
//
// A broker without others has all groups. In a cluster each has the groups of the
// partitions of the topic that it leads, as Lead and Resign say; a group goes with
// its partition, and its new coordinator reads it from the log.
//
// Durations are time.Duration, times in records Unix milliseconds, sizes bytes.
package group

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/record"
)

// Topic is where groups and their offsets are kept.
const Topic = "__consumer_offsets"

// Log is the partitions of __consumer_offsets.
type Log interface {
	// Partitions is how many there are, 0 when the topic was never made.
	Partitions() int32
	// Create makes the topic with that many partitions, each on so many brokers, 0 for
	// as many as topics have by default, and returns how many partitions it has: others,
	// if it is there already.
	Create(ctx context.Context, partitions int32, replicationFactor int16) (int32, error)
	// Append puts b at the end of a partition and calls done once, when b is as durable
	// as a record can be, on every broker that is in sync, or will not be: ErrNotHere is
	// for a partition that this broker does not lead. done does not block; it may run
	// before Append returns.
	Append(index int32, b record.Batch, done func(baseOffset int64, err error))
	// Read returns whole batches from the one that holds fromOffset on: one at least,
	// if there is one, and no more than maxBytes beyond it.
	Read(index int32, fromOffset int64, maxBytes int) ([]byte, error)
	// Offsets returns the first offset of a partition and the one behind its last record
	// that cannot be taken back, to which Read reads.
	Offsets(index int32) (logStartOffset, highWatermark int64, err error)
	// Settle calls done once, when all that was in the log when this broker came to lead
	// the partition cannot be taken back: until then Offsets and Read show less than the
	// leader before had acknowledged. done is as for Append. It is called in a cluster.
	Settle(index int32, done func(err error))
}

// Coordinator has the groups of this broker.
type Coordinator struct {
	cfg     Config
	topic   Log
	clock   Clock
	newID   func() string
	log     *slog.Logger
	timers  *timers
	bytes   atomic.Int64 // that the groups take
	metrics metrics

	creating     sync.Mutex // held while the topic is made; guards createFailed
	createFailed string     // why it could not be, the last time

	loadable chan struct{} // gets one when there is something to load

	mu         sync.RWMutex // guards all below; taken after a cell's lock, never before it
	opened     bool         // Run has begun
	partitions int32        // of the topic, 0 before it is made; not in a cluster, where Log.Partitions counts
	shards     map[int32]*shard
	wanted     []*shard // that are to be loaded, in their order
	groups     map[string]*cell
}

// New returns a Coordinator that knows nothing until Run. reg may be nil.
func New(cfg Config, topic Log, clock Clock, log *slog.Logger, reg prometheus.Registerer) *Coordinator {
	if cfg.Clustered && cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = defaultStoreTimeout
	}
	c := &Coordinator{
		cfg: cfg, topic: topic, clock: clock, newID: randomID, log: log,
		timers: newTimers(), metrics: newMetrics(),
		loadable: make(chan struct{}, 1), shards: map[int32]*shard{}, groups: map[string]*cell{},
	}
	c.metrics.register(reg, c)
	return c
}

// randomID has the form of the UUIDs that Kafka puts behind a client's id.
func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Run loads the groups and does what time asks for until ctx is done.
func (c *Coordinator) Run(ctx context.Context) error {
	var loads sync.WaitGroup
	defer loads.Wait()
	c.open()
	for range loaders {
		loads.Go(func() { c.loadWanted(ctx) })
	}

	again := time.NewTicker(loadAgainAfter)
	defer again.Stop()
	sweep := time.NewTicker(expireEvery)
	defer sweep.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			c.loadAgain()
		case <-sweep.C:
			c.expireOffsets()
		case <-c.timers.wake:
			c.tick(timer)
		case <-timer.C:
			c.tick(timer)
		}
	}
}

// tick has every group that is due do its part, and sets timer for the next.
func (c *Coordinator) tick(timer *time.Timer) {
	for {
		now, _ := c.clock()
		k, next := c.timers.due(now)
		switch {
		case k != nil:
			k.tick()
		case next.IsZero():
			timer.Stop()
			return
		default:
			timer.Reset(next.Sub(now))
			return
		}
	}
}

// expireOffsets drops the offsets that have been kept long enough, and the groups
// that have neither offsets nor members.
func (c *Coordinator) expireOffsets() {
	for _, k := range c.cells() {
		k.do(func(g *group, now time.Time) {
			_, trusted := c.clock()
			gone := g.expired(now, trusted, c.cfg.OffsetsRetention)
			g.dropOffsets(gone, func(err error) {
				if err != nil {
					c.log.Warn("expired offsets not dropped", "group", g.id, "err", err)
					return
				}
				c.metrics.expired.Add(float64(len(gone)))
				if g.idle() {
					g.delete(func(error) {})
				}
			})
		})
	}
}

// PartitionFor is the partition of the topic that has the group, as Kafka chooses
// it: by Java's hash of the id.
func PartitionFor(group string, partitions int32) int32 {
	var hash int32
	for _, unit := range utf16.Encode([]rune(group)) {
		hash = 31*hash + int32(unit)
	}
	if hash < 0 {
		hash = max(-hash, 0) // the one number that has no opposite
	}
	return hash % partitions
}

func (c *Coordinator) limits() limits {
	return limits{c.cfg.InitialDelay, c.cfg.MaxMembers, c.cfg.StoreTimeout}
}

// room says whether n more bytes may be taken.
func (c *Coordinator) room(n int64) error {
	if have := c.bytes.Load(); n > 0 && have+n > c.cfg.MaxBytes {
		return fmt.Errorf("%w: %d bytes, %d more are asked for", ErrTooMuch, have, n)
	}
	return nil
}

// cells returns all of them as they are now.
func (c *Coordinator) cells() []*cell {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]*cell, 0, len(c.groups))
	for _, k := range c.groups {
		all = append(all, k)
	}
	return all
}

// append stores records as one batch. The log says once when that begins to fail,
// and the clients each time that they may try again, here or at another broker.
func (c *Coordinator) append(s *shard, p put, done func(baseOffset int64, err error)) {
	now, _ := c.clock()
	var headers []record.Header
	if p.doubtful {
		headers = []record.Header{{Key: doubtHeader}}
	}
	var bu record.Builder
	for _, r := range p.records {
		bu.Add(now.UnixMilli(), r.key, r.value, headers)
	}
	c.topic.Append(s.index, bu.Batch(), func(baseOffset int64, err error) {
		if errors.Is(err, ErrNotHere) {
			done(baseOffset, err)
			return
		}
		c.appended(s, err)
		if err != nil {
			err = fmt.Errorf("%w: %v", ErrNotAvailable, err)
		}
		done(baseOffset, err)
	})
}

func (c *Coordinator) appended(s *shard, err error) {
	c.mu.RLock()
	news := s.failing != (err != nil)
	c.mu.RUnlock()
	if !news {
		return
	}
	c.mu.Lock()
	s.failing = err != nil
	c.mu.Unlock()
	if err != nil {
		c.log.Error("groups and offsets cannot be stored", "partition", s.name(), "err", err)
		return
	}
	c.log.Info("groups and offsets can be stored again", "partition", s.name())
}
