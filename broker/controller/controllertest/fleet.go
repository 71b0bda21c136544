package controllertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// Fleet is brokers that take orders, by the rules of Kafka's.
type Fleet struct {
	mu     sync.Mutex // guards all below
	nodes  map[int32]*Node
	faults []string
	hook   Hook
}

// Hook stands between a controller and a broker: deliver has the broker take the
// request and answer it, once or more often or never. It may wait for ctx.
type Hook func(ctx context.Context, id int32, req kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error)

// Node is one broker.
type Node struct {
	Epoch           int64
	ControllerEpoch int32
	Replicas        map[cluster.TopicPartition]Replica
	Metadata        map[cluster.TopicPartition]Known
	Live            []int32
	Requests        []kmsg.Request // all that it took, in their order
}

// Replica is a partition that a broker has.
type Replica struct {
	TopicID topic.ID
	State   cluster.PartitionState
	Stopped bool // it neither leads nor follows, and has its log
	Failed  bool // its disk is lost
	WasNew  bool
}

// Known is what a broker knows of a partition.
type Known struct {
	TopicID           topic.ID
	State             cluster.PartitionState
	Replicas, Offline []int32
}

// NewFleet returns one without brokers; they come when they are first dialled.
func NewFleet() *Fleet { return &Fleet{nodes: map[int32]*Node{}} }

// Intercept has hook called before every request; nil for none.
func (f *Fleet) Intercept(hook Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// Faults returns what a controller may not do, and has done.
func (f *Fleet) Faults() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.faults)
}

// Node returns a copy of a broker as it is.
func (f *Fleet) Node(id int32) Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := *f.node(id)
	n.Replicas, n.Metadata = maps.Clone(n.Replicas), maps.Clone(n.Metadata)
	n.Requests = slices.Clone(n.Requests)
	return n
}

// LoseDisk has a broker answer a storage error for a partition from now on.
func (f *Fleet) LoseDisk(id int32, tp cluster.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.node(id).Replicas[tp]
	r.Failed = true
	f.node(id).Replicas[tp] = r
}

func (f *Fleet) node(id int32) *Node {
	n := f.nodes[id]
	if n == nil {
		n = &Node{Replicas: map[cluster.TopicPartition]Replica{}, Metadata: map[cluster.TopicPartition]Known{}}
		f.nodes[id] = n
	}
	return n
}

// Restart has a broker forget what was in its memory; its logs stay.
func (f *Fleet) Restart(id int32, epoch int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(id)
	n.Epoch, n.ControllerEpoch = epoch, 0
	n.Metadata, n.Live = map[cluster.TopicPartition]Known{}, nil
	for tp, r := range n.Replicas {
		r.Stopped = true
		r.State = cluster.PartitionState{Leader: -1, LeaderEpoch: -1}
		n.Replicas[tp] = r
	}
}

// Conn is a connection to a broker: a controller.Caller.
type Conn struct {
	fleet *Fleet
	to    cluster.Registration
}

// Dial returns a connection to a registration of a broker.
func (f *Fleet) Dial(to cluster.Registration) *Conn { return &Conn{fleet: f, to: to} }

// Close implements controller.Caller.
func (c *Conn) Close() {}

// Call implements controller.Caller. The request goes through its bytes.
func (c *Conn) Call(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	decoded, err := wire.Decode(req.Key(), req.GetVersion(), req.AppendTo(nil))
	if err != nil {
		return nil, err
	}
	c.fleet.mu.Lock()
	hook := c.fleet.hook
	c.fleet.mu.Unlock()
	deliver := func() (kmsg.Response, error) { return c.fleet.take(c.to.ID, decoded) }
	if hook == nil {
		return deliver()
	}
	return hook(ctx, c.to.ID, decoded, deliver)
}

// take has a broker do what a request says.
func (f *Fleet) take(id int32, req kmsg.Request) (kmsg.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(id)
	n.Requests = append(n.Requests, req)
	switch req := req.(type) {
	case *kmsg.LeaderAndISRRequest:
		return f.leaderAndISR(id, n, req), nil
	case *kmsg.UpdateMetadataRequest:
		return f.updateMetadata(n, req), nil
	case *kmsg.StopReplicaRequest:
		return f.stopReplica(n, req), nil
	}
	return nil, fmt.Errorf("a controller sends no %T", req)
}

// stale says why a broker takes none of a request.
func (n *Node) stale(controllerEpoch int32, brokerEpoch int64) wire.ErrorCode {
	switch {
	case controllerEpoch < n.ControllerEpoch:
		return wire.StaleControllerEpoch
	case brokerEpoch < n.Epoch:
		return wire.StaleBrokerEpoch
	}
	n.ControllerEpoch = controllerEpoch
	return wire.None
}

func (f *Fleet) leaderAndISR(id int32, n *Node, req *kmsg.LeaderAndISRRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.LeaderAndISRResponse)
	if resp.ErrorCode = int16(n.stale(req.ControllerEpoch, req.BrokerEpoch)); resp.ErrorCode != 0 {
		return resp
	}
	for _, t := range req.TopicStates {
		answer := kmsg.NewLeaderAndISRResponseTopic()
		answer.TopicID = t.TopicID
		for _, p := range t.PartitionStates {
			tp := cluster.TopicPartition{Topic: t.Topic, Index: p.Partition}
			part := kmsg.NewLeaderAndISRResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, int16(f.order(id, n, tp, t.TopicID, p))
			answer.Partitions = append(answer.Partitions, part)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

func (f *Fleet) order(id int32, n *Node, tp cluster.TopicPartition, topicID topic.ID, p kmsg.LeaderAndISRRequestTopicPartition) wire.ErrorCode {
	now, known := n.Replicas[tp]
	next := cluster.PartitionState{
		Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, ControllerEpoch: p.ControllerEpoch,
		ISR: p.ISR, Recovering: p.LeaderRecoveryState == 1, PartitionEpoch: p.ZKVersion,
	}
	switch {
	case !slices.Contains(p.Replicas, id):
		f.faults = append(f.faults, fmt.Sprintf("broker %d is told of %s, which is on %v", id, tp, p.Replicas))
	case known && now.Failed:
		return wire.KafkaStorageError
	case known && now.TopicID != (topic.ID{}) && now.TopicID != topicID:
		return wire.InconsistentTopicID
	case known && now.State.LeaderEpoch > next.LeaderEpoch, known && now.State.LeaderEpoch == next.LeaderEpoch && now.TopicID == topicID:
		return wire.StaleControllerEpoch
	}
	for other, on := range f.nodes {
		r, ok := on.Replicas[tp]
		if other != id && ok && !r.Stopped && next.Leader == id && r.State.Leader == other && r.State.LeaderEpoch == next.LeaderEpoch {
			f.faults = append(f.faults, fmt.Sprintf("%s is led by %d and %d at leader epoch %d", tp, id, other, next.LeaderEpoch))
		}
	}
	n.Replicas[tp] = Replica{TopicID: topicID, State: next, WasNew: p.IsNew}
	return wire.None
}

func (f *Fleet) updateMetadata(n *Node, req *kmsg.UpdateMetadataRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.UpdateMetadataResponse)
	if resp.ErrorCode = int16(n.stale(req.ControllerEpoch, req.BrokerEpoch)); resp.ErrorCode != 0 {
		return resp
	}
	n.Live = nil
	for _, b := range req.LiveBrokers {
		n.Live = append(n.Live, b.ID)
	}
	for _, t := range req.TopicStates {
		for _, p := range t.PartitionStates {
			tp := cluster.TopicPartition{Topic: t.Topic, Index: p.Partition}
			if p.Leader == -2 {
				delete(n.Metadata, tp)
				continue
			}
			n.Metadata[tp] = Known{TopicID: t.TopicID, Replicas: p.Replicas, Offline: p.OfflineReplicas, State: cluster.PartitionState{
				Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, ControllerEpoch: p.ControllerEpoch, ISR: p.ISR, PartitionEpoch: p.ZKVersion,
			}}
		}
	}
	return resp
}

func (f *Fleet) stopReplica(n *Node, req *kmsg.StopReplicaRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.StopReplicaResponse)
	if resp.ErrorCode = int16(n.stale(req.ControllerEpoch, req.BrokerEpoch)); resp.ErrorCode != 0 {
		return resp
	}
	for _, t := range req.Topics {
		for _, p := range t.PartitionStates {
			tp := cluster.TopicPartition{Topic: t.Topic, Index: p.Partition}
			part := kmsg.NewStopReplicaResponsePartition()
			part.Topic, part.Partition = t.Topic, p.Partition
			r, known := n.Replicas[tp]
			switch {
			case known && p.LeaderEpoch >= 0 && p.LeaderEpoch <= r.State.LeaderEpoch && !r.Stopped:
				part.ErrorCode = int16(wire.FencedLeaderEpoch)
			case known && p.Delete:
				delete(n.Replicas, tp)
			case known:
				r.Stopped = true
				n.Replicas[tp] = r
			}
			resp.Partitions = append(resp.Partitions, part)
		}
	}
	return resp
}
