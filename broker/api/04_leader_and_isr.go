package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/topic"
)

// leaderAndISR has this broker lead and follow as the controller says. From version
// 5 on the answer names topics by their ids.
func (a *API) leaderAndISR(_ context.Context, req *kmsg.LeaderAndISRRequest) kmsg.Response {
	resp := kmsg.NewPtrLeaderAndISRResponse()
	orders := ordersOf(req)
	leaders := make([]cluster.Broker, 0, len(req.LiveLeaders))
	for _, b := range req.LiveLeaders {
		leaders = append(leaders, cluster.Broker{ID: b.BrokerID, Host: b.Host, Port: b.Port})
	}
	results, err := a.cfg.Member.LeaderAndISR(region.From{ControllerID: req.ControllerID, ControllerEpoch: req.ControllerEpoch, BrokerEpoch: req.BrokerEpoch}, orders, leaders)
	if resp.ErrorCode = int16(a.code(err)); err != nil {
		return resp
	}
	topics := map[string]int{} // places in the answer
	for _, o := range orders {
		out := kmsg.NewLeaderAndISRResponseTopicPartition()
		out.Topic, out.Partition, out.ErrorCode = o.Topic, o.Index, int16(a.code(results[o.TopicPartition]))
		if req.Version < 5 {
			resp.Partitions = append(resp.Partitions, out)
			continue
		}
		at, ok := topics[o.Topic]
		if !ok {
			at = len(resp.Topics)
			topics[o.Topic] = at
			t := kmsg.NewLeaderAndISRResponseTopic()
			t.TopicID = o.ID
			resp.Topics = append(resp.Topics, t)
		}
		resp.Topics[at].Partitions = append(resp.Topics[at].Partitions, out)
	}
	return resp
}

// ordersOf lists the request's partitions, wherever its version has them.
func ordersOf(req *kmsg.LeaderAndISRRequest) (orders []region.Order) {
	for _, p := range req.PartitionStates {
		orders = append(orders, orderOf(p.Topic, topic.ID{}, p))
	}
	for _, t := range req.TopicStates {
		for _, p := range t.PartitionStates {
			orders = append(orders, orderOf(t.Topic, t.TopicID, p))
		}
	}
	return orders
}

func orderOf(name string, id topic.ID, p kmsg.LeaderAndISRRequestTopicPartition) region.Order {
	return region.Order{
		TopicPartition:  cluster.TopicPartition{Topic: name, Index: p.Partition},
		ID:              id,
		ControllerEpoch: p.ControllerEpoch,
		Leader:          p.Leader,
		LeaderEpoch:     p.LeaderEpoch,
		PartitionEpoch:  p.ZKVersion,
		Replicas:        p.Replicas,
		ISR:             p.ISR,
		Adding:          p.AddingReplicas,
		Removing:        p.RemovingReplicas,
		New:             p.IsNew,
		Recovering:      p.LeaderRecoveryState == 1,
	}
}
