//go:build interop

package region

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
)

// producerIDs has each broker give ids to idempotent producers. All are different: the
// controller gives blocks of them to brokers, and below version 3.0 ZooKeeper does.
func (m *mix) producerIDs(kind cluster.Kind) {
	m.Helper()
	for _, b := range m.c.Brokers {
		await(m.T, "an id for a producer from "+b.Name(), func() (bool, string) {
			id, err := cluster.ProducerID(m.Context(), b.Address)
			if err != nil {
				return false, err.Error()
			}
			if other, taken := m.ids[id]; taken {
				m.Fatalf("broker %d gives the id %d under a controller of %s, which %s", b.ID, id, kind, other)
			}
			m.ids[id] = fmt.Sprintf("broker %d gave under one of %s", b.ID, kind)
			return true, ""
		})
	}
}

// groups has brokers of both kinds coordinate a group in turn: each knows what the one
// before was told.
func (m *mix) groups(group string) {
	m.Helper()
	partition := partitionOf(group)
	for i, b := range []*cluster.Broker{m.jvms[0], m.ours, m.jvms[1], m.ours} {
		others := slices.DeleteFunc(slices.Clone(m.c.Brokers), func(o *cluster.Broker) bool { return o == b })
		m.say("broker %d coordinates %s", b.ID, group)
		if err := m.c.Reassign(within(m.T, patience), "__consumer_offsets", partition, []int32{b.ID, others[0].ID, others[1].ID}); err != nil {
			m.Fatal(err)
		}
		await(m.T, "the new order", func() (bool, string) {
			err := m.c.ElectPreferred(m.Context())
			state, _ := cluster.Ask(m.Context(), b.Address)
			return state != nil && state.Topics["__consumer_offsets"][partition].Leader == b.ID, fmt.Sprint(err)
		})
		if i > 0 {
			m.committed(group, int64(100*i))
		}
		m.commit(group, int64(100*(i+1)))
	}
	out := tool(m.T, jvm.ConsumerGroups, "--bootstrap-server", m.ours.Address, "--describe", "--group", group)
	want := []string{group, trialTopic, "3", "400"}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 3 && slices.Equal(f[:4], want) {
			return
		}
	}
	m.Errorf("kafka-consumer-groups has no line %q:\n%s", want, out)
}

// committed waits until the coordinator, which has changed, knows an offset.
func (m *mix) committed(group string, want int64) {
	m.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(m.c.Addresses()...))
	if err != nil {
		m.Fatal(err)
	}
	defer cl.Close()
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = trialTopic, []int32{3}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.Topics = group, append(req.Topics, topic)
	await(m.T, fmt.Sprintf("the offset %d of %s", want, group), func() (bool, string) {
		resp, err := req.RequestWith(within(m.T, patience), cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return false, err.Error()
		}
		got := resp.Topics[0].Partitions[0].Offset
		if got != want {
			m.Fatalf("%s has the offset %d, and %d was committed", group, got, want)
		}
		return true, ""
	})
}

// commit commits an offset of partition 3, as a consumer without members.
func (m *mix) commit(group string, offset int64) {
	m.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(m.c.Addresses()...))
	if err != nil {
		m.Fatal(err)
	}
	defer cl.Close()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = 3, offset
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = trialTopic, append(topic.Partitions, p)
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.Topics = group, -1, append(req.Topics, topic)
	await(m.T, "a commit of "+group, func() (bool, string) {
		resp, err := req.RequestWith(within(m.T, patience), cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		return err == nil, fmt.Sprint(err)
	})
}

// partitionOf is the partition of the offsets' topic that has a group: by Java's hash of
// its name, without the sign.
func partitionOf(group string) int32 {
	var hash int32
	for _, r := range group {
		hash = 31*hash + r
	}
	return max(hash, -hash) % 4
}

// sent are the requests of the JVMs to headwater's broker, under a controller of either
// kind, and their versions. They follow from inter.broker.protocol.version; headwater is
// asked which ones it knows only before it gets those to a controller.
var sent = map[string]map[cluster.Kind]map[string]string{
	"2.8": {
		cluster.Stock:     {"LeaderAndISR": "5", "UpdateMetadata": "7", "StopReplica": "3", "Fetch": "12"},
		cluster.Headwater: {"Fetch": "12", "AlterPartition": "3"},
	},
	"3.9": {
		cluster.Stock:     {"LeaderAndISR": "7", "UpdateMetadata": "8", "StopReplica": "4", "Fetch": "17"},
		cluster.Headwater: {"Fetch": "17", "AlterPartition": "3", "AllocateProducerIDs": "0"},
	},
}

// spoken holds what headwater's broker was sent since it was killed against sent.
func (m *mix) spoken(controller cluster.Kind) {
	m.Helper()
	for name, version := range sent[m.protocol][controller] {
		if name == "AlterPartition" && strings.HasPrefix(stockVersion, "2.8") {
			version = "0" // the one that there was
		}
		labels := []string{fmt.Sprintf("request=%q", name), fmt.Sprintf("version=%q", version)}
		n, err := m.ours.Metric(m.Context(), "kafka_network_requestmetrics_requests_total", labels...)
		m.Logf("headwater's broker was sent %v requests %s of version %s since its last start", n, name, version)
		if err != nil {
			m.Error(err)
		}
	}
}

// dump has Kafka's tool read what headwater's broker has on disk.
func (m *mix) dump() {
	m.Helper()
	dumped := func(option string, partitions ...string) string {
		var files []string
		for _, partition := range partitions {
			segments, err := filepath.Glob(filepath.Join(m.ours.LogDir, partition, "*.log"))
			if err != nil || len(segments) == 0 {
				m.Fatalf("%s has no segments: %v", partition, err)
			}
			files = append(files, segments...)
		}
		out := tool(m.T, jvm.DumpLogSegments, option, "--files", strings.Join(files, ","))
		if strings.Contains(out, "isvalid: false") {
			m.Errorf("kafka-dump-log of %v:\n%s", partitions, lastLines(out, 20))
		}
		return out
	}
	if n := strings.Count(dumped("--deep-iteration", "moved-kafka-0", "moved-headwater-0"), "| offset: "); n != 1000 {
		m.Errorf("%d records dumped, want 1000", n)
	}
	groups := []string{"group-kafka", "group-headwater"}
	var partitions []string
	for _, group := range groups {
		partitions = append(partitions, fmt.Sprint("__consumer_offsets-", partitionOf(group)))
	}
	out := dumped("--offsets-decoder", partitions...)
	for _, group := range groups {
		if !strings.Contains(out, group) {
			m.Errorf("kafka-dump-log finds no offsets of %s:\n%s", group, lastLines(out, 20))
		}
	}
}
