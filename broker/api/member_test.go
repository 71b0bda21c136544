package api

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// fakeMember notes what it is told, and answers what a test wants.
type fakeMember struct {
	from      region.From
	orders    []region.Order
	leaders   []cluster.Broker
	stops     []region.StopOrder
	update    region.Update
	results   map[cluster.TopicPartition]error
	err       error
	changes   []controller.ISRChange
	answers   []controller.ISRAnswer
	epoch     int64
	remaining []cluster.TopicPartition
}

func (m *fakeMember) LeaderAndISR(f region.From, orders []region.Order, leaders []cluster.Broker) (map[cluster.TopicPartition]error, error) {
	m.from, m.orders, m.leaders = f, orders, leaders
	return m.results, m.err
}

func (m *fakeMember) StopReplica(f region.From, stops []region.StopOrder) (map[cluster.TopicPartition]error, error) {
	m.from, m.stops = f, stops
	return m.results, m.err
}

func (m *fakeMember) UpdateMetadata(f region.From, u region.Update) error {
	m.from, m.update = f, u
	return m.err
}

func (m *fakeMember) AlterPartition(_ context.Context, _ int32, brokerEpoch int64, changes []controller.ISRChange) ([]controller.ISRAnswer, error) {
	m.epoch, m.changes = brokerEpoch, changes
	return m.answers, m.err
}

func (m *fakeMember) ControlledShutdown(_ context.Context, _ int32, brokerEpoch int64) ([]cluster.TopicPartition, error) {
	m.epoch = brokerEpoch
	return m.remaining, m.err
}

func (m *fakeMember) AllocateProducerIDs(context.Context, int32, int64) (controller.ProducerIDs, error) {
	return controller.ProducerIDs{First: 5000, Count: 1000}, m.err
}

// newMemberBox is a box that has joined a region.
func newMemberBox(t testing.TB) (*box, *fakeMember) {
	m := &fakeMember{}
	b := newBox(t)
	b.api.cfg.Member, b.api.cfg.Controller, b.api.cfg.Listener = m, m, "PLAINTEXT"
	b.api.table = spoken(true)
	return b, m
}

var (
	pressID = topic.ID{1, 2, 3}
	pusher  = region.From{ControllerID: 3, ControllerEpoch: 9, BrokerEpoch: 77}
)

// In every version the orders are the same, wherever it has them, and so are the
// answers.
func TestLeaderAndISR(t *testing.T) {
	b, m := newMemberBox(t)
	m.results = map[cluster.TopicPartition]error{{Topic: "press", Index: 1}: fmt.Errorf("%w", region.ErrStaleOrder)}
	c := b.dial(t)
	for version := int16(0); version <= 7; version++ {
		want := region.Order{
			TopicPartition: cluster.TopicPartition{Topic: "press"}, ControllerEpoch: 9, Leader: 1, LeaderEpoch: 4, PartitionEpoch: 6,
			Replicas: []int32{1, 2}, ISR: []int32{1},
		}
		req := kmsg.NewPtrLeaderAndISRRequest()
		req.ControllerID, req.ControllerEpoch, req.BrokerEpoch = 3, 9, 77
		req.LiveLeaders = []kmsg.LeaderAndISRRequestLiveLeader{{BrokerID: 1, Host: "one", Port: 9092}}
		state := kmsg.NewLeaderAndISRRequestTopicState()
		state.Topic, state.TopicID = "press", pressID
		for index := range int32(2) {
			p := kmsg.NewLeaderAndISRRequestTopicPartition()
			p.Topic, p.Partition, p.ControllerEpoch, p.Leader, p.LeaderEpoch, p.ZKVersion = "press", index, 9, 1, 4, 6
			p.Replicas, p.ISR, p.IsNew, p.LeaderRecoveryState = []int32{1, 2}, []int32{1}, true, 1
			req.PartitionStates, state.PartitionStates = append(req.PartitionStates, p), append(state.PartitionStates, p)
		}
		req.TopicStates = []kmsg.LeaderAndISRRequestTopicState{state}
		resp := call[*kmsg.LeaderAndISRResponse](t, c, req, version)
		want.New, want.Recovering = version >= 1, version >= 6
		if version >= 5 {
			want.ID = pressID
		}
		wantFrom := pusher
		if version < 2 {
			wantFrom.BrokerEpoch = -1
		}
		got := m.orders[0]
		got.Adding, got.Removing = nil, nil
		if len(m.orders) != 2 || !reflect.DeepEqual(got, want) || m.from != wantFrom || len(m.leaders) != 1 || m.leaders[0].Host != "one" {
			t.Errorf("version %d: from %+v, %+v; want %+v, %+v", version, m.from, m.orders, wantFrom, want)
		}
		parts := resp.Partitions
		if version >= 5 {
			if len(resp.Topics) != 1 || resp.Topics[0].TopicID != pressID {
				t.Fatalf("version %d: topics %+v", version, resp.Topics)
			}
			parts = resp.Topics[0].Partitions
		}
		if len(parts) != 2 || parts[0].ErrorCode != 0 || code(parts[1].ErrorCode) != wire.StaleControllerEpoch {
			t.Errorf("version %d: answered %+v", version, parts)
		}
	}
	m.err = cluster.ErrStaleBrokerEpoch
	if resp := call[*kmsg.LeaderAndISRResponse](t, c, kmsg.NewPtrLeaderAndISRRequest(), 5); code(resp.ErrorCode) != wire.StaleBrokerEpoch {
		t.Errorf("a stale broker epoch: %v", code(resp.ErrorCode))
	}
}

func TestStopReplica(t *testing.T) {
	b, m := newMemberBox(t)
	c := b.dial(t)
	for version := int16(0); version <= 3; version++ { // 4 is wire's own: kmsg has two of its fields the wrong way round
		req := kmsg.NewPtrStopReplicaRequest()
		req.ControllerID, req.ControllerEpoch, req.BrokerEpoch, req.DeletePartitions = 3, 9, 77, true
		st := kmsg.NewStopReplicaRequestTopic()
		st.Topic, st.Partition, st.Partitions = "press", 1, []int32{1}
		p := kmsg.NewStopReplicaRequestTopicPartitionState()
		p.Partition, p.LeaderEpoch, p.Delete = 1, 5, true
		st.PartitionStates = []kmsg.StopReplicaRequestTopicPartitionState{p}
		req.Topics = []kmsg.StopReplicaRequestTopic{st}
		resp := call[*kmsg.StopReplicaResponse](t, c, req, version)
		want := region.StopOrder{TopicPartition: cluster.TopicPartition{Topic: "press", Index: 1}, LeaderEpoch: -1, Delete: true}
		if version >= 3 {
			want.LeaderEpoch = 5
		}
		if len(m.stops) != 1 || m.stops[0] != want || len(resp.Partitions) != 1 || resp.Partitions[0].ErrorCode != 0 {
			t.Errorf("version %d: %+v, answered %+v; want %+v", version, m.stops, resp.Partitions, want)
		}
	}
}

// Brokers are told by the address of the listener that all have.
func TestUpdateMetadata(t *testing.T) {
	b, m := newMemberBox(t)
	c := b.dial(t)
	for version := int16(0); version <= 8; version++ {
		req := kmsg.NewPtrUpdateMetadataRequest()
		req.ControllerID, req.ControllerEpoch, req.BrokerEpoch = 3, 9, 77
		live := kmsg.NewUpdateMetadataRequestLiveBroker()
		rack := "hall-3"
		live.ID, live.Host, live.Port, live.Rack = 1, "one", 9092, &rack
		live.Endpoints = []kmsg.UpdateMetadataRequestLiveBrokerEndpoint{
			{Port: 9093, Host: "secret", ListenerName: "SSL", SecurityProtocol: 1}, {Port: 9092, Host: "one", ListenerName: "PLAINTEXT"},
		}
		other := kmsg.NewUpdateMetadataRequestLiveBroker()
		other.ID, other.Endpoints = 2, live.Endpoints[:1] // not to be reached
		req.LiveBrokers = []kmsg.UpdateMetadataRequestLiveBroker{live, other}
		p := kmsg.NewUpdateMetadataRequestTopicPartition()
		p.Topic, p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR = "press", 1, 2, 5, []int32{2, 1}, []int32{2}
		req.PartitionStates = []kmsg.UpdateMetadataRequestTopicPartition{p}
		state := kmsg.NewUpdateMetadataRequestTopicState()
		state.Topic, state.TopicID, state.PartitionStates = "press", pressID, req.PartitionStates
		req.TopicStates = []kmsg.UpdateMetadataRequestTopicState{state}
		if resp := call[*kmsg.UpdateMetadataResponse](t, c, req, version); resp.ErrorCode != 0 {
			t.Errorf("version %d: %v", version, code(resp.ErrorCode))
		}
		wantBrokers := 1
		if len(m.update.Brokers) < wantBrokers || m.update.Brokers[0].Host != "one" || m.update.Brokers[0].Port != 9092 || (m.update.Brokers[0].Rack == rack) != (version >= 2) {
			t.Errorf("version %d: brokers %+v", version, m.update.Brokers)
		}
		got := m.update.Topics[0]
		if got.Name != "press" || (got.ID == pressID) != (version >= 7) || got.Partitions[1].Leader != 2 || got.Partitions[1].LeaderEpoch != 5 || len(got.Partitions[1].Replicas) != 2 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

func TestAlterPartition(t *testing.T) {
	b, m := newMemberBox(t)
	c := b.dial(t)
	state := cluster.PartitionState{Leader: 1, LeaderEpoch: 4, ISR: []int32{1, 2}, PartitionEpoch: 8}
	for version := int16(0); version <= 3; version++ {
		name, id := "press", topic.ID{}
		if version >= 2 {
			name, id = "", pressID
		}
		m.answers = []controller.ISRAnswer{
			{Topic: name, ID: id, Index: 0, State: state},
			{Topic: name, ID: id, Index: 1, Err: fmt.Errorf("%w", cluster.ErrIneligibleReplica)},
		}
		req := kmsg.NewPtrAlterPartitionRequest()
		req.BrokerID, req.BrokerEpoch = 1, 77
		rt := kmsg.NewAlterPartitionRequestTopic()
		rt.Topic, rt.TopicID = "press", pressID
		p := kmsg.NewAlterPartitionRequestTopicPartition()
		p.LeaderEpoch, p.PartitionEpoch, p.NewISR = 4, 7, []int32{1, 2}
		p.NewEpochISR = []kmsg.AlterPartitionRequestTopicPartitionNewEpochISR{{BrokerID: 1, BrokerEpoch: 77}, {BrokerID: 2, BrokerEpoch: 78}}
		rt.Partitions = []kmsg.AlterPartitionRequestTopicPartition{p}
		req.Topics = []kmsg.AlterPartitionRequestTopic{rt}
		resp := call[*kmsg.AlterPartitionResponse](t, c, req, version)
		asked := m.changes[0]
		if asked.Topic != name || asked.ID != id || asked.LeaderEpoch != 4 || asked.PartitionEpoch != 7 || len(asked.ISR) != 2 || (asked.ISR[1].Epoch == 78) != (version >= 3) || m.epoch != 77 {
			t.Errorf("version %d: asked %+v", version, asked)
		}
		parts := resp.Topics[0].Partitions
		want := wire.IneligibleReplica
		if version < 2 {
			want = wire.OperationNotAttempted
		}
		if len(parts) != 2 || parts[0].PartitionEpoch != 8 || len(parts[0].ISR) != 2 || parts[0].LeaderID != 1 || code(parts[1].ErrorCode) != want {
			t.Errorf("version %d: answered %+v", version, parts)
		}
	}
}

func TestControllersOtherRequests(t *testing.T) {
	b, m := newMemberBox(t)
	m.remaining = []cluster.TopicPartition{{Topic: "press", Index: 2}}
	c := b.dial(t)
	for version := int16(1); version <= 3; version++ {
		req := kmsg.NewPtrControlledShutdownRequest()
		req.BrokerID, req.BrokerEpoch = 1, 77
		resp := call[*kmsg.ControlledShutdownResponse](t, c, req, version)
		if len(resp.PartitionsRemaining) != 1 || resp.PartitionsRemaining[0].Partition != 2 || (m.epoch == 77) != (version >= 2) {
			t.Errorf("version %d: %+v, epoch %d", version, resp, m.epoch)
		}
	}
	if resp := call[*kmsg.AllocateProducerIDsResponse](t, c, kmsg.NewPtrAllocateProducerIDsRequest(), 0); resp.ProducerIDStart != 5000 || resp.ProducerIDLen != 1000 {
		t.Errorf("producer ids: %+v", resp)
	}
	m.err = cluster.ErrNotController
	if resp := call[*kmsg.AllocateProducerIDsResponse](t, c, kmsg.NewPtrAllocateProducerIDsRequest(), 0); code(resp.ErrorCode) != wire.NotController {
		t.Errorf("not the controller: %v", code(resp.ErrorCode))
	}
}

// What brokers of a region alone speak is refused by a broker that is in none.
func TestAloneSpeaksNotForBrokers(t *testing.T) {
	alone := newBox(t)
	member, _ := newMemberBox(t)
	for _, e := range table {
		if _, err := alone.api.Terms(e.key, e.max); (err != nil) != e.between {
			t.Errorf("alone, %s: %v", kmsg.NameForKey(e.key), err)
		}
		if _, err := member.api.Terms(e.key, e.max); err != nil {
			t.Errorf("in a region, %s: %v", kmsg.NameForKey(e.key), err)
		}
	}
}

// A follower's fetch says where the follower is once, however long it waits; what it
// was given just now it has not got yet.
func TestFollowerFetch(t *testing.T) {
	b, _ := newMemberBox(t)
	b.create(t, "press", 1, nil)
	b.fill(t, "press", 0, batch(3, 10, 0), batch(3, 10, 0))
	c := b.dial(t)
	for _, version := range []int16{12, 15} {
		p := b.partition("press", 0)
		p.others = replicas{}
		req := fetchRequest(ask{topic: "press"})
		req.ReplicaID = 2
		req.ReplicaState.ID, req.ReplicaState.Epoch = 2, 78
		req.MaxBytes, req.MinBytes, req.MaxWaitMillis = 1<<20, 1, 100
		fp := &req.Topics[0].Partitions[0]
		fp.FetchOffset, fp.LastFetchedEpoch, fp.LogStartOffset, fp.PartitionMaxBytes = 3, 1, 0, 1<<20
		if version >= 13 {
			b.byID(req)
		}
		resp := call[*kmsg.FetchResponse](t, c, req, version)
		got := resp.Topics[0].Partitions[0]
		if len(got.RecordBatches) == 0 || len(p.others.heard) != 1 {
			t.Errorf("version %d: %d bytes, heard %+v", version, len(got.RecordBatches), p.others.heard)
		}
		want := partition.ReplicaFetch{Replica: 2, BrokerEpoch: -1, CurrentLeaderEpoch: fp.CurrentLeaderEpoch, Offset: 3, LastFetchedEpoch: 1}
		if version >= 15 {
			want.BrokerEpoch = 78
		}
		heard := p.others.heard[0]
		heard.MaxBytes, heard.AtLeastOne = 0, false
		if heard != want {
			t.Errorf("version %d: heard %+v, want %+v", version, heard, want)
		}
	}
	p := b.partition("press", 0)
	p.others = replicas{diverging: &partition.EpochEnd{Epoch: 0, EndOffset: 2}}
	req := fetchRequest(ask{topic: "press"})
	req.ReplicaID, req.MaxBytes = 2, 1<<20
	resp := call[*kmsg.FetchResponse](t, c, req, 12)
	if d := resp.Topics[0].Partitions[0].DivergingEpoch; d.Epoch != 0 || d.EndOffset != 2 {
		t.Errorf("diverging: %+v", d)
	}
}

// A consumer that says where it is gets sent to a replica there.
func TestNearestReplica(t *testing.T) {
	b, _ := newMemberBox(t)
	b.create(t, "press", 1, nil)
	b.fill(t, "press", 0, batch(3, 10, 0))
	b.api.cluster = racked{b.solo} // broker 7 is in hall-3
	b.partition("press", 0).others.nearest = map[int32]int64{7: 2}
	b.api.cfg.BrokerID = 1
	c := b.dial(t)
	req := fetchRequest(ask{topic: "press"})
	req.Rack, req.MaxBytes = "hall-3", 1<<20
	got := call[*kmsg.FetchResponse](t, c, req, 11).Topics[0].Partitions[0]
	if got.PreferredReadReplica != 7 || len(got.RecordBatches) != 0 {
		t.Errorf("preferred replica %d with %d bytes", got.PreferredReadReplica, len(got.RecordBatches))
	}
	req.Rack = "hall-4"
	if got := call[*kmsg.FetchResponse](t, c, req, 11).Topics[0].Partitions[0]; got.PreferredReadReplica != -1 {
		t.Errorf("in another rack: preferred replica %d", got.PreferredReadReplica)
	}
}

// With acks all an append waits for all replicas, and is refused when there are too
// few of them.
func TestProduceToAll(t *testing.T) {
	b, _ := newMemberBox(t)
	b.create(t, "press", 1, nil)
	c := b.dial(t)
	p := b.partition("press", 0)
	p.others.minISR = partition.ErrNotEnoughReplicas
	for acks, want := range map[int16]wire.ErrorCode{-1: wire.NotEnoughReplicas, 1: wire.None} {
		req := produceRequest(acks, "press", 0, batch(1, 1, 0))
		if got := call[*kmsg.ProduceResponse](t, c, req, 9).Topics[0].Partitions[0]; code(got.ErrorCode) != want {
			t.Errorf("acks %d: %v, want %v", acks, code(got.ErrorCode), want)
		}
	}
}
