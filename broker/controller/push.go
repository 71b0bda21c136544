package controller

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// Versions are those of the requests that orders go out in. Nobody asks a broker
// which ones it knows: they follow from a setting, as a stock controller's do.
type Versions struct {
	LeaderAndISR   int16 // 5 to 7; from 6 on with whether a partition recovers
	UpdateMetadata int16 // 7 to 8
	StopReplica    int16 // 3 to 4
}

// Versions by the inter.broker.protocol.version that a stock controller has when
// it sends them. Brokers from 2.8 on read the former, from 3.4 on the latter.
var (
	Versions28 = Versions{LeaderAndISR: 5, UpdateMetadata: 7, StopReplica: 3}
	Versions34 = Versions{LeaderAndISR: 7, UpdateMetadata: 8, StopReplica: 4}
)

// push is one request, and the orders that are in it.
type push struct {
	request kmsg.Request
	orders  *orders
}

// sealed is what stands in every request to one broker.
type sealed struct {
	versions        Versions
	listener        string // of the cluster's brokers among themselves
	controllerID    int32
	controllerEpoch int32
	brokerEpoch     int64
	live            []cluster.Registration
}

// pushes makes requests of orders, to be sent in this order. Who leads learns it
// before clients are sent to it.
func (s sealed) pushes(o *orders) []push {
	var out []push
	lead, stop := newOrders(), newOrders()
	for tp, order := range o.replicas {
		if order.stop {
			stop.replicas[tp] = order
		} else {
			lead.replicas[tp] = order
		}
	}
	if len(lead.replicas) > 0 {
		out = append(out, push{s.leaderAndISR(lead), lead})
	}
	if o.first || o.live != nil || len(o.metadata) > 0 {
		tell := newOrders()
		tell.metadata, tell.live, tell.first = o.metadata, o.live, o.first
		out = append(out, push{s.updateMetadata(tell), tell})
	}
	if len(stop.replicas) > 0 {
		out = append(out, push{wire.AsKafka(s.stopReplica(stop)), stop})
	}
	return out
}

func (s sealed) leaderAndISR(o *orders) *kmsg.LeaderAndISRRequest {
	req := kmsg.NewPtrLeaderAndISRRequest()
	req.Version = s.versions.LeaderAndISR
	req.ControllerID, req.ControllerEpoch, req.BrokerEpoch = s.controllerID, s.controllerEpoch, s.brokerEpoch
	leaders := map[int32]bool{}
	for _, tp := range inOrder(o.replicas) {
		order := o.replicas[tp]
		if n := len(req.TopicStates); n == 0 || req.TopicStates[n-1].Topic != tp.Topic {
			t := kmsg.NewLeaderAndISRRequestTopicState()
			t.Topic, t.TopicID = tp.Topic, order.topicID
			req.TopicStates = append(req.TopicStates, t)
		}
		t := &req.TopicStates[len(req.TopicStates)-1]
		t.PartitionStates = append(t.PartitionStates, s.partitionOrder(tp.Index, order))
		leaders[order.state.Leader] = true
	}
	for _, b := range s.live {
		if i := slices.IndexFunc(b.Endpoints, func(e cluster.Endpoint) bool { return e.Listener == s.listener }); i >= 0 && leaders[b.ID] {
			l := kmsg.NewLeaderAndISRRequestLiveLeader()
			l.BrokerID, l.Host, l.Port = b.ID, b.Endpoints[i].Host, b.Endpoints[i].Port
			req.LiveLeaders = append(req.LiveLeaders, l)
		}
	}
	return req
}

func (s sealed) partitionOrder(index int32, order replicaOrder) kmsg.LeaderAndISRRequestTopicPartition {
	p := kmsg.NewLeaderAndISRRequestTopicPartition()
	p.Partition = index
	p.ControllerEpoch = order.state.ControllerEpoch
	p.Leader, p.LeaderEpoch, p.ISR = order.state.Leader, order.state.LeaderEpoch, order.state.ISR
	p.ZKVersion = order.state.PartitionEpoch
	p.Replicas, p.AddingReplicas, p.RemovingReplicas = order.assignment.Replicas, order.assignment.Adding, order.assignment.Removing
	p.IsNew = order.isNew
	if order.state.Recovering && s.versions.LeaderAndISR >= 6 {
		p.LeaderRecoveryState = 1
	}
	return p
}

func (s sealed) updateMetadata(o *orders) *kmsg.UpdateMetadataRequest {
	req := kmsg.NewPtrUpdateMetadataRequest()
	req.Version = s.versions.UpdateMetadata
	req.ControllerID, req.ControllerEpoch, req.BrokerEpoch = s.controllerID, s.controllerEpoch, s.brokerEpoch
	for _, tp := range inOrder(o.metadata) {
		n := o.metadata[tp]
		if last := len(req.TopicStates); last == 0 || req.TopicStates[last-1].Topic != tp.Topic {
			t := kmsg.NewUpdateMetadataRequestTopicState()
			t.Topic, t.TopicID = tp.Topic, n.topicID
			req.TopicStates = append(req.TopicStates, t)
		}
		p := kmsg.NewUpdateMetadataRequestTopicPartition()
		p.Partition = tp.Index
		p.ControllerEpoch = n.state.ControllerEpoch
		p.Leader, p.LeaderEpoch, p.ISR, p.ZKVersion = n.state.Leader, n.state.LeaderEpoch, n.state.ISR, n.state.PartitionEpoch
		p.Replicas, p.OfflineReplicas = n.replicas, n.offline
		t := &req.TopicStates[len(req.TopicStates)-1]
		t.PartitionStates = append(t.PartitionStates, p)
	}
	for _, b := range s.live {
		req.LiveBrokers = append(req.LiveBrokers, liveBroker(b))
	}
	return req
}

// securityProtocols are Kafka's numbers for them.
var securityProtocols = map[string]int16{"PLAINTEXT": 0, "SSL": 1, "SASL_PLAINTEXT": 2, "SASL_SSL": 3}

func liveBroker(b cluster.Registration) kmsg.UpdateMetadataRequestLiveBroker {
	out := kmsg.NewUpdateMetadataRequestLiveBroker()
	out.ID = b.ID
	if b.Rack != "" {
		out.Rack = kmsg.StringPtr(b.Rack)
	}
	for _, e := range b.Endpoints {
		protocol, known := securityProtocols[e.Protocol]
		if !known {
			continue // nobody could dial it
		}
		to := kmsg.NewUpdateMetadataRequestLiveBrokerEndpoint()
		to.Host, to.Port, to.ListenerName, to.SecurityProtocol = e.Host, e.Port, e.Listener, protocol
		out.Endpoints = append(out.Endpoints, to)
	}
	return out
}

func (s sealed) stopReplica(o *orders) *kmsg.StopReplicaRequest {
	req := kmsg.NewPtrStopReplicaRequest()
	req.Version = s.versions.StopReplica
	req.ControllerID, req.ControllerEpoch, req.BrokerEpoch = s.controllerID, s.controllerEpoch, s.brokerEpoch
	for _, tp := range inOrder(o.replicas) {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewStopReplicaRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewStopReplicaRequestTopicPartitionState()
		p.Partition, p.LeaderEpoch, p.Delete = tp.Index, o.replicas[tp].leaderEpoch, o.replicas[tp].delete
		t := &req.Topics[len(req.Topics)-1]
		t.PartitionStates = append(t.PartitionStates, p)
	}
	return req
}

// answer is what a broker said to orders.
type answer struct {
	broker int32
	epoch  int64 // of the registration that the orders went to
	// refused is why the broker took none of them
	refused wire.ErrorCode
	codes   map[cluster.TopicPartition]wire.ErrorCode // of LeaderAndIsr
	stopped map[cluster.TopicPartition]wire.ErrorCode // of StopReplica with delete
	gone    []cluster.TopicPartition                  // partitions of deleted topics that it has heard of
}

// read makes an answer of a response to p. A partition that the broker did not
// speak of has an error.
func (p push) read(resp kmsg.Response) (answer, error) {
	var a answer
	switch resp := resp.(type) {
	case *kmsg.LeaderAndISRResponse:
		a.refused = wire.ErrorCode(resp.ErrorCode)
		names := map[topic.ID]string{}
		for tp, order := range p.orders.replicas {
			names[order.topicID] = tp.Topic
		}
		a.codes = map[cluster.TopicPartition]wire.ErrorCode{}
		for _, t := range resp.Topics {
			for _, part := range t.Partitions {
				a.codes[cluster.TopicPartition{Topic: names[t.TopicID], Index: part.Partition}] = wire.ErrorCode(part.ErrorCode)
			}
		}
	case *kmsg.UpdateMetadataResponse:
		a.refused = wire.ErrorCode(resp.ErrorCode)
		for tp, n := range p.orders.metadata {
			if n.state.Leader == leaderOfDeletion && a.refused == wire.None {
				a.gone = append(a.gone, tp)
			}
		}
	case *kmsg.StopReplicaResponse:
		a.refused = wire.ErrorCode(resp.ErrorCode)
		a.stopped = p.deleted(resp)
	default:
		return a, fmt.Errorf("a %T came for a %T", resp, p.request)
	}
	return a, nil
}

// deleted is what became of the logs that were to go.
func (p push) deleted(resp *kmsg.StopReplicaResponse) map[cluster.TopicPartition]wire.ErrorCode {
	said := map[cluster.TopicPartition]wire.ErrorCode{}
	for _, part := range resp.Partitions {
		said[cluster.TopicPartition{Topic: part.Topic, Index: part.Partition}] = wire.ErrorCode(part.ErrorCode)
	}
	out := map[cluster.TopicPartition]wire.ErrorCode{}
	for tp, order := range p.orders.replicas {
		code, ok := said[tp]
		switch {
		case !order.delete:
			continue
		case resp.ErrorCode != 0:
			code = wire.ErrorCode(resp.ErrorCode)
		case !ok:
			code = wire.UnknownServerError
		}
		out[tp] = code
	}
	return out
}
