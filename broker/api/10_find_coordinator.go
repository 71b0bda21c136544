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
	var err error
	switch {
	case keyType == transactionKey:
		err = errTransactional
	case keyType != groupKey:
		err = errCoordinatorType
	case key == "":
		err = errGroupID
	}
	if err == nil {
		var b cluster.Broker
		if b, err = a.coordinatorOf(ctx, key); err == nil {
			out.NodeID, out.Host, out.Port = b.ID, b.Host, b.Port
			return out
		}
	}
	out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
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
	leader := a.cfg.BrokerID
	if index >= 0 {
		t, ok := s.Topic(group.Topic)
		if !ok || int(index) >= len(t.Partitions) {
			return cluster.Broker{}, fmt.Errorf("%w: %s-%d is not known yet", group.ErrNotAvailable, group.Topic, index)
		}
		leader = t.Partitions[index].Leader
	}
	b, ok := s.Broker(leader)
	if !ok {
		return b, fmt.Errorf("%w: %s-%d has no leader", group.ErrNotAvailable, group.Topic, index)
	}
	return b, nil
}
