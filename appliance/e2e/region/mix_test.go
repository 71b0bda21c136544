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

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/e2e/region/checker"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
)

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
	cfg.Racks = []string{"r3", "r2"} // one reads at headwater's broker, the other at one of Kafka's
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

// elect has the preferred leaders lead, by Kafka's tool.
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
}

// describe holds what Kafka's tool says of the preferred leaders, who lead, against what
// they are.
func (m *mix) describe() {
	m.Helper()
	out := tool(m.T, jvm.Topics, "--bootstrap-server", m.ours.Address, "--describe", "--topic", trialTopic)
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
	for i, to := range [][]int32{{own, b}, {a, b}, {own, a, b}} { // it leads, then leaves, then follows
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
