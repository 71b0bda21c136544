package cluster

import (
	"errors"
	"strconv"

	"github.com/headwater/headwater/broker/topic"
)

// What stands in ZooKeeper, in the words of the rooms that read and write it. The
// forms on the wire are in zk.

// What is refused for being late.
var (
	// ErrFenced is returned to a controller once another has been elected.
	ErrFenced = errors.New("another controller has been elected")
	// ErrNotController is returned for what only the controller can do.
	ErrNotController = errors.New("this broker is not the controller")
	// ErrStaleBrokerEpoch is returned for what a broker's earlier registration asked.
	ErrStaleBrokerEpoch = errors.New("the broker has registered again since")
	// ErrStaleControllerEpoch is returned for what an earlier controller ordered.
	ErrStaleControllerEpoch = errors.New("a later controller has given orders")
	// ErrVersion is returned for a node that is not as the writer believes.
	ErrVersion = errors.New("changed by someone else meanwhile")
	// ErrFencedLeaderEpoch is returned for what an earlier leader asked.
	ErrFencedLeaderEpoch = errors.New("the leader epoch is over")
)

// What a controller refuses, by reason.
var (
	ErrInvalidRequest        = errors.New("invalid request")
	ErrUnknownTopicID        = errors.New("unknown topic id")
	ErrIneligibleReplica     = errors.New("the replica may not be in the ISR")
	ErrPreferredNotAvailable = errors.New("the preferred replica cannot lead now")
	ErrNoEligibleLeader      = errors.New("no replica can lead now")
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic string
	Index int32
}

func (tp TopicPartition) String() string { return tp.Topic + "-" + strconv.Itoa(int(tp.Index)) }

// Registration is a broker as it has registered: it lives as long as its session.
type Registration struct {
	ID        int32
	Epoch     int64 // broker epoch: another one each time that it registers
	Endpoints []Endpoint
	Rack      string // "": none
}

// Endpoint is where a broker listens.
type Endpoint struct {
	Listener string // its name, "PLAINTEXT" say
	Protocol string // the security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL
	Host     string
	Port     int32
}

// Assignment is which brokers have a partition. Adding and Removing are subsets of
// Replicas, of a partition that is being reassigned.
type Assignment struct {
	Replicas, Adding, Removing []int32
}

// TopicAssignment is where the partitions of a topic are to be.
type TopicAssignment struct {
	ID         topic.ID // zero: made by a broker that knows no ids
	Partitions map[int32]Assignment
	Version    int32 // of the node; a write says which one it replaces
}

// PartitionState is who leads a partition, as decided last.
type PartitionState struct {
	Leader          int32 // -1: none
	LeaderEpoch     int32
	ControllerEpoch int32 // of the controller that decided
	ISR             []int32
	Recovering      bool  // the leader was not in the ISR when it was elected
	PartitionEpoch  int32 // of the node: a write says which one it replaces
}

// Change is something in ZooKeeper that a controller reads anew.
type Change struct {
	Kind  ChangeKind
	Topic string // of TopicChanged
}

// ChangeKind says what changed.
type ChangeKind int8

// The kinds of changes.
const (
	BrokersChanged       ChangeKind = iota // who is registered, or as what
	TopicsChanged                          // which topics there are
	TopicChanged                           // where a topic's partitions are to be
	DeletionsChanged                       // which topics are to be deleted
	ISRsChanged                            // leaders have written states themselves
	LogDirsChanged                         // a broker's disk has failed
	ElectionsChanged                       // preferred leaders are asked for, by a node
	ReassignmentsChanged                   // partitions are to move, by a node
)
