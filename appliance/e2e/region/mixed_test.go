//go:build interop

package region

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/e2e/region/checker"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
)

// startMixed starts two brokers of Kafka's and one of headwater's; the first to start is
// the controller. Whoever is asked first makes the offsets' topic, and one of Kafka's
// goes by its own setting until it starts again: all have to have the same.
func startMixed(t *testing.T, protocol string, first cluster.Kind) *cluster.Cluster {
	t.Helper()
	own := ours(1, "HEADWATER_REGION_SESSION_TIMEOUT=5s", "HEADWATER_GROUPS_OFFSETS_PARTITIONS=4")
	brokers := append(stock(2, protocol), own...)
	if first == cluster.Headwater {
		brokers = append(own, stock(2, protocol)...)
	}
	c := startConfig(t, cluster.Config{ZooKeepers: 1, Brokers: brokers, InTurn: true})
	state, err := c.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b := c.Broker(state.Controller); b == nil || b.Kind != first {
		t.Fatalf("the controller is broker %d, want the %s that was started first", state.Controller, first)
	}
	return c
}

// mix is a cluster of both kinds under a workload.
type mix struct {
	*testing.T
	c        *cluster.Cluster
	ours     *cluster.Broker
	jvms     []*cluster.Broker
	protocol string
	ids      map[int64]string // of producers, and who gave them
	recorder *workload.Recorder
}

// A broker of headwater's does in a cluster of Kafka's what one of Kafka's does, under a
// controller of either kind and at either inter.broker.protocol.version: it follows and
// leads, is killed and comes back, partitions and groups move to it and from it, and
// Kafka's tools say so. Meanwhile acks=all loses nothing.
func TestMixed(t *testing.T) {
	for _, protocol := range []string{"2.8", "3.9"} {
		t.Run(protocol, func(t *testing.T) {
			m := &mix{T: t, c: startMixed(t, protocol, cluster.Stock), protocol: protocol, ids: map[int64]string{}}
			m.jvms, m.ours = m.c.Brokers[:2], m.c.Brokers[2]
			finish := m.write()
			for _, kind := range []cluster.Kind{cluster.Stock, cluster.Headwater} {
				m.moveController(kind)
				m.kill(m.ours)
				m.moveController(kind)
				m.kill(m.follower(kind))
				m.moveController(kind)
				m.producerIDs(kind)
				m.reassign(fmt.Sprintf("moved-%s", kind))
				m.groups(fmt.Sprintf("group-%s", kind))
				m.spoken(kind)
			}
			m.killController()
			finish()
			m.dump()
		})
	}
}

// say tells how far the test is.
func (m *mix) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	m.Logf("%s %s", time.Now().Format("15:04:05.000"), text)
	m.recorder.Note(text)
}

// write starts the workload. The returned function ends it, and holds what clients were
// told against what there is, and the replicas of all topics against each other.
func (m *mix) write() (finish func()) {
	topic := cluster.Topic{Name: trialTopic, Partitions: 4, Replicas: 3, Settings: twoOfThree}
	if err := cluster.Create(within(m.T, patience), topic, m.c.Addresses()...); err != nil {
		m.Fatal(err)
	}
	m.recorder = record(m.T, checker.Rules{})
	cfg := fast(seed(m.T, 21))
	cfg.Rate, cfg.Addresses, cfg.Topic = 50, m.c.Addresses(), trialTopic
	w := workload.Start(m.Context(), cfg, m.recorder)
	m.Cleanup(w.Close)
	awaitAcks(m.T, m.recorder, 100)
	return func() {
		m.recover()
		report, err := w.Finish(within(m.T, patience))
		if err != nil {
			m.Fatal(err)
		}
		acked, pause := m.recorder.Acked()
		m.Logf("%v\nthe longest time without an ack of a partition: %v", report, pause.Round(time.Millisecond))
		if !report.Sound() {
			m.Error("the history is not sound")
		}
		if pause > longestPause || acked < 1000 {
			m.Errorf("%d records were acked, and for %v none of a partition, want less than %v", acked, pause, longestPause)
		}
		m.recover()
		compareTopics(m.T, m.c, map[string]int32{trialTopic: 4, "__consumer_offsets": 4, "moved-kafka": 1, "moved-headwater": 1})
	}
}

// longestPause is more than a session lasts, and the restart of a JVM: who needs longer
// than that was stuck.
const longestPause = 30 * time.Second

// recover waits until all replicas of all that is written all the time are in sync.
func (m *mix) recover() {
	m.Helper()
	for _, topic := range []string{trialTopic, "__consumer_offsets"} {
		if err := m.c.Recover(within(m.T, patience), topic); err != nil {
			m.Fatal(err)
		}
	}
}

// all waits until all brokers that run say so.
func (m *mix) all(what string, holds func(*cluster.State) bool) {
	m.Helper()
	var addresses []string
	for _, b := range m.c.Brokers {
		if b.Running() {
			addresses = append(addresses, b.Address)
		}
	}
	if err := cluster.Await(within(m.T, patience), what, holds, addresses...); err != nil {
		m.Fatal(err)
	}
}

func (m *mix) controllerIs(kind cluster.Kind) func(*cluster.State) bool {
	return func(s *cluster.State) bool {
		b := m.c.Broker(s.Controller)
		return b != nil && b.Kind == kind
	}
}

// moveController removes /controller, as operators do to have another, until the one
// that wins is of a kind.
func (m *mix) moveController(kind cluster.Kind) {
	m.Helper()
	for {
		state, err := cluster.Ask(m.Context(), m.ours.Address)
		if err != nil {
			m.Fatal(err)
		}
		if m.controllerIs(kind)(state) {
			m.all("a controller of "+string(kind), m.controllerIs(kind))
			return
		}
		tool(m.T, jvm.ZooKeeperShell, "-server", m.c.Connect, "delete", "/controller")
		m.all("another controller", func(s *cluster.State) bool { return s.Controller >= 0 && s.Controller != state.Controller })
		m.say("broker %d was the controller, and is not any more", state.Controller)
	}
}

// follower is a broker of Kafka's that is not the controller, if that is of a kind.
func (m *mix) follower(kind cluster.Kind) *cluster.Broker {
	state, err := cluster.Ask(m.Context(), m.ours.Address)
	if err != nil {
		m.Fatal(err)
	}
	if state.Controller == m.jvms[0].ID {
		return m.jvms[1]
	}
	return m.jvms[0]
}

// kill kills a broker that leads and follows, until others lead what it led, and starts
// it again: it follows until all is in sync.
func (m *mix) kill(b *cluster.Broker) {
	m.Helper()
	state, err := cluster.Ask(m.Context(), m.ours.Address)
	if err != nil {
		m.Fatal(err)
	}
	led := cluster.LedBy(state, trialTopic, b.ID)
	m.say("broker %d, of %s, leads %v; it is killed under controller %d", b.ID, b.Kind, led, state.Controller)
	if len(led) == 0 || len(led) == 4 {
		m.Errorf("broker %d leads %v: it is to lead and to follow", b.ID, led)
	}
	if err := b.Kill(); err != nil {
		m.Fatal(err)
	}
	m.all("others lead", func(s *cluster.State) bool {
		return cluster.Led(s, trialTopic, 4) && len(cluster.LedBy(s, trialTopic, b.ID)) == 0
	})
	if err := b.Start(within(m.T, patience)); err != nil {
		m.Fatal(err)
	}
	m.recover()
	m.elect()
}

// killController kills the controller of headwater's, for one of Kafka's to take over.
func (m *mix) killController() {
	m.Helper()
	m.say("the controller is killed")
	if err := m.ours.Kill(); err != nil {
		m.Fatal(err)
	}
	m.all("a controller of Kafka's", m.controllerIs(cluster.Stock))
	if err := m.ours.Start(within(m.T, patience)); err != nil {
		m.Fatal(err)
	}
	m.recover()
}

// elect has the preferred leaders lead, by Kafka's tool, and holds what another tool says
// against it.
func (m *mix) elect() {
	m.Helper()
	tool(m.T, jvm.LeaderElection, "--bootstrap-server", m.ours.Address, "--election-type", "PREFERRED", "--all-topic-partitions")
	m.all("the preferred leaders", func(s *cluster.State) bool {
		for _, p := range s.Topics[trialTopic] {
			if p.Leader != p.Replicas[0] {
				return false
			}
		}
		return true
	})
	out := tool(m.T, jvm.Topics, "--bootstrap-server", m.jvms[0].Address, "--describe", "--topic", trialTopic)
	leaders := map[int32]bool{}
	for partition := range int32(4) {
		d, ok := parseDescribed(out, partition)
		if !ok || d.leader != d.replicas[0] || len(d.replicas) != 3 || len(d.isr) != 3 {
			m.Errorf("partition %d is described as %+v:\n%s", partition, d, out)
		}
		leaders[d.leader] = true
	}
	if len(leaders) != 3 {
		m.Errorf("the preferred leaders are %v, want all three", leaders)
	}
}

// reassign moves a partition to headwater's broker and away from it, with its records.
func (m *mix) reassign(topic string) {
	m.Helper()
	m.say("%s is moved", topic)
	a, b, own := m.jvms[0].ID, m.jvms[1].ID, m.ours.ID
	tool(m.T, jvm.Topics, "--bootstrap-server", m.ours.Address, "--create", "--topic", topic, "--replica-assignment", numbers([]int32{a, b}, ":"))
	write(m.T, m.ours.Address, topic, 1, 500)
	for i, to := range [][]int32{{b, own}, {own, a}, {a, b}, {own, a, b}} {
		file := filepath.Join(m.TempDir(), "plan.json")
		plan := fmt.Sprintf(`{"version":1,"partitions":[{"topic":%q,"partition":0,"replicas":[%s]}]}`, topic, numbers(to, ","))
		if err := os.WriteFile(file, []byte(plan), 0o644); err != nil {
			m.Fatal(err)
		}
		bootstrap := m.c.Addresses()[i%3]
		args := []string{"--bootstrap-server", bootstrap, "--reassignment-json-file", file}
		tool(m.T, jvm.ReassignPartitions, append(args, "--execute", "--throttle", "50000000")...)
		await(m.T, "the move to "+numbers(to, ","), func() (bool, string) {
			out := tool(m.T, jvm.ReassignPartitions, append(args, "--verify")...)
			return strings.Contains(out, "Reassignment of partition "+topic+"-0 is completed"), out
		})
		m.all(fmt.Sprintf("%s-0 at %v", topic, to), func(s *cluster.State) bool {
			p := s.Topics[topic][0]
			return slices.Equal(p.Replicas, to) && len(p.ISR) == len(to) && slices.Contains(to, p.Leader)
		})
		if got := count(m.T, bootstrap, topic, 0); got != 500 {
			m.Errorf("moved to %v, %d records are there, want 500", to, got)
		}
	}
}

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
			want := []string{group, trialTopic, "3", fmt.Sprint(100 * i)}
			await(m.T, "the offset that the coordinator before was told", func() (bool, string) {
				out, err := jvm.Run(within(m.T, patience), jvm.ConsumerGroups, "--bootstrap-server", m.ours.Address, "--describe", "--group", group)
				for line := range strings.Lines(out) {
					if f := strings.Fields(line); len(f) > 3 && slices.Equal(f[:4], want) {
						return true, ""
					}
				}
				return false, fmt.Sprintf("%s\n%v", out, err)
			})
		}
		m.commit(group, int64(100*(i+1)))
	}
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
	dumped := func(partition string, args ...string) string {
		files, err := filepath.Glob(filepath.Join(m.ours.LogDir, partition, "*.log"))
		if err != nil || len(files) == 0 {
			m.Fatalf("%s has no segments: %v", partition, err)
		}
		out := tool(m.T, jvm.DumpLogSegments, append(args, "--files", strings.Join(files, ","))...)
		if strings.Contains(out, "isvalid: false") {
			m.Errorf("kafka-dump-log of %s:\n%s", partition, lastLines(out, 20))
		}
		return out
	}
	if n := strings.Count(dumped("moved-kafka-0", "--deep-iteration"), "| offset: "); n != 500 {
		m.Errorf("%d records dumped, want 500", n)
	}
	dumped(trialTopic + "-0")
	for _, kind := range []cluster.Kind{cluster.Stock, cluster.Headwater} {
		group := fmt.Sprintf("group-%s", kind)
		out := dumped(fmt.Sprintf("__consumer_offsets-%d", partitionOf(group)), "--offsets-decoder")
		if !strings.Contains(out, group) {
			m.Errorf("kafka-dump-log finds no offsets of %s:\n%s", group, lastLines(out, 20))
		}
	}
}

// A cluster of both kinds outlives a plan of a seed, for as long as
// HEADWATER_REGION_MINUTES says.
func TestMixedSeeded(t *testing.T) {
	if os.Getenv("HEADWATER_REGION_MINUTES") == "" {
		t.Skip("HEADWATER_REGION_MINUTES is not set")
	}
	for _, protocol := range []string{"2.8", "3.9"} {
		for _, first := range []cluster.Kind{cluster.Stock, cluster.Headwater} {
			t.Run(fmt.Sprintf("%s-%s", protocol, first), func(t *testing.T) {
				s := seed(t, 21)
				plan := nemesis.Plan(s, duration(t, time.Minute), nemesis.Options{
					Brokers: true, ZooKeeper: true, Pause: 4 * time.Second, Last: 10 * time.Second,
				})
				trial{workload: fast(s), settings: twoOfThree, plan: plan}.run(t, startMixed(t, protocol, first))
			})
		}
	}
}
