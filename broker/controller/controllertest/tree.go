// Package controllertest has what a controller works with, in memory: what stands
// in ZooKeeper, with versions and fencing, and brokers that take orders. Tests and
// model checks let both fail where they like.
//
// All of it may be called from any goroutine.
package controllertest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

var (
	// ErrCrashed is returned for everything that a controller asks after its crash.
	ErrCrashed = errors.New("the controller has crashed")
	// ErrFailed is returned for a write that fails, or whose answer is lost.
	ErrFailed = errors.New("the store has failed")
)

// Tree is what stands in ZooKeeper.
type Tree struct {
	mu        sync.Mutex // guards all below
	epoch     int32      // of the controller that was elected last
	term      *Term
	zxid      int64
	brokers   map[int32]cluster.Registration
	topics    map[string]cluster.TopicAssignment
	states    map[cluster.TopicPartition]cluster.PartitionState
	configs   map[string]map[string]string
	defaults  map[string]string
	deletions map[string]bool
	isrs      map[string]cluster.TopicPartition
	logDirs   map[string]int32
	elections []cluster.TopicPartition
	moves     map[cluster.TopicPartition][]int32
	producers int64
	faults    []string
}

// NewTree returns one in which nothing stands.
func NewTree() *Tree {
	return &Tree{
		brokers:   map[int32]cluster.Registration{},
		topics:    map[string]cluster.TopicAssignment{},
		states:    map[cluster.TopicPartition]cluster.PartitionState{},
		configs:   map[string]map[string]string{},
		defaults:  map[string]string{},
		deletions: map[string]bool{},
		isrs:      map[string]cluster.TopicPartition{},
		logDirs:   map[string]int32{},
		moves:     map[cluster.TopicPartition][]int32{},
	}
}

// Elect begins the term of another controller; those before it are fenced.
func (z *Tree) Elect() (*Term, int32) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.epoch++
	z.term = &Term{
		tree: z, epoch: z.epoch, crashAt: -1,
		changes: make(chan cluster.Change, 1024),
	}
	return z.term, z.epoch
}

// Register has a broker come, with the epoch that is returned.
func (z *Tree) Register(id int32, rack string) cluster.Registration {
	return z.RegisterAt(id, rack, fmt.Sprintf("broker-%d", id))
}

// NextEpoch returns the epoch that the next broker to come will have.
func (z *Tree) NextEpoch() int64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.zxid + 1
}

// RegisterAt is Register for a broker that listens at a host.
func (z *Tree) RegisterAt(id int32, rack, host string) cluster.Registration {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.zxid++
	r := cluster.Registration{
		ID: id, Epoch: z.zxid, Rack: rack,
		Endpoints: []cluster.Endpoint{{Listener: "PLAINTEXT", Protocol: "PLAINTEXT", Host: host, Port: 9092}},
	}
	z.brokers[id] = r
	z.changed(cluster.Change{Kind: cluster.BrokersChanged})
	return r
}

// Relocate has a registered broker listen elsewhere, without another epoch.
func (z *Tree) Relocate(id int32, host string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	r := z.brokers[id]
	r.Endpoints = slices.Clone(r.Endpoints)
	r.Endpoints[0].Host = host
	z.brokers[id] = r
	z.changed(cluster.Change{Kind: cluster.BrokersChanged})
}

// Unregister has a broker's session end.
func (z *Tree) Unregister(id int32) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.brokers, id)
	z.changed(cluster.Change{Kind: cluster.BrokersChanged})
}

// Registered returns who is registered, by id.
func (z *Tree) Registered() []cluster.Registration {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.registered()
}

func (z *Tree) registered() []cluster.Registration {
	out := make([]cluster.Registration, 0, len(z.brokers))
	for _, id := range slices.Sorted(maps.Keys(z.brokers)) {
		out = append(out, z.brokers[id])
	}
	return out
}

// CreateTopic makes a topic, as any broker would; without an id, as one would that
// knows none.
func (z *Tree) CreateTopic(name string, id topic.ID, replicas ...[]int32) {
	z.mu.Lock()
	defer z.mu.Unlock()
	t := cluster.TopicAssignment{ID: id, Partitions: map[int32]cluster.Assignment{}}
	for i, r := range replicas {
		t.Partitions[int32(i)] = cluster.Assignment{Replicas: r}
	}
	z.topics[name] = t
	z.changed(cluster.Change{Kind: cluster.TopicsChanged})
}

// AddPartitions gives a topic more partitions.
func (z *Tree) AddPartitions(name string, replicas ...[]int32) {
	z.mu.Lock()
	defer z.mu.Unlock()
	t := z.topics[name]
	t.Partitions = maps.Clone(t.Partitions)
	for _, r := range replicas {
		t.Partitions[int32(len(t.Partitions))] = cluster.Assignment{Replicas: r}
	}
	t.Version++
	z.topics[name] = t
	z.changed(cluster.Change{Kind: cluster.TopicChanged, Topic: name})
}

// DeleteTopic asks for a topic to be deleted.
func (z *Tree) DeleteTopic(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.deletions[name] = true
	z.changed(cluster.Change{Kind: cluster.DeletionsChanged})
}

// Configure sets a topic's settings; "" is the defaults of all brokers.
func (z *Tree) Configure(name string, settings map[string]string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if name == "" {
		z.defaults = settings
		return
	}
	z.configs[name] = settings
}

// WriteISR is what an old leader does by itself: it writes the state, and leaves a
// notification.
func (z *Tree) WriteISR(tp cluster.TopicPartition, isr []int32, notify bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	s := z.states[tp]
	s.ISR = isr
	s.PartitionEpoch++
	z.states[tp] = s
	if notify {
		z.zxid++
		z.isrs[fmt.Sprintf("isr_change_%010d", z.zxid)] = tp
		z.changed(cluster.Change{Kind: cluster.ISRsChanged})
	}
}

// LoseDisk leaves the notification of a broker whose disk has failed.
func (z *Tree) LoseDisk(id int32) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.zxid++
	z.logDirs[fmt.Sprintf("log_dir_event_%010d", z.zxid)] = id
	z.changed(cluster.Change{Kind: cluster.LogDirsChanged})
}

// WantElections asks for preferred leaders by the node for it.
func (z *Tree) WantElections(of ...cluster.TopicPartition) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.elections = of
	z.changed(cluster.Change{Kind: cluster.ElectionsChanged})
}

// WantMoves asks for partitions to move by the node for it.
func (z *Tree) WantMoves(moves map[cluster.TopicPartition][]int32) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.moves = maps.Clone(moves)
	z.changed(cluster.Change{Kind: cluster.ReassignmentsChanged})
}

// State returns a partition's state.
func (z *Tree) State(tp cluster.TopicPartition) (cluster.PartitionState, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	s, ok := z.states[tp]
	return s, ok
}

// States returns all states.
func (z *Tree) States() map[cluster.TopicPartition]cluster.PartitionState {
	z.mu.Lock()
	defer z.mu.Unlock()
	return maps.Clone(z.states)
}

// Topic returns where a topic's partitions are to be.
func (z *Tree) Topic(name string) (cluster.TopicAssignment, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	t, ok := z.topics[name]
	return t, ok
}

// Topics returns all topics.
func (z *Tree) Topics() map[string]cluster.TopicAssignment {
	z.mu.Lock()
	defer z.mu.Unlock()
	return maps.Clone(z.topics)
}

// Faults returns what no controller may do, and one has done: to elect outside the
// ISR of a topic that does not allow it, or to go back to an earlier leader epoch.
func (z *Tree) Faults() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.faults)
}

// check notes what is wrong with a state that follows another.
func (z *Tree) check(tp cluster.TopicPartition, was, is cluster.PartitionState) {
	const setting = "unclean.leader.election.enable"
	unclean := z.configs[tp.Topic][setting] == "true" || z.configs[tp.Topic][setting] == "" && z.defaults[setting] == "true"
	switch {
	case is.LeaderEpoch < was.LeaderEpoch, is.Leader != was.Leader && is.LeaderEpoch == was.LeaderEpoch,
		len(is.ISR) == 0, is.Leader >= 0 && !slices.Contains(is.ISR, is.Leader),
		is.Leader >= 0 && is.Leader != was.Leader && !slices.Contains(was.ISR, is.Leader) && !unclean:
		z.faults = append(z.faults, fmt.Sprintf("%s went from %+v to %+v", tp, was, is))
	}
}

// Left counts requests of others that stand in the tree yet.
func (z *Tree) Left() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return len(z.deletions) + len(z.isrs) + len(z.logDirs) + len(z.elections) + len(z.moves)
}

// changed tells the controller, which was elected last.
func (z *Tree) changed(c cluster.Change) {
	t := z.term
	if t == nil {
		return
	}
	select {
	case t.changes <- c:
	default: // so many are waiting that every kind is among them
	}
}
