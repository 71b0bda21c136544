package controller

import (
	"context"

	"github.com/headwater/headwater/broker/cluster"
)

// Store is what a controller reads and writes during one term. Every write is
// refused with an error that wraps cluster.ErrFenced once another controller has
// been elected. A write whose answer was lost is read back by the store: it says
// whether it happened. The methods may be called from several goroutines at once.
type Store interface {
	// Changes says what is to be read anew. Reading something arms the watch for
	// it; whoever reads after a Change has come sees at least that change.
	Changes() <-chan cluster.Change

	Brokers(ctx context.Context) ([]cluster.Registration, error) // by id

	Topics(ctx context.Context) ([]string, error)
	Topic(ctx context.Context, name string) (cluster.TopicAssignment, error) // or cluster.ErrUnknownTopic
	// SetTopic writes t where its Version is the node's, and else returns
	// cluster.ErrVersion.
	SetTopic(ctx context.Context, name string, t cluster.TopicAssignment) (version int32, err error)
	TopicConfig(ctx context.Context, name string) (map[string]string, error) // empty when there is none
	BrokerDefaults(ctx context.Context) (map[string]string, error)           // of all brokers

	// States returns those that exist.
	States(ctx context.Context, of []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.PartitionState, error)
	// CreateStates makes states that are not there; one that is fails with
	// cluster.ErrVersion, and alone.
	CreateStates(ctx context.Context, states map[cluster.TopicPartition]cluster.PartitionState) (failed map[cluster.TopicPartition]error, err error)
	// SetStates writes each state where its PartitionEpoch is the node's version,
	// and returns the new versions; another version fails with cluster.ErrVersion,
	// and alone.
	SetStates(ctx context.Context, states map[cluster.TopicPartition]cluster.PartitionState) (versions map[cluster.TopicPartition]int32, failed map[cluster.TopicPartition]error, err error)

	Deletions(ctx context.Context) (topics []string, err error)
	FinishDeletion(ctx context.Context, topic string) error // removes all that there is of it
	RefuseDeletion(ctx context.Context, topic string) error // removes the request alone

	// What others left for the controller to see, with the nodes to remove then.
	ISRNotifications(ctx context.Context) (of []cluster.TopicPartition, nodes []string, err error)
	RemoveISRNotifications(ctx context.Context, nodes []string) error
	LogDirEvents(ctx context.Context) (brokers []int32, nodes []string, err error)
	RemoveLogDirEvents(ctx context.Context, nodes []string) error

	WantedElections(ctx context.Context) ([]cluster.TopicPartition, error)
	RemoveWantedElections(ctx context.Context) error
	WantedReassignments(ctx context.Context) (map[cluster.TopicPartition][]int32, error)
	SetWantedReassignments(ctx context.Context, wanted map[cluster.TopicPartition][]int32) error // empty removes the node

	// NextProducerIDs takes the next block of them for a broker.
	NextProducerIDs(ctx context.Context, brokerID int32) (first, count int64, err error)
}
