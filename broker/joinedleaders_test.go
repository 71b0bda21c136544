package broker_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/wire"
)

// A consumer that says where it is reads from the replica there (KIP-392).
func testRegionNearest(t *testing.T, r *brokertest.Region) {
	mustMake(t, r, r.Hub(1), "near", assigned([]int32{1, 2, 3}))
	write(t, r.Hub(1), "near", values(0, 3))
	fetch := func(h *brokertest.Hub, rack string) kmsg.FetchResponseTopicPartition {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.ReplicaID, req.Rack, req.MaxBytes, req.MaxWaitMillis, req.MinBytes = 11, -1, rack, 1<<20, 100, 1
		topic := kmsg.NewFetchRequestTopic()
		p := kmsg.NewFetchRequestTopicPartition()
		topic.Topic, p.PartitionMaxBytes = "near", 1<<20
		topic.Partitions = append(topic.Partitions, p)
		req.Topics = append(req.Topics, topic)
		resp := askHub[*kmsg.FetchResponse](t, h, req)
		if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
			t.Fatalf("broker %d: %+v", h.ID, resp)
		}
		return resp.Topics[0].Partitions[0]
	}
	r.Await(t, "the consumer to be sent to its rack", func() bool {
		got := fetch(r.Hub(1), "rack2")
		return got.PreferredReadReplica == 2 && len(got.RecordBatches) == 0
	})
	for rack, at := range map[string]*brokertest.Hub{"rack2": r.Hub(2), "rack1": r.Hub(1), "none": r.Hub(1)} {
		r.Await(t, "records for "+rack, func() bool {
			got := fetch(at, rack)
			return got.ErrorCode == 0 && got.PreferredReadReplica == -1 && got.HighWatermark == 3 && len(got.RecordBatches) > 0
		})
	}
}

// Records that are deleted are gone from all replicas when the client is told so, though
// nothing else happens in their partitions.
func testRegionDeletedRecords(t *testing.T, r *brokertest.Region) {
	const partitions = 5
	mustMake(t, r, r.Hub(1), "gone", assigned(slices.Repeat([][]int32{{1, 2, 3}}, partitions)...))
	write(t, r.Hub(1), "gone", values(0, 100))
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = "gone"
	for index := range int32(partitions) {
		part := kmsg.NewDeleteRecordsRequestTopicPartition()
		part.Partition, part.Offset = index, -1
		topic.Partitions = append(topic.Partitions, part)
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis, req.Topics = 20_000, append(req.Topics, topic)
	total := int64(0)
	for _, p := range askHub[*kmsg.DeleteRecordsResponse](t, r.Hub(1), req).Topics[0].Partitions {
		if total += p.LowWatermark; p.ErrorCode != 0 {
			t.Errorf("partition %d: %v, low watermark %d", p.Partition, wire.ErrorCode(p.ErrorCode), p.LowWatermark)
		}
	}
	if total != 100 {
		t.Errorf("%d records are gone", total)
	}
}

// A leader goes: others lead on, and what was acknowledged is there, once. It comes back
// and has all.
func testRegionLeaders(t *testing.T, r *brokertest.Region) {
	mustMake(t, r, r.Hub(1), "moves", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 3 })
	topic := topicOf(r.Hub(1), "moves")
	for i, p := range topic.Partitions {
		if len(p.Replicas) != 3 || len(p.ISR) != 3 || p.Leader != p.Replicas[0] {
			t.Errorf("partition %d: %+v", i, p)
		}
	}
	write(t, r.Hub(1), "moves", values(0, 30))
	was := r.Hub(topic.Partitions[0].Leader)
	was.Stop(t)
	other := r.Running(t, was.ID)
	r.Await(t, "another leader", func() bool {
		p := topicOf(other, "moves").Partitions[0]
		return p.Leader >= 0 && p.Leader != was.ID && p.LeaderEpoch > topic.Partitions[0].LeaderEpoch
	})
	write(t, other, "moves", values(30, 60))
	if got := readTopic(t, other, "moves", 60); !slices.Equal(got, values(0, 60)) {
		t.Errorf("read %d records: %q", len(got), got)
	}
	was.Start(t)
	r.Await(t, "the broker to have caught up", func() bool { return was.CaughtUp() == nil })
	for i, p := range topicOf(was, "moves").Partitions {
		if p.Leader < 0 || !slices.Contains(p.ISR, was.ID) {
			t.Errorf("caught up, and partition %d is %+v", i, p)
		}
	}
	awaitISR(t, r, "moves")
	for i := range topic.Partitions {
		_, want, _, err := other.Offsets("moves", int32(i))
		r.Await(t, "the replica to have all", func() bool {
			_, got, _, err := was.Offsets("moves", int32(i))
			return err == nil && got == want
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// What a leader acknowledges alone is at risk, and counted, until others have it; what
// all are to have is refused.
func testRegionAtRisk(t *testing.T, r *brokertest.Region) {
	mustMake(t, r, r.Hub(1), "risky", assigned([]int32{1, 2, 3}))
	r.Hub(3).Stop(t)
	r.Hub(2).Stop(t)
	r.Await(t, "the leader to be alone", func() bool {
		p := topicOf(r.Hub(1), "risky").Partitions[0]
		return p.Leader == 1 && slices.Equal(p.ISR, []int32{1})
	})
	if got := atRisk(t, r.Hub(1)); got != 0 {
		t.Errorf("%v records at risk before", got)
	}
	write(t, r.Hub(1), "risky", values(0, 5), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	if got := atRisk(t, r.Hub(1)); got != 5 {
		t.Errorf("%v records at risk, want 5", got)
	}
	if got := produceCode(t, r.Hub(1), "risky", -1); got != wire.NotEnoughReplicas {
		t.Errorf("for all, and there is one: %v", got)
	}
	r.Hub(2).Start(t)
	r.Hub(3).Start(t)
	awaitISR(t, r, "risky")
	r.Await(t, "nothing to be at risk", func() bool { return atRisk(t, r.Hub(1)) == 0 })
}

// produceCode has h take a record for the first partition of a topic.
func produceCode(t *testing.T, h *brokertest.Hub, topic string, acks int16) wire.ErrorCode {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 7, acks, 1000
	to, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	var b record.Builder
	b.Add(1, nil, []byte("x"), nil)
	to.Topic, part.Records = topic, b.Batch()
	to.Partitions = append(to.Partitions, part)
	req.Topics = append(req.Topics, to)
	return wire.ErrorCode(askHub[*kmsg.ProduceResponse](t, h, req).Topics[0].Partitions[0].ErrorCode)
}

func atRisk(t *testing.T, h *brokertest.Hub) float64 {
	t.Helper()
	families, err := h.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "headwater_records_at_risk" {
			return f.Metric[0].GetGauge().GetValue()
		}
	}
	t.Fatal("headwater_records_at_risk is not there")
	return 0
}

// A broker gets an id, and keeps it. While ZooKeeper is away it starts, serves what
// nobody else can lead, and refuses the rest; all is back when ZooKeeper is.
func testRegionWithoutZooKeeper(t *testing.T, r *brokertest.Region) {
	h := r.Add(t, func(_ int, cfg *broker.Config) {
		cfg.Region.BrokerID, cfg.Region.Rack = commitlog.AnyBroker, "rack6"
		cfg.TopicDefaults.MinISR = 1
		cfg.Region.ZooKeeper.SessionTimeout = 6 * time.Second
	})
	const id = 1001
	joined := func() bool { _, ok := r.Hub(1).Snapshot().Broker(id); return ok }
	r.Await(t, "the new broker", joined)
	mustMake(t, r, r.Hub(1), "alone", func(topic *kmsg.CreateTopicsRequestTopic) {
		assigned([]int32{id})(topic)
		setting("min.insync.replicas", "1")(topic)
	})
	mustMake(t, r, r.Hub(1), "shared", assigned([]int32{id, 1}))
	write(t, h, "alone", values(0, 5))
	h.Stop(t)
	r.ZooKeeper.Kill()
	h.Start(t)
	write(t, h, "alone", values(5, 10)) // with a producer id from its disk
	if got := readTopic(t, h, "alone", 10); !slices.Equal(got, values(0, 10)) {
		t.Errorf("read %q", got)
	}
	if p := topicOf(h, "shared"); len(p.Partitions) != 1 {
		t.Errorf("not remembered: %+v", p)
	}
	if got := produceCode(t, h, "shared", 1); got != wire.NotLeaderOrFollower {
		t.Errorf("what another may lead: %v", got)
	}
	if got := makeTopic(t, h, "new", nil); got != wire.RequestTimedOut {
		t.Errorf("a topic without ZooKeeper: %v", got)
	}
	if err := errors.Join(h.Ready(), h.CaughtUp()); err == nil || !strings.HasPrefix(err.Error(), "not registered with ZooKeeper") {
		t.Errorf("ready and caught up without ZooKeeper: %v", err)
	}
	if err := r.ZooKeeper.Start(); err != nil {
		t.Fatal(err)
	}
	r.Await(t, "the broker to be back", func() bool {
		p := topicOf(r.Hub(1), "shared").Partitions[0]
		return joined() && p.Leader >= 0 && len(p.ISR) == 2
	})
	r.Await(t, "three hubs to be back", func() bool { return makeTopic(t, h, "new", nil) == wire.None })
	r.Await(t, "the broker to have caught up", func() bool { return h.CaughtUp() == nil })
	if got := readTopic(t, r.Hub(2), "alone", 10); !slices.Equal(got, values(0, 10)) {
		t.Errorf("then read %q", got)
	}
}
