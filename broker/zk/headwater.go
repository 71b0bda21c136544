package zk

import (
	"context"
	"path"
	"slices"
	"strconv"
)

// Nodes of our own, which Kafka's brokers do not look at. What Kafka does not know may
// not stand among its own: its next change of a topic's settings would be refused.
const (
	gatewaysPath = "/headwater/gateways" // <id>: a broker that gets no replicas of others' topics
)

// ReservedBrokerIDs is the highest id that operators choose: Kafka's
// reserved.broker.max.id.
const ReservedBrokerIDs int32 = 1000

// MarkGateway says whether the broker is a gateway, before it registers.
func (s *Session) MarkGateway(ctx context.Context, id int32, gateway bool) error {
	node := path.Join(gatewaysPath, strconv.Itoa(int(id)))
	if !gateway {
		return s.remove(ctx, node, anyVersion)
	}
	return s.ensure(ctx, node)
}

// Gateways lists the brokers that are gateways, there or not.
func (s *Session) Gateways(ctx context.Context) (ids []int32, err error) {
	names, err := s.children(ctx, gatewaysPath, nil)
	if isNoNode(err) {
		return nil, nil
	}
	for _, name := range names {
		if id, err := strconv.ParseInt(name, 10, 32); err == nil && id >= 0 {
			ids = append(ids, int32(id))
		}
	}
	slices.Sort(ids)
	return ids, err
}
