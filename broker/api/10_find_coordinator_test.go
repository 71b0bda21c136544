package api

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/wire"
)

// Groups are coordinated here; what cannot be is refused with a sentence.
func TestFindCoordinator(t *testing.T) {
	b := newBox(t)
	self := b.api.cluster.Snapshot().Brokers[0]
	c := b.dial(t)
	for version := int16(0); version <= 6; version++ {
		for name, tc := range map[string]struct {
			key     string
			keyType int8
			want    wire.ErrorCode
			since   int16
		}{
			"group":       {"readers", 0, wire.None, 0},
			"emptyGroup":  {"", 0, wire.InvalidGroupID, 0},
			"transaction": {"writer", 1, wire.TransactionalIDAuthorization, 1},
			"unknownType": {"x", 9, wire.InvalidRequest, 1},
		} {
			if version < tc.since {
				continue
			}
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey, req.CoordinatorType, req.CoordinatorKeys = tc.key, tc.keyType, []string{tc.key}
			resp := call[*kmsg.FindCoordinatorResponse](t, c, req, version)
			got := kmsg.FindCoordinatorResponseCoordinator{Key: tc.key, NodeID: resp.NodeID, Host: resp.Host, Port: resp.Port, ErrorCode: resp.ErrorCode, ErrorMessage: resp.ErrorMessage}
			if version >= 4 {
				if len(resp.Coordinators) != 1 {
					t.Fatalf("%s, version %d: %d coordinators, want 1", name, version, len(resp.Coordinators))
				}
				got = resp.Coordinators[0]
			}
			if code(got.ErrorCode) != tc.want || got.Key != tc.key {
				t.Errorf("%s, version %d: %q, %v, want %v", name, version, got.Key, code(got.ErrorCode), tc.want)
			}
			here := got.NodeID == self.ID && got.Host == self.Host && got.Port == self.Port
			if here != (tc.want == wire.None) {
				t.Errorf("%s, version %d: coordinator %d at %s:%d, this broker is %+v", name, version, got.NodeID, got.Host, got.Port, self)
			}
		}
	}
}

// aRegion is a cluster of several brokers, as one of them knows it.
type aRegion struct {
	cluster.Coordinator
	snapshot *cluster.Snapshot
}

func (r *aRegion) Snapshot() *cluster.Snapshot { return r.snapshot }

// regionLog is __consumer_offsets in a region, which is made when it is asked for.
type regionLog struct {
	group.Log
	*aRegion
	made int
}

func (l *regionLog) Partitions() int32 {
	t, ok := l.snapshot.Topic(group.Topic)
	if !ok {
		return 0
	}
	return int32(len(t.Partitions))
}

func (l *regionLog) Create(context.Context, int32, int16) (int32, error) {
	l.made++
	topic := &cluster.Topic{Name: group.Topic, Partitions: []cluster.Partition{{Leader: 1}, {Leader: 2}, {Leader: -1}, {Leader: 9}}}
	l.snapshot = cluster.NewSnapshot(*l.snapshot, []*cluster.Topic{topic})
	return 4, nil
}

// In a region a group is coordinated by the leader of its partition; there may be
// none that lives. The first who asks has the topic made.
func TestFindCoordinatorInARegion(t *testing.T) {
	region := &aRegion{snapshot: cluster.NewSnapshot(cluster.Snapshot{Brokers: []cluster.Broker{{ID: 1, Host: "one", Port: 9092}, {ID: 2, Host: "two", Port: 9093}}}, nil)}
	log := &regionLog{aRegion: region}
	cfg := group.DefaultConfig()
	cfg.Clustered = true
	b := newBox(t)
	b.api.cluster = region
	b.api.cfg.Groups = group.New(cfg, log, func() (time.Time, bool) { return time.Now(), true }, slog.New(slog.DiscardHandler), nil)
	c := b.dial(t)
	wants := []string{"1 one:9092 NONE", "2 two:9093 NONE", "-1 :-1 COORDINATOR_NOT_AVAILABLE", "-1 :-1 COORDINATOR_NOT_AVAILABLE"}
	for i := range 40 {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey = fmt.Sprint("group", i)
		resp := call[*kmsg.FindCoordinatorResponse](t, c, req, 3)
		got := fmt.Sprintf("%d %s:%d %v", resp.NodeID, resp.Host, resp.Port, code(resp.ErrorCode))
		if want := wants[group.PartitionFor(req.CoordinatorKey, 4)]; got != want {
			t.Errorf("%s: %s, want %s", req.CoordinatorKey, got, want)
		}
	}
	if log.made != 1 {
		t.Errorf("the topic was made %d times", log.made)
	}
}

// Whoever of Kafka's brokers has a producer's transactions can be asked for at this one,
// which has none itself.
func TestFindCoordinatorOfTransactions(t *testing.T) {
	b := newBox(t)
	self := b.api.cluster.Snapshot().Brokers[0]
	b.api.cluster = &aRegion{snapshot: cluster.NewSnapshot(
		cluster.Snapshot{Brokers: []cluster.Broker{self, {ID: self.ID + 1, Host: "kafka", Port: 9092}}},
		[]*cluster.Topic{{Name: "__transaction_state", Partitions: []cluster.Partition{{Leader: self.ID}, {Leader: self.ID + 1}, {Leader: -1}}}},
	)}
	c := b.dial(t)
	wants := []string{
		"-1 :-1 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
		fmt.Sprint(self.ID+1, " kafka:9092 NONE"),
		"-1 :-1 COORDINATOR_NOT_AVAILABLE",
	}
	asked := map[int32]bool{}
	for i := range 30 {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorType = fmt.Sprint("writer", i), 1
		resp := call[*kmsg.FindCoordinatorResponse](t, c, req, 3)
		got := fmt.Sprintf("%d %s:%d %v", resp.NodeID, resp.Host, resp.Port, code(resp.ErrorCode))
		index := group.PartitionFor(req.CoordinatorKey, 3)
		if asked[index] = true; got != wants[index] {
			t.Errorf("%s: %s, want %s", req.CoordinatorKey, got, wants[index])
		}
	}
	if len(asked) != len(wants) {
		t.Errorf("only partitions %v were asked for", asked)
	}
}
