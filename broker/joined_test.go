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
