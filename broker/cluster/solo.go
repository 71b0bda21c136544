package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/headwater/headwater/broker/topic"
)

// Host is where the partitions of a Solo live.
type Host interface {
	// Hosted lists the partitions that are on this broker's disk.
	Hosted() ([]Hosted, error)
	// Open makes the partition's log ready, creating it when it is not there, and
	// returns the latest leader epoch in it, -1 when it is empty. It is called from
	// several goroutines, for another partition from each.
	Open(name string, index int32, id topic.ID, s topic.Settings) (lastEpoch int32, err error)
	// Lead lets the partition, if it is open, take records as leader in the given
	// epoch.
	Lead(name string, index, leaderEpoch int32)
	// Configure changes the settings of the partition, if it is open.
	Configure(name string, index int32, s topic.Settings)
	// Delete removes the partition and its records. One that is not there is no
	// error.
	Delete(name string, index int32) error
}

// Hosted is a partition found on disk.
type Hosted struct {
	Topic string
	Index int32
	ID    topic.ID
}

// SoloConfig is what a Solo starts from.
type SoloConfig struct {
	ClusterID         string
	Self              Broker
	Defaults          topic.Settings
	DefaultPartitions int32
	MaxPartitions     int // of all topics together
	MaxDeviceTopics   int // that devices' messages cause; 0 is no limit
}

// Solo is a cluster of one broker. It keeps the list of topics in a Store; what
// the list has lost is found again on the disk, so that a damaged list costs
// topics' settings at most, never records.
//
// Every start begins a new leader epoch for all partitions: what a power cut took
// back under a weaker durability is told from what was written in its place.
type Solo struct {
	cfg   SoloConfig
	store Store
	host  Host
	log   *slog.Logger

	snapshot atomic.Pointer[Snapshot]

	changing sync.Mutex     // held for a whole change, disk included; readers use snapshot
	state    soloState      // guarded by changing
	defaults topic.Settings // guarded by changing; what cfg and state come to
}

// NewSolo returns a Solo that knows nothing until Start.
func NewSolo(cfg SoloConfig, store Store, host Host, log *slog.Logger) *Solo {
	s := &Solo{cfg: cfg, store: store, host: host, log: log}
	s.setState(soloState{})
	s.publish()
	return s
}

// Snapshot implements Coordinator.
func (s *Solo) Snapshot() *Snapshot { return s.snapshot.Load() }

// Start reads the list of topics, brings it and the disk together, opens all
// partitions and leads them. A partition that cannot be opened is logged and
// stays off line; the others serve.
func (s *Solo) Start() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	state, err := loadState(s.store)
	if errors.Is(err, errDamaged) {
		s.log.Error("list of topics is damaged; rebuilding it from the partitions on disk", "err", err)
		if err := s.store.SetAside(); err != nil {
			return err
		}
		state, err = soloState{}, nil
	}
	if err != nil {
		return err
	}
	hosted, err := s.host.Hosted()
	if err != nil {
		return err
	}
	if hosted, err = s.finishDeletions(&state, hosted); err != nil {
		return err
	}
	s.adopt(&state, hosted)
	s.setState(state) // the partitions open with the defaults that it has
	state.LeaderEpoch = max(state.LeaderEpoch, s.openAll(&state)) + 1
	if err := state.save(s.store); errors.Is(err, syscall.ENOSPC) {
		// A box starts also on a full disk. Until something can be written, no record
		// stands in the new epoch, and the next start finds the old one.
		s.log.Error("list of topics not saved", "err", err)
	} else if err != nil {
		return err
	}
	s.setState(state)
	for _, t := range state.Topics {
		s.lead(t, 0)
	}
	s.publish()
	return nil
}

// finishDeletions removes what an interrupted DeleteTopic left, and returns the
// partitions that stay.
func (s *Solo) finishDeletions(state *soloState, hosted []Hosted) (staying []Hosted, err error) {
	for _, h := range hosted {
		if !slices.Contains(state.Deleting, h.ID) {
			staying = append(staying, h)
			continue
		}
		if err := s.host.Delete(h.Topic, h.Index); err != nil {
			return nil, fmt.Errorf("finish the deletion of %s-%d: %w", h.Topic, h.Index, err)
		}
	}
	state.Deleting = nil
	return staying, nil
}

// adopt adds to state the partitions that are on disk and in no topic of it.
func (s *Solo) adopt(state *soloState, hosted []Hosted) {
	for _, h := range hosted {
		t := state.topic(h.Topic)
		switch {
		case t == nil:
			found := soloTopic{Name: h.Topic, ID: h.ID, Partitions: h.Index + 1}
			if topic.Internal(h.Topic) {
				found.Overrides = topic.InternalOverrides()
			}
			state.Topics = append(state.Topics, found)
			s.log.Warn("topic found on disk only; taken over with default settings", "topic", h.Topic)
		case t.ID == h.ID && h.Index >= t.Partitions:
			t.Partitions = h.Index + 1
		}
	}
}

// openersAtATime is how many partitions are opened at the same time: what a start
// waits for is the disk, for each a few small reads and, after a crash, a sync.
const openersAtATime = 16

// openAll opens every partition of state and returns the latest leader epoch
// among them.
func (s *Solo) openAll(state *soloState) (lastEpoch int32) {
	var epoch atomic.Int32
	var openers sync.WaitGroup
	work := make(chan func())
	for range openersAtATime {
		openers.Go(func() {
			for open := range work {
				open()
			}
		})
	}
	for _, t := range state.Topics {
		settings := s.settings(t)
		for index := range t.Partitions {
			work <- func() { raise(&epoch, s.openOne(t, index, settings)) }
		}
	}
	close(work)
	openers.Wait()
	return epoch.Load()
}

// openOne opens a partition and returns the latest leader epoch in it. One that does
// not open is logged, and has none.
func (s *Solo) openOne(t soloTopic, index int32, settings topic.Settings) (lastEpoch int32) {
	lastEpoch, err := s.host.Open(t.Name, index, t.ID, settings)
	if err != nil {
		s.log.Error("partition not opened; it is offline", "partition", fmt.Sprintf("%s-%d", t.Name, index), "err", err)
		return -1
	}
	return lastEpoch
}

// raise makes a at least n.
func raise(a *atomic.Int32, n int32) {
	for old := a.Load(); old < n && !a.CompareAndSwap(old, n); old = a.Load() {
	}
}

// setState makes state the one that is worked with.
func (s *Solo) setState(state soloState) {
	s.state = state
	s.defaults = s.resolve(state.Defaults)
}

// lead lets the partitions of t that opened, from index on, take records.
func (s *Solo) lead(t soloTopic, from int32) {
	for index := from; index < t.Partitions; index++ {
		s.host.Lead(t.Name, index, s.state.LeaderEpoch)
	}
}

// settings lays t's overrides over the defaults. Overrides that no longer hold,
// as after a downgrade, are logged and left out.
func (s *Solo) settings(t soloTopic) topic.Settings {
	settings, err := topic.Apply(s.defaults, t.Overrides)
	if err != nil {
		s.log.Warn("topic has settings that do not apply", "topic", t.Name, "err", err)
	}
	return settings
}

// publish makes the state what Snapshot returns.
func (s *Solo) publish() {
	next := &Snapshot{
		ClusterID:    s.cfg.ClusterID,
		ControllerID: s.cfg.Self.ID,
		Brokers:      []Broker{s.cfg.Self},
		Defaults:     s.defaults,
		DefaultsFrom: Origins{s.cfg.Defaults, s.state.Defaults.AllBrokers, s.state.Defaults.ThisBroker},
		Quotas:       s.state.Quotas.table(),
		topics:       make(map[string]*Topic, len(s.state.Topics)),
		byID:         make(map[topic.ID]*Topic, len(s.state.Topics)),
	}
	for _, t := range s.state.Topics {
		published := s.published(t)
		next.topics[t.Name], next.byID[t.ID] = published, published
	}
	s.snapshot.Store(next)
}
