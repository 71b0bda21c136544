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
}

// NewTopic is what CreateTopic is asked for.
type NewTopic struct {
	Name              string
	Partitions        int32             // -1: the broker's default
	ReplicationFactor int16             // -1: the broker's default
	Assignment        map[int32][]int32 // broker ids by partition, in place of the two above; empty: none
	Overrides         map[string]string // settings by Kafka's names
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
}

// Snapshot is the cluster at one moment.
type Snapshot struct {
	ClusterID    string
	ControllerID int32
	Brokers      []Broker // by id
	Defaults     topic.Settings

	topics map[string]*Topic
	byID   map[topic.ID]*Topic
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
