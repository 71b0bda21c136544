// Package cluster is what this broker knows of the cluster: the brokers, the
// topics and who leads their partitions. It hands out an immutable Snapshot and
// takes orders to change it; how a change comes about is the Coordinator's.
//
// Solo is the Coordinator of a broker without ZooKeeper. Everything here may be
// called from any goroutine.
package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/topic"
)

// What a Coordinator refuses, by reason.
var (
	ErrTopicExists              = errors.New("topic already exists")
	ErrUnknownTopic             = errors.New("unknown topic")
	ErrInvalidPartitions        = errors.New("invalid number of partitions")
	ErrInvalidReplicationFactor = errors.New("invalid replication factor")
	ErrInvalidAssignment        = errors.New("invalid replica assignment")
	ErrTooManyPartitions        = errors.New("too many partitions for this broker")
	ErrTooManyDeviceTopics      = errors.New("too many topics caused by devices")
	ErrUnknownPartition         = errors.New("unknown partition")
	ErrInternalTopic            = errors.New("the topic is the broker's own")
	ErrElectionNotNeeded        = errors.New("the leader is the one that an election would choose")
	ErrNoRates                  = errors.New("a broker without others has no replicas to throttle")
	ErrNoReassignment           = errors.New("the partition is not being reassigned")
)

// Coordinator changes the cluster and says what it looks like now.
type Coordinator interface {
	// Snapshot returns the latest state, never nil.
	Snapshot() *Snapshot
	// CreateTopic makes the topic that t describes and returns once its
	// partitions can be written to. With t.ValidateOnly it makes nothing.
	CreateTopic(ctx context.Context, t NewTopic) (*Topic, error)
	// DeleteTopic removes a topic and its records.
	DeleteTopic(ctx context.Context, name string) error
	// AlterTopic changes a topic's own settings and returns once they apply.
	AlterTopic(ctx context.Context, name string, a Alteration) error
	// AlterDefaults changes what topics without settings of their own have, and
	// returns once it applies.
	AlterDefaults(ctx context.Context, of Scope, a Alteration) error
	// AlterQuotas changes what clients may have and returns once it applies: all of
	// the changes or, with an error, none.
	AlterQuotas(ctx context.Context, changes []quota.Change, validateOnly bool) error
	// CreatePartitions gives a topic more partitions and returns once they take
	// records.
	CreatePartitions(ctx context.Context, p NewPartitions) error
	// ElectLeader has the partition's preferred replica lead it or, with unclean,
	// whichever can, be it outside the ISR.
	ElectLeader(ctx context.Context, name string, index int32, unclean bool) error
	// Reassign has the partition move to other brokers; nil ends a move that is
	// under way.
	Reassign(ctx context.Context, name string, index int32, replicas []int32) error
	// Reassignments returns the partitions of of that are on their way, nil for all.
	Reassignments(ctx context.Context, of []TopicPartition) (map[TopicPartition]Assignment, error)
}

// Alteration is a change of settings, by the topics' names for them.
type Alteration struct {
	Changes      []topic.Change
	Rates        []topic.Change // of AlterDefaults: changes of RateNames
	Replace      bool           // what was set before and is not in Changes goes
	ValidateOnly bool
}

// Scope is whose default settings are meant.
type Scope int8

// The scopes. What is set for this broker counts before what is set for all.
const (
	AllBrokers Scope = iota
	ThisBroker
)

// NewPartitions is what CreatePartitions is asked for.
type NewPartitions struct {
	Topic        string
	Count        int32     // of all partitions then
	Assignment   [][]int32 // broker ids for each new one; nil: the coordinator's choice
	Own          bool      // in place of the two above: one that is this broker's alone, if it has none
	ValidateOnly bool
}

// NewTopic is what CreateTopic is asked for.
type NewTopic struct {
	Name              string
	Partitions        int32             // -1: the broker's default
	ReplicationFactor int16             // -1: the broker's default
	Assignment        map[int32][]int32 // broker ids by partition, in place of the two above; empty: none
	Overrides         map[string]string // settings by Kafka's names
	Local             bool              // it is for this broker's devices: a gateway keeps it to itself
	ForDevice         bool              // a device's message caused it: it counts against the limit of those
	ValidateOnly      bool
}

// Broker is a live member of the cluster, by the address that it advertises.
type Broker struct {
	ID   int32
	Host string
	Port int32
	Rack string
}

// Topic is a topic and where its partitions are. Nobody changes one after it was
// published in a Snapshot.
type Topic struct {
	Name       string
	ID         topic.ID
	Settings   topic.Settings    // as they apply, defaults included
	Overrides  map[string]string // as they were set for this topic
	Partitions []Partition       // by index
}

// Partition is who has a partition. The first of Replicas is preferred.
type Partition struct {
	Leader      int32 // -1: none
	LeaderEpoch int32
	Replicas    []int32
	ISR         []int32
	Offline     []int32 // of Replicas: their broker or its disk is away
}

// Origins is where a broker's default settings come from: its configuration, over
// which lies what was changed for all brokers while they ran, and over that what was
// changed for this one, by the topics' names for the settings.
type Origins struct {
	Configured topic.Settings
	AllBrokers map[string]string
	ThisBroker map[string]string
}

// Snapshot is the cluster at one moment.
type Snapshot struct {
	ClusterID    string
	ControllerID int32
	Brokers      []Broker       // by id
	Defaults     topic.Settings // of a topic without settings of its own
	DefaultsFrom Origins
	Rates        Rates        // of throttled replicas
	Quotas       *quota.Table // what clients may have, as it was changed at run time

	topics map[string]*Topic
	byID   map[topic.ID]*Topic
}

// NewSnapshot returns s with topics in it.
func NewSnapshot(s Snapshot, topics []*Topic) *Snapshot {
	s.topics = make(map[string]*Topic, len(topics))
	s.byID = make(map[topic.ID]*Topic, len(topics))
	for _, t := range topics {
		s.topics[t.Name] = t
		if t.ID != (topic.ID{}) {
			s.byID[t.ID] = t
		}
	}
	return &s
}

// Broker finds a live broker by its id.
func (s *Snapshot) Broker(id int32) (Broker, bool) {
	for _, b := range s.Brokers {
		if b.ID == id {
			return b, true
		}
	}
	return Broker{}, false
}

// Topic finds a topic by name.
func (s *Snapshot) Topic(name string) (*Topic, bool) {
	t, ok := s.topics[name]
	return t, ok
}

// TopicByID finds a topic by id.
func (s *Snapshot) TopicByID(id topic.ID) (*Topic, bool) {
	t, ok := s.byID[id]
	return t, ok
}

// Topics returns all topics in the order of their names.
func (s *Snapshot) Topics() []*Topic {
	out := make([]*Topic, 0, len(s.topics))
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		out = append(out, s.topics[name])
	}
	return out
}

// Partitions counts the partitions of all topics.
func (s *Snapshot) Partitions() int {
	n := 0
	for _, t := range s.topics {
		n += len(t.Partitions)
	}
	return n
}
