package group

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Mirror copies committed offsets to where consumers kept them before Kafka did, in
// ZooKeeper, and tells when someone else changes one there. The log stays what
// counts: a copy is late by MirrorConfig.Every, and nobody waits for it.
//
// One goroutine does everything, in Run, one request after the other; what the store
// calls back only leaves word for it.
type Mirror struct {
	cfg     MirrorConfig
	groups  *Coordinator
	tell    func(OutsideChange)
	log     *slog.Logger
	metrics mirrorMetrics

	// of Run's goroutine alone
	copies  map[mirrorKey]*mirrored
	queue   []*mirrored // that are to be written, or looked at for the first time; each once
	round   int         // counts the looks at the groups
	full    bool        // there are more offsets than may be copied, and that was logged
	failing bool        // the last request failed, and that was logged

	mu    sync.Mutex  // guards fired and what each copy has of it
	fired []*mirrored // that have changed; each once
	wake  chan struct{}
}

// MirrorConfig is what is copied, and how often.
type MirrorConfig struct {
	Groups     []string      // patterns of their ids, as path.Match has them; none: nothing is copied
	Every      time.Duration // how often the offsets are looked at
	Rate       int           // requests a second, at most
	MaxOffsets int           // that are copied at all; each takes memory here and a node there
	Adopt      bool          // an outside change becomes the offset of a group that has no members
}

// DefaultMirrorConfig copies nothing until it is told of which groups.
func DefaultMirrorConfig() MirrorConfig {
	return MirrorConfig{Every: 5 * time.Second, Rate: 100, MaxOffsets: 10_000}
}

// CheckPattern is nil for a pattern of groups' ids that can be read.
func CheckPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%q is no pattern: %w", pattern, err)
	}
	return nil
}

// MirrorStore is where the copies are, as one session sees it.
type MirrorStore interface {
	// SetOffset writes an offset, and makes what is missing of the path.
	SetOffset(ctx context.Context, group, topic string, partition int32, offset int64) error
	// WatchOffset returns an offset as it stands, found false for none, and calls changed
	// when it is not so any more, be it for this broker's own write. changed does not
	// block, and may be called too often.
	WatchOffset(ctx context.Context, group, topic string, partition int32, changed func()) (offset int64, found bool, err error)
}

// OutsideChange is a copy that someone else has changed.
type OutsideChange struct {
	Group string
	TopicPartition
	Was, Is int64 // -1 for none
	Adopted bool  // Is is the group's offset now
	Err     error // why it is not, where that was wanted
}

// NewMirror returns a Mirror that copies nothing until Run. tell, which may be nil, is
// called by Run's goroutine; so may reg be nil.
func NewMirror(cfg MirrorConfig, groups *Coordinator, tell func(OutsideChange), log *slog.Logger, reg prometheus.Registerer) *Mirror {
	m := &Mirror{
		cfg: cfg, groups: groups, tell: tell, log: log, metrics: newMirrorMetrics(),
		copies: map[mirrorKey]*mirrored{}, wake: make(chan struct{}, 1),
	}
	m.metrics.register(reg)
	return m
}

// requestTimeout bounds one request to the store.
const requestTimeout = 10 * time.Second

// Run copies offsets by way of store until ctx is done. It is called for one session
// after the other: what changed between two of them is noticed by the later one.
func (m *Mirror) Run(ctx context.Context, store MirrorStore) error {
	if len(m.cfg.Groups) == 0 {
		<-ctx.Done()
		return nil
	}
	m.lookAtAll()
	m.collect()
	look := time.NewTicker(m.cfg.Every)
	defer look.Stop()
	pace := time.NewTimer(0) // comes when a request may be made
	defer pace.Stop()
	idle := false // pace has come, and there was nothing to do
	resume := func() {
		if idle {
			idle = false
			pace.Reset(0)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			m.collect()
			resume()
		case <-m.wake:
			resume()
		case <-pace.C:
			switch made := m.one(ctx, store); {
			case !made:
				idle = true
			case m.failing:
				pace.Reset(m.cfg.Every)
			default:
				pace.Reset(time.Second / time.Duration(max(m.cfg.Rate, 1)))
			}
		}
	}
}

// one makes one request, if one is due, and reports whether it did.
func (m *Mirror) one(ctx context.Context, store MirrorStore) bool {
	e := m.next()
	if e == nil {
		return false
	}
	if m.groups.Ready(e.group) != nil {
		return true // it has gone to another broker since: its copy is that one's
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var err error
	switch {
	case e.stale:
		err = m.read(ctx, store, e)
	case e.want != e.written:
		err = m.write(ctx, store, e)
	}
	m.failed(ctx, err) // the next look at the groups asks again
	return true
}

// read looks at a copy, and finds out who changed it.
func (m *Mirror) read(ctx context.Context, store MirrorStore, e *mirrored) error {
	offset, found, err := store.WatchOffset(ctx, e.group, e.Topic, e.Partition, func() { m.changed(e) })
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !found {
		offset = -1
	}
	was := e.seen
	first := !e.known
	e.stale, e.known, e.seen = false, true, offset
	switch {
	case first && offset == e.want:
		e.written = offset
	case first, offset == was, offset == e.tried:
	default:
		m.outside(ctx, e, was)
	}
	if e.want != e.written {
		m.push(e)
	}
	return nil
}

// write brings a copy up to date. Whether a write that fails has happened is not
// known; it is this broker's own in any case.
func (m *Mirror) write(ctx context.Context, store MirrorStore, e *mirrored) error {
	offset := e.want
	e.tried = offset
	if err := store.SetOffset(ctx, e.group, e.Topic, e.Partition, offset); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	e.written, e.seen, e.tried = offset, offset, notTried
	m.metrics.writes.Inc()
	return nil
}

// outside reports what someone else has written, and makes it the group's offset
// where that is wanted: the group itself says whether it has members.
func (m *Mirror) outside(ctx context.Context, e *mirrored, was int64) {
	change := OutsideChange{Group: e.group, TopicPartition: e.TopicPartition, Was: was, Is: e.seen}
	if m.cfg.Adopt && e.seen >= 0 {
		change.Err = m.adopt(ctx, e)
		change.Adopted = change.Err == nil
	}
	m.metrics.outside.Inc()
	pairs := []any{"group", e.group, "topic", e.Topic, "partition", e.Partition, "was", was, "is", e.seen, "adopted", change.Adopted}
	if change.Err != nil {
		pairs = append(pairs, "err", change.Err)
	}
	m.log.Warn("offset in ZooKeeper changed by someone else", pairs...)
	if m.tell != nil {
		m.tell(change)
	}
}

func (m *Mirror) adopt(ctx context.Context, e *mirrored) error {
	o := Offset{TopicPartition: e.TopicPartition, Offset: e.seen, LeaderEpoch: -1}
	select {
	case errs := <-m.groups.Commit(&CommitRequest{Group: e.group, Generation: -1, Offsets: []Offset{o}}):
		if errs[0] != nil {
			return errs[0]
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	e.want, e.written = e.seen, e.seen
	return nil
}

// failed counts a failure, and logs when they begin and end.
func (m *Mirror) failed(ctx context.Context, err error) {
	if err != nil {
		m.metrics.failures.Inc()
	}
	if m.failing == (err != nil) || ctx.Err() == context.Canceled {
		return
	}
	m.failing = err != nil
	if m.failing {
		m.log.Warn("committed offsets cannot be copied to ZooKeeper", "err", err)
		return
	}
	m.log.Info("committed offsets can be copied to ZooKeeper again")
}
