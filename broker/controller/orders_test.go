package controller

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

var a0 = cluster.TopicPartition{Topic: "a"}

func withOrder(r replicaOrder) *orders {
	o := newOrders()
	o.replicas[a0] = r
	return o
}

// What is newer takes the place of what is older, whichever is put in first, and
// what only the older says is kept.
func TestOrdersMerge(t *testing.T) {
	lead := func(leaderEpoch int32, isNew bool) replicaOrder {
		return replicaOrder{state: led(1, leaderEpoch, 1), isNew: isNew}
	}
	for name, tc := range map[string]struct{ older, newer, want replicaOrder }{
		"later":     {lead(1, false), lead(2, false), lead(2, false)},
		"stillNew":  {lead(1, true), lead(2, false), lead(2, true)},
		"stops":     {lead(1, true), replicaOrder{stop: true, leaderEpoch: 2}, replicaOrder{stop: true, leaderEpoch: 2}},
		"goesToo":   {replicaOrder{stop: true, delete: true}, replicaOrder{stop: true, leaderEpoch: 3}, replicaOrder{stop: true, delete: true, leaderEpoch: 3}},
		"comesBack": {replicaOrder{stop: true, delete: true}, lead(5, false), lead(5, false)},
	} {
		added := withOrder(tc.older)
		added.add(withOrder(tc.newer))
		given := withOrder(tc.newer)
		given.giveBack(withOrder(tc.older))
		for how, o := range map[string]*orders{"added": added, "given back": given} {
			if got := o.replicas[a0]; fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("%s, %s: %+v, want %+v", name, how, got, tc.want)
			}
		}
	}
}

// A broker that is new hears all that there is before it is told what to do, in
// however many parts, and also after a part was lost.
func TestTakeTellsNewBrokersFirst(t *testing.T) {
	o := withOrder(replicaOrder{state: led(1, 1, 1)})
	o.first, o.live = true, []cluster.Registration{{ID: 1}}
	for i := range int32(5) {
		o.metadata[cluster.TopicPartition{Topic: "a", Index: i}] = news{}
	}
	heard := 0
	for range 4 {
		taken := o.take(2)
		if len(taken.replicas) > 0 {
			break
		}
		if heard == 2 { // lose one, once
			o.giveBack(taken)
			taken = o.take(2)
		}
		heard += len(taken.metadata)
	}
	if heard != 5 || o.first {
		t.Errorf("heard of %d partitions before the first order, want 5; first %v", heard, o.first)
	}
	if !o.empty() {
		t.Errorf("left: %+v", o)
	}
}

func TestForgetDeleted(t *testing.T) {
	o := newOrders()
	for i := range int32(maxNews) {
		o.metadata[cluster.TopicPartition{Topic: "gone", Index: i}] = news{state: cluster.PartitionState{Leader: leaderOfDeletion}}
	}
	if n := o.forgetDeleted(); n != 0 {
		t.Errorf("%d dropped, though they are not too many", n)
	}
	o.metadata[a0] = news{state: led(1, 1, 1)}
	if n := o.forgetDeleted(); n != maxNews || len(o.metadata) != 1 {
		t.Errorf("%d dropped, %d left; want %d and 1", n, len(o.metadata), maxNews)
	}
}

// The requests are in the versions that were set, in the order in which Kafka's
// controller sends them, each with the epochs of both sides.
func TestPushes(t *testing.T) {
	for _, v := range []Versions{Versions28, Versions34} {
		id := topic.NewID()
		state := led(1, 9, 1, 2)
		state.Recovering = true
		o := withOrder(replicaOrder{topicID: id, assignment: cluster.Assignment{Replicas: []int32{1, 2}, Adding: []int32{2}}, state: state, isNew: true})
		o.replicas[cluster.TopicPartition{Topic: "b", Index: 3}] = replicaOrder{stop: true, delete: true, leaderEpoch: epochOfDeletion}
		o.metadata[a0] = news{topicID: id, replicas: []int32{1, 2}, offline: []int32{2}, state: state}
		s := sealed{
			versions: v, listener: "INTERNAL", controllerID: 7, controllerEpoch: 3, brokerEpoch: 42,
			live: []cluster.Registration{
				{ID: 1, Rack: "r", Endpoints: []cluster.Endpoint{
					{Listener: "PLAINTEXT", Protocol: "PLAINTEXT", Host: "out", Port: 1},
					{Listener: "INTERNAL", Protocol: "SASL_SSL", Host: "in", Port: 2},
				}},
				{ID: 2, Endpoints: []cluster.Endpoint{{Listener: "PLAINTEXT", Protocol: "PLAINTEXT", Host: "two", Port: 3}}},
			},
		}
		pushes := s.pushes(o)
		if len(pushes) != 3 {
			t.Fatalf("%d requests, want 3", len(pushes))
		}
		var got [3]kmsg.Request
		for i, p := range pushes {
			var err error
			if got[i], err = wire.Decode(p.request.Key(), p.request.GetVersion(), p.request.AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
		}
		lead, tell, stop := got[0].(*kmsg.LeaderAndISRRequest), got[1].(*kmsg.UpdateMetadataRequest), got[2].(*kmsg.StopReplicaRequest)
		if (Versions{lead.Version, tell.Version, stop.Version}) != v {
			t.Errorf("versions %d, %d, %d; want %+v", lead.Version, tell.Version, stop.Version, v)
		}
		for _, h := range [][3]int64{
			{int64(lead.ControllerID), int64(lead.ControllerEpoch), lead.BrokerEpoch},
			{int64(tell.ControllerID), int64(tell.ControllerEpoch), tell.BrokerEpoch},
			{int64(stop.ControllerID), int64(stop.ControllerEpoch), stop.BrokerEpoch},
		} {
			if h != [3]int64{7, 3, 42} {
				t.Errorf("sealed with %v, want controller 7, epoch 3, broker epoch 42", h)
			}
		}
		checkLead(t, v, id, lead)
		checkTell(t, id, tell)
		if p := stop.Topics[0].PartitionStates[0]; stop.Topics[0].Topic != "b" || p.Partition != 3 || !p.Delete || p.LeaderEpoch != -2 {
			t.Errorf("stop: %+v", stop.Topics)
		}
	}
}

func checkLead(t *testing.T, v Versions, id topic.ID, req *kmsg.LeaderAndISRRequest) {
	t.Helper()
	p := req.TopicStates[0].PartitionStates[0]
	if req.TopicStates[0].TopicID != id || p.Leader != 1 || p.LeaderEpoch != 9 || p.ZKVersion != 7 || p.ControllerEpoch != 1 || !p.IsNew ||
		!slices.Equal(p.ISR, []int32{1, 2}) || !slices.Equal(p.Replicas, []int32{1, 2}) || !slices.Equal(p.AddingReplicas, []int32{2}) {
		t.Errorf("lead: %+v", req.TopicStates)
	}
	if recovers := p.LeaderRecoveryState == 1; recovers != (v == Versions34) {
		t.Errorf("version %d says that it recovers: %v", req.Version, recovers)
	}
	if len(req.LiveLeaders) != 1 || req.LiveLeaders[0].BrokerID != 1 || req.LiveLeaders[0].Host != "in" || req.LiveLeaders[0].Port != 2 {
		t.Errorf("live leaders %+v, want broker 1 at the brokers' own listener", req.LiveLeaders)
	}
}

func checkTell(t *testing.T, id topic.ID, req *kmsg.UpdateMetadataRequest) {
	t.Helper()
	p := req.TopicStates[0].PartitionStates[0]
	if req.TopicStates[0].TopicID != id || p.Leader != 1 || p.LeaderEpoch != 9 || p.ZKVersion != 7 ||
		!slices.Equal(p.ISR, []int32{1, 2}) || !slices.Equal(p.OfflineReplicas, []int32{2}) {
		t.Errorf("tell: %+v", req.TopicStates)
	}
	b := req.LiveBrokers
	if len(b) != 2 || len(b[0].Endpoints) != 2 || *b[0].Rack != "r" || b[1].Rack != nil ||
		b[0].Endpoints[1].SecurityProtocol != 3 || b[0].Endpoints[1].ListenerName != "INTERNAL" || b[0].Endpoints[1].Port != 2 {
		t.Errorf("live brokers %+v", b)
	}
}
