package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/topic"
)

// updateMetadata takes the controller's news of brokers and partitions.
func (a *API) updateMetadata(_ context.Context, req *kmsg.UpdateMetadataRequest) kmsg.Response {
	resp := kmsg.NewPtrUpdateMetadataResponse()
	u := region.Update{Brokers: a.liveBrokers(req)}
	topics := map[string]int{} // places in u
	add := func(name string, id topic.ID, p kmsg.UpdateMetadataRequestTopicPartition) {
		at, ok := topics[name]
		if !ok {
			at = len(u.Topics)
			topics[name] = at
			u.Topics = append(u.Topics, region.UpdatedTopic{Name: name, ID: id, Partitions: map[int32]cluster.Partition{}})
		}
		u.Topics[at].Partitions[p.Partition] = cluster.Partition{
			Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR, Offline: p.OfflineReplicas,
		}
	}
	for _, p := range req.PartitionStates {
		add(p.Topic, topic.ID{}, p)
	}
	for _, t := range req.TopicStates {
		for _, p := range t.PartitionStates {
			add(t.Topic, t.TopicID, p)
		}
	}
	err := a.cfg.Member.UpdateMetadata(region.From{ControllerID: req.ControllerID, ControllerEpoch: req.ControllerEpoch, BrokerEpoch: req.BrokerEpoch}, u)
	resp.ErrorCode = int16(a.code(err))
	return resp
}

// liveBrokers lists the brokers by the addresses of the listener that this broker
// has. One without it cannot be told to clients.
func (a *API) liveBrokers(req *kmsg.UpdateMetadataRequest) (live []cluster.Broker) {
	for _, b := range req.LiveBrokers {
		out := cluster.Broker{ID: b.ID, Host: b.Host, Port: b.Port}
		if b.Rack != nil {
			out.Rack = *b.Rack
		}
		for _, e := range b.Endpoints {
			if e.ListenerName == a.cfg.Listener || req.Version < 3 && e.SecurityProtocol == 0 {
				out.Host, out.Port = e.Host, e.Port
			}
		}
		if out.Host != "" {
			live = append(live, out)
		}
	}
	return live
}
