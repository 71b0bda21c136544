package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/wire"
)

// The hubs and the gateways of the region under test.
var (
	hubIDs     = []int32{1, 2, 3}
	gatewayIDs = []int32{4, 5}
)

// Three hubs and two gateways, through all that they do together.
func TestRegion(t *testing.T) {
	r := brokertest.StartRegion(t, 5, func(i int, cfg *broker.Config) {
		cfg.Region.Rack = fmt.Sprintf("rack%d", i+1)
		cfg.Region.Gateway = i >= len(hubIDs)
		cfg.Region.Mirror.Groups, cfg.Region.Mirror.Every = []string{"mirrored*"}, 100*time.Millisecond
		cfg.MaxDeviceTopics, cfg.NamedTopics = 1, []string{"telemetry"}
	})
	for _, step := range []struct {
		name string
		test func(*testing.T, *brokertest.Region)
	}{
		{"refusals", testRegionRefuses},
		{"settings", testRegionSettings},
		{"partitions", testRegionPartitions},
		{"gateways", testRegionGateways},
		{"mqttState", testRegionMQTTState},
		{"producerIDs", testRegionProducerIDs},
		{"oldOffsets", testRegionOldOffsets},
		{"nearest", testRegionNearest},
		{"deletedRecords", testRegionDeletedRecords},
		{"leaders", testRegionLeaders},
		{"coordinators", testRegionCoordinators},
		{"atRisk", testRegionAtRisk},
		{"withoutZooKeeper", testRegionWithoutZooKeeper},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, r) }) {
			return // what comes next needs it
		}
	}
}

// askHub has one broker answer req, in the version that it has.
func askHub[R kmsg.Response](t *testing.T, h *brokertest.Hub, req kmsg.Request) R {
	t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(req.Key(), req.GetVersion())
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.Addr), kgo.MaxVersions(versions))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	resp, err := cl.SeedBrokers()[0].Request(t.Context(), req)
	if err != nil {
		t.Fatalf("broker %d: %v", h.ID, err)
	}
	return resp.(R)
}

// makeTopic has h make a topic, and returns the code.
func makeTopic(t *testing.T, h *brokertest.Hub, name string, change func(*kmsg.CreateTopicsRequestTopic)) wire.ErrorCode {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 5, 30_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, -1
	if change != nil {
		change(&topic)
	}
	req.Topics = append(req.Topics, topic)
	return wire.ErrorCode(askHub[*kmsg.CreateTopicsResponse](t, h, req).Topics[0].ErrorCode)
}

func mustMake(t *testing.T, r *brokertest.Region, h *brokertest.Hub, name string, change func(*kmsg.CreateTopicsRequestTopic)) {
	t.Helper()
	if code := makeTopic(t, h, name, change); code != wire.None {
		t.Fatalf("topic %s: %v", name, code)
	}
	awaitISR(t, r, name)
}

// setting is one of a topic that is to be made.
func setting(name, value string) func(*kmsg.CreateTopicsRequestTopic) {
	return func(t *kmsg.CreateTopicsRequestTopic) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, &value
		t.Configs = append(t.Configs, c)
	}
}

// assigned has each partition on one of ids in turn.
func assigned(lists ...[]int32) func(*kmsg.CreateTopicsRequestTopic) {
	return func(t *kmsg.CreateTopicsRequestTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		for i, ids := range lists {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), ids
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		}
	}
}

func topicOf(h *brokertest.Hub, name string) *cluster.Topic {
	topic, ok := h.Snapshot().Topic(name)
	if !ok {
		return &cluster.Topic{}
	}
	return topic
}

// awaitISR waits until all running brokers know that all replicas of a topic are in sync.
func awaitISR(t *testing.T, r *brokertest.Region, name string) {
	t.Helper()
	r.Await(t, "replicas of "+name+" in sync", func() bool {
		for _, h := range r.Hubs {
			topic := topicOf(h, name)
			if h.Runs() && (len(topic.Partitions) == 0 || slices.ContainsFunc(topic.Partitions, func(p cluster.Partition) bool {
				return p.Leader < 0 || len(p.ISR) < len(p.Replicas)
			})) {
				return false
			}
		}
		return true
	})
}

// write produces values and fails when one is not acknowledged by all.
func write(t *testing.T, h *brokertest.Hub, topic string, values []string, opts ...kgo.Opt) {
	t.Helper()
	opts = append([]kgo.Opt{kgo.SeedBrokers(h.Addr), kgo.RecordPartitioner(kgo.RoundRobinPartitioner())}, opts...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, v := range values {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatalf("%s: %v", v, err)
		}
	}
}

// values are from to to.
func values(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("reading %04d", i))
	}
	return all
}

// readTopic reads n records from the beginning, sorted.
func readTopic(t *testing.T, h *brokertest.Hub, topic string, n int) (all []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.Addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(all) < n {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, string(r.Value)) })
	}
	slices.Sort(all)
	return all
}

func testRegionRefuses(t *testing.T, r *brokertest.Region) {
	mustMake(t, r, r.Hub(1), "there", nil)
	for name, tc := range map[string]struct {
		topic  string
		change func(*kmsg.CreateTopicsRequestTopic)
		want   wire.ErrorCode
	}{
		"name":        {"a b", nil, wire.InvalidTopic},
		"exists":      {"there", nil, wire.TopicAlreadyExists},
		"partitions":  {"new", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 0 }, wire.InvalidPartitions},
		"tooMany":     {"new", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 1001 }, wire.PolicyViolation},
		"factor":      {"new", func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 4 }, wire.InvalidReplicationFactor},
		"twice":       {"new", assigned([]int32{1, 1}), wire.InvalidReplicaAssignment},
		"nobody":      {"new", assigned([]int32{9}), wire.InvalidReplicaAssignment},
		"uneven":      {"new", assigned([]int32{1}, []int32{1, 2}), wire.InvalidReplicaAssignment},
		"setting":     {"new", setting("retention.ms", "soon"), wire.InvalidConfig},
		"settingName": {"new", setting("retention", "1"), wire.InvalidConfig},
	} {
		if got := makeTopic(t, r.Hub(2), tc.topic, tc.change); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
	if got := deleteTopic(t, r.Hub(2), "none"); got != wire.UnknownTopicOrPartition {
		t.Errorf("delete: %v", got)
	}
}

func deleteTopic(t *testing.T, h *brokertest.Hub, name string) wire.ErrorCode {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TopicNames, req.TimeoutMillis = 4, []string{name}, 30_000
	return wire.ErrorCode(askHub[*kmsg.DeleteTopicsResponse](t, h, req).Topics[0].ErrorCode)
}

// What one broker is asked to change applies at the others, also what Kafka does not
// know, which does not stand where Kafka would find it.
func testRegionSettings(t *testing.T, r *brokertest.Region) {
	mustMake(t, r, r.Hub(1), "set", setting("headwater.full", "reject"))
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, "set"
	for name, value := range map[string]string{"retention.ms": "5000", "headwater.full": "drop-oldest"} {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, &value
		resource.Configs = append(resource.Configs, c)
	}
	alter.Resources = append(alter.Resources, resource)
	if got := topicOf(r.Hub(3), "set").Settings.Full.String(); got != "reject" {
		t.Errorf("made with headwater.full %s", got)
	}
	if got := askHub[*kmsg.IncrementalAlterConfigsResponse](t, r.Hub(2), alter).Resources[0]; got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
	for _, h := range r.Hubs {
		r.Await(t, "the settings everywhere", func() bool {
			s := topicOf(h, "set").Settings
			return s.Retention == 5*time.Second && s.Full.String() == "drop-oldest"
		})
	}

	quotas := kmsg.NewPtrAlterClientQuotasRequest()
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	client := "press"
	entity := kmsg.NewAlterClientQuotasRequestEntryEntity()
	entity.Type, entity.Name = "client-id", &client
	op := kmsg.NewAlterClientQuotasRequestEntryOp()
	op.Key, op.Value = "producer_byte_rate", 1<<20
	entry.Entity, entry.Ops = append(entry.Entity, entity), append(entry.Ops, op)
	quotas.Entries = append(quotas.Entries, entry)
	if got := askHub[*kmsg.AlterClientQuotasResponse](t, r.Hub(1), quotas).Entries[0]; got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
	for _, h := range r.Hubs {
		r.Await(t, "the quotas everywhere", func() bool { return h.Snapshot().Quotas.Clients[client][0] == 1<<20 })
	}
	op.Remove = true
	quotas.Entries[0].Ops[0] = op
	askHub[*kmsg.AlterClientQuotasResponse](t, r.Hub(2), quotas)
	for _, h := range r.Hubs {
		r.Await(t, "no quotas any more", func() bool { return len(h.Snapshot().Quotas.Clients) == 0 })
	}
}

// A topic gets partitions, is deleted, and is made anew under its name, with nothing of
// what it had.
func testRegionPartitions(t *testing.T, r *brokertest.Region) {
	mustMake(t, r, r.Hub(1), "grows", setting("headwater.full", "reject"))
	id := topicOf(r.Hub(2), "grows").ID
	more := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = "grows", 4
	more.Topics, more.TimeoutMillis = append(more.Topics, topic), 30_000
	if got := askHub[*kmsg.CreatePartitionsResponse](t, r.Hub(2), more).Topics[0]; got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
	awaitISR(t, r, "grows")
	if got := askHub[*kmsg.CreatePartitionsResponse](t, r.Hub(3), more).Topics[0]; wire.ErrorCode(got.ErrorCode) != wire.InvalidPartitions {
		t.Errorf("as many as there are: %+v", got)
	}
	write(t, r.Hub(1), "grows", values(0, 8))
	if got := readTopic(t, r.Hub(3), "grows", 8); !slices.Equal(got, values(0, 8)) {
		t.Errorf("read %q", got)
	}
	if got := deleteTopic(t, r.Hub(3), "grows"); got != wire.None {
		t.Fatalf("delete: %v", got)
	}
	for _, h := range r.Hubs {
		r.Await(t, "grows to be gone", func() bool { return len(topicOf(h, "grows").Partitions) == 0 })
	}
	r.Await(t, "grows to be made anew", func() bool { return makeTopic(t, r.Hub(1), "grows", nil) == wire.None })
	awaitISR(t, r, "grows")
	if now := topicOf(r.Hub(2), "grows"); now.ID == id || now.Settings.Full.String() == "reject" {
		t.Errorf("made anew it has %+v", now)
	}
	write(t, r.Hub(1), "grows", values(10, 12))
	if got := readTopic(t, r.Hub(3), "grows", 2); !slices.Equal(got, values(10, 12)) {
		t.Errorf("then read %q", got)
	}
}

// Gateways get no replicas of others' topics. Their devices write to a partition that
// each has to itself, also when both begin at the same moment; how many topics devices
// may cause is bounded.
func testRegionGateways(t *testing.T, r *brokertest.Region) {
	homes := make(chan string, len(gatewayIDs))
	for _, id := range gatewayIDs {
		go func() {
			p, err := r.Hub(id).Partitions(t.Context(), "telemetry")
			homes <- fmt.Sprint(id, " ", p.Home, " ", p.HomeOnly, " ", err)
		}()
	}
	seen := map[string]bool{}
	for range gatewayIDs {
		got := strings.Fields(<-homes)
		if len(got) != 4 || got[2] != "true" || got[3] != "<nil>" {
			t.Fatalf("partitions for a device: %q", got)
		}
		index, _ := strconv.Atoi(got[1])
		r.Await(t, "both partitions", func() bool { return len(topicOf(r.Hub(1), "telemetry").Partitions) >= 2 })
		p := topicOf(r.Hub(1), "telemetry").Partitions[index]
		if want := got[0]; len(p.Replicas) != 1 || fmt.Sprint(p.Replicas[0]) != want || seen[want] {
			t.Errorf("gateway %s writes to partition %d, which is on %v", want, index, p.Replicas)
		}
		seen[got[0]] = true
	}
	again, err := r.Hub(4).Partitions(t.Context(), "telemetry")
	if err != nil || again.Count != 2 {
		t.Errorf("once more: %+v, %v", again, err)
	}
	if _, err := r.Hub(4).Partitions(t.Context(), "caused"); err != nil {
		t.Error(err)
	}
	if _, err := r.Hub(4).Partitions(t.Context(), "caused-too"); !errors.Is(err, cluster.ErrTooManyDeviceTopics) {
		t.Errorf("one topic too many: %v", err)
	}
	for _, topic := range r.Hub(1).Snapshot().Topics() {
		for i, p := range topic.Partitions {
			if len(p.Replicas) > 1 && slices.ContainsFunc(p.Replicas, func(id int32) bool { return slices.Contains(gatewayIDs, id) }) {
				t.Errorf("%s-%d is on %v", topic.Name, i, p.Replicas)
			}
		}
	}
	if id := r.Hub(1).Snapshot().ControllerID; !slices.Contains(hubIDs, id) {
		t.Errorf("broker %d is the controller", id)
	}
}

// Each broker keeps the state of its own MQTT clients, where it has it also when it is
// cut off, and reads nobody else's.
func testRegionMQTTState(t *testing.T, r *brokertest.Region) {
	state := func(h *brokertest.Hub) (keys []string) {
		t.Helper()
		if _, err := h.ReadState(func(_ int64, key, _ []byte) { keys = append(keys, string(key)) }); err != nil {
			t.Errorf("broker %d: %v", h.ID, err)
		}
		return keys
	}
	for _, id := range []int32{4, 5, 1} {
		h := r.Hub(id)
		for _, key := range []string{"first", "second"} {
			done := make(chan error, 1)
			h.AppendState([][]byte{fmt.Append(nil, key, h.ID)}, [][]byte{[]byte("value")}, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatalf("broker %d: %v", h.ID, err)
			}
		}
		if got, want := state(h), []string{fmt.Sprint("first", id), fmt.Sprint("second", id)}; !slices.Equal(got, want) {
			t.Errorf("broker %d reads %q, want %q", id, got, want)
		}
	}
	h := r.Hub(5)
	h.Stop(t)
	h.Start(t)
	if got := state(h); len(got) != 2 {
		t.Errorf("after a restart: %q", got)
	}
	r.Await(t, "the gateway to be back", func() bool { _, ok := r.Hub(1).Snapshot().Broker(5); return ok })
}

func testRegionProducerIDs(t *testing.T, r *brokertest.Region) {
	seen := map[int64]int32{}
	for range 3 {
		for _, h := range r.Hubs {
			req := kmsg.NewPtrInitProducerIDRequest()
			var got *kmsg.InitProducerIDResponse
			r.Await(t, "a producer id", func() bool {
				got = askHub[*kmsg.InitProducerIDResponse](t, h, req)
				return got.ErrorCode == 0
			})
			if by, ok := seen[got.ProducerID]; ok {
				t.Errorf("producer id %d from broker %d and from %d", got.ProducerID, by, h.ID)
			}
			seen[got.ProducerID] = h.ID
		}
	}
}

// oldCommit and oldFetch are of version 0, whose offsets are in ZooKeeper.
func oldCommit(t *testing.T, h *brokertest.Hub, group string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = group
	topic := kmsg.NewOffsetCommitRequestTopic()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, p.Offset = "there", offset
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	if got := askHub[*kmsg.OffsetCommitResponse](t, h, req).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
}

func oldFetch(t *testing.T, h *brokertest.Hub, group string) int64 {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "there", []int32{0}
	req.Topics = append(req.Topics, topic)
	return askHub[*kmsg.OffsetFetchResponse](t, h, req).Topics[0].Partitions[0].Offset
}

// Offsets in ZooKeeper are the same at all brokers; those that groups commit come there
// too, if that is wanted.
func testRegionOldOffsets(t *testing.T, r *brokertest.Region) {
	oldCommit(t, r.Hub(1), "old", 42)
	if got := oldFetch(t, r.Hub(2), "old"); got != 42 {
		t.Errorf("offset %d, want 42", got)
	}
	commitAt(t, r, "mirrored-1", 17)
	r.Await(t, "the offset in ZooKeeper", func() bool { return oldFetch(t, r.Hub(3), "mirrored-1") == 17 })
}

// coordinator finds the broker that has the group.
func coordinator(t *testing.T, r *brokertest.Region, group string) (found *brokertest.Hub) {
	t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = group
	r.Await(t, "a coordinator for "+group, func() bool {
		got := askHub[*kmsg.FindCoordinatorResponse](t, r.Running(t, -1), req)
		if got.ErrorCode != 0 {
			return false
		}
		found = r.Hub(got.NodeID)
		return found.Runs()
	})
	return found
}

// commitAt commits an offset as a group without members.
func commitAt(t *testing.T, r *brokertest.Region, group string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 2, group, -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, p.Offset = "there", offset
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	r.Await(t, "the commit of "+group, func() bool {
		return askHub[*kmsg.OffsetCommitResponse](t, coordinator(t, r, group), req).Topics[0].Partitions[0].ErrorCode == 0
	})
}

// A group's offsets are where its coordinator moves to.
func testRegionCoordinators(t *testing.T, r *brokertest.Region) {
	awaitISR(t, r, "__consumer_offsets")
	commitAt(t, r, "central", 99)
	was := coordinator(t, r, "central")
	was.Stop(t)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 2, "central"
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "there", []int32{0}
	req.Topics = append(req.Topics, topic)
	r.Await(t, "the offset at another coordinator", func() bool {
		now := coordinator(t, r, "central")
		got := askHub[*kmsg.OffsetFetchResponse](t, now, req)
		if got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != 0 {
			return false
		}
		if offset := got.Topics[0].Partitions[0].Offset; offset != 99 || now.ID == was.ID {
			t.Fatalf("offset %d at broker %d", offset, now.ID)
		}
		return true
	})
	was.Start(t)
	awaitISR(t, r, "__consumer_offsets")
}

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
	if err := r.ZooKeeper.Start(); err != nil {
		t.Fatal(err)
	}
	r.Await(t, "the broker to be back", func() bool {
		p := topicOf(r.Hub(1), "shared").Partitions[0]
		return joined() && p.Leader >= 0 && len(p.ISR) == 2
	})
	r.Await(t, "three hubs to be back", func() bool { return makeTopic(t, h, "new", nil) == wire.None })
	if got := readTopic(t, r.Hub(2), "alone", 10); !slices.Equal(got, values(0, 10)) {
		t.Errorf("then read %q", got)
	}
}
