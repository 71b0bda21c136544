package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/region"
)

// stopReplica has this broker give up replicas, with their records or without.
func (a *API) stopReplica(_ context.Context, req *kmsg.StopReplicaRequest) kmsg.Response {
	resp := kmsg.NewPtrStopReplicaResponse()
	orders := stopsOf(req)
	results, err := a.cfg.Member.StopReplica(region.From{ControllerID: req.ControllerID, ControllerEpoch: req.ControllerEpoch, BrokerEpoch: req.BrokerEpoch}, orders)
	if resp.ErrorCode = int16(a.code(err)); err != nil {
		return resp
	}
	for _, o := range orders {
		out := kmsg.NewStopReplicaResponsePartition()
		out.Topic, out.Partition, out.ErrorCode = o.Topic, o.Index, int16(a.code(results[o.TopicPartition]))
		resp.Partitions = append(resp.Partitions, out)
	}
	return resp
}

// stopsOf lists the request's partitions, wherever its version has them. Before
// version 3 one word says for all whether their records go.
func stopsOf(req *kmsg.StopReplicaRequest) (orders []region.StopOrder) {
	add := func(topic string, index, leaderEpoch int32, deleted bool) {
		orders = append(orders, region.StopOrder{TopicPartition: cluster.TopicPartition{Topic: topic, Index: index}, LeaderEpoch: leaderEpoch, Delete: deleted})
	}
	for _, t := range req.Topics {
		switch {
		case req.Version == 0:
			add(t.Topic, t.Partition, -1, req.DeletePartitions)
		case req.Version < 3:
			for _, index := range t.Partitions {
				add(t.Topic, index, -1, req.DeletePartitions)
			}
		default:
			for _, p := range t.PartitionStates {
				add(t.Topic, p.Partition, p.LeaderEpoch, p.Delete)
			}
		}
	}
	return orders
}
