package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/group"
)

// What a coordinator coordinates, as the request's key type.
const (
	groupKey       = 0
	transactionKey = 1
)

// findCoordinator names the broker that leads the partition where the group is kept:
// this one, where it shares its groups with nobody. librdkafka also takes this API
// for the sign that LZ4 is understood.
func (a *API) findCoordinator(ctx context.Context, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	keys := req.CoordinatorKeys
	if req.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	for _, key := range keys {
		resp.Coordinators = append(resp.Coordinators, a.coordinator(ctx, key, req.CoordinatorType))
	}
	if req.Version < 4 {
		c := resp.Coordinators[0]
		resp.ErrorCode, resp.ErrorMessage = c.ErrorCode, c.ErrorMessage
		resp.NodeID, resp.Host, resp.Port = c.NodeID, c.Host, c.Port
	}
	return resp
}

func (a *API) coordinator(ctx context.Context, key string, keyType int8) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key, out.NodeID, out.Port = key, -1, -1
	var b cluster.Broker
	var err error
	switch {
	case keyType == transactionKey:
		b, err = a.transactionCoordinatorOf(key)
	case keyType != groupKey:
		err = errCoordinatorType
	case key == "":
		err = errGroupID
	default:
		b, err = a.coordinatorOf(ctx, key)
	}
	if err != nil {
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		return out
	}
	out.NodeID, out.Host, out.Port = b.ID, b.Host, b.Port
	return out
}

// coordinatorOf is the broker that has the group. There may be none for a while:
// clients ask again.
func (a *API) coordinatorOf(ctx context.Context, id string) (cluster.Broker, error) {
	index, err := a.cfg.Groups.Locate(ctx, id)
	if err != nil {
		return cluster.Broker{}, err
	}
	s := a.cluster.Snapshot()
	if index >= 0 {
		return leaderOf(s, group.Topic, index)
	}
	b, ok := s.Broker(a.cfg.BrokerID)
	if !ok {
		return b, fmt.Errorf("%w: this broker is not known yet", group.ErrNotAvailable)
	}
	return b, nil
}

// transactionTopic is where Kafka's brokers keep transactions.
const transactionTopic = "__transaction_state"

// transactionCoordinatorOf is a broker of Kafka's that has the transactions of an id,
// as it would say itself. This one has none.
func (a *API) transactionCoordinatorOf(id string) (cluster.Broker, error) {
	s := a.cluster.Snapshot()
	t, ok := s.Topic(transactionTopic)
	if !ok || len(t.Partitions) == 0 {
		return cluster.Broker{}, errTransactional
	}
	b, err := leaderOf(s, transactionTopic, group.PartitionFor(id, int32(len(t.Partitions))))
	if err == nil && b.ID == a.cfg.BrokerID {
		err = errTransactional
	}
	return b, err
}

// leaderOf is the broker that leads a partition of one of the topics that say who
// coordinates what. There may be none for a while.
func leaderOf(s *cluster.Snapshot, topic string, index int32) (cluster.Broker, error) {
	t, ok := s.Topic(topic)
	if !ok || int(index) >= len(t.Partitions) {
		return cluster.Broker{}, fmt.Errorf("%w: %s-%d is not known yet", group.ErrNotAvailable, topic, index)
	}
	b, ok := s.Broker(t.Partitions[index].Leader)
	if !ok {
		return b, fmt.Errorf("%w: %s-%d has no leader", group.ErrNotAvailable, topic, index)
	}
	return b, nil
}
