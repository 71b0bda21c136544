package region

import (
	"context"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/zk"
)

// Identity is whose data the data directory holds.
type Identity interface {
	ClusterID() string
	BrokerID() int32
	// Adopt makes the directory one of that cluster's broker.
	Adopt(clusterID string, brokerID int32) error
}

// membership is what this broker has while it has a session.
type membership struct {
	session     *zk.Session
	brokerEpoch int64
}

// BrokerEpoch is that of this broker's registration, -1 while it has none.
func (r *Region) BrokerEpoch() int64 {
	if m := r.joined.Load(); m != nil {
		return m.brokerEpoch
	}
	return -1
}

// current is the session, if there is one.
func (r *Region) current() (*zk.Session, error) {
	if m := r.joined.Load(); m != nil {
		return m.session, nil
	}
	return nil, ErrAway
}

// TakeProducerIDs takes the next block of producer ids, as brokers do whose controller
// gives none.
func (r *Region) TakeProducerIDs(ctx context.Context) (first, count int64, err error) {
	s, err := r.current()
	if err != nil {
		return 0, 0, err
	}
	first, count, err = s.NextProducerIDs(ctx, r.cfg.Self.ID)
	return first, count, away(err)
}

// Controller is the role that one broker of the region has.
type Controller interface {
	// Run has the role for one term, until ctx is done or another was elected.
	Run(ctx context.Context, controllerEpoch int32, store controller.Store) error
	ElectLeaders(ctx context.Context, of []cluster.TopicPartition, unclean bool) (map[cluster.TopicPartition]error, error)
	Reassign(ctx context.Context, to map[cluster.TopicPartition][]int32) (map[cluster.TopicPartition]error, error)
	Reassignments(ctx context.Context, of []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.Assignment, error)
	UncleanChanged(ctx context.Context, topic string) error
}
