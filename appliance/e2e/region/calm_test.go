//go:build interop

package region

import (
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
)

// rolls stops and starts the brokers in turn. The longest time without an ack must be
// below the limit: it is the client's way to the new leaders, and no session's end.
func rolls(t *testing.T, c *cluster.Cluster, limit time.Duration) {
	t.Helper()
	var plan []nemesis.Step
	for i := range c.Brokers {
		plan = append(plan, nemesis.Step{After: 3 * time.Second, For: time.Second, Faults: []nemesis.Fault{{Op: nemesis.Stop, Target: nemesis.AnyBroker, N: i}}})
	}
	w := fast(1)
	_, pause := trial{workload: w, settings: twoOfThree, plan: plan}.run(t, c)
	if pause > limit {
		t.Errorf("for %v nothing was acked while brokers stopped in turn, want less than %v", pause, limit)
	}
}

// withoutZooKeeper kills all of ZooKeeper under a workload. Acks go on, past what a
// session lasts, and once ZooKeeper is back a killed leader is replaced.
func withoutZooKeeper(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	const beyondSessions = 15 * time.Second
	topic := cluster.Topic{Name: trialTopic, Partitions: 3, Replicas: 3, Settings: twoOfThree}
	if err := cluster.Create(within(t, patience), topic, c.Addresses()...); err != nil {
		t.Fatal(err)
	}
	recorder := record(t, checker.Rules{})
	cfg := fast(2)
	cfg.Addresses, cfg.Topic, cfg.Partitions = c.Addresses(), trialTopic, 3
	w := workload.Start(t.Context(), cfg, recorder)
	t.Cleanup(w.Close)
	awaitAcks(t, recorder, 500)
	for _, z := range c.ZooKeepers {
		if err := z.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for away := time.Now(); time.Since(away) < beyondSessions; {
		acked, _ := recorder.Acked()
		awaitAcks(t, recorder, acked+100)
	}
	if err := c.Recover(within(t, patience), trialTopic); err != nil {
		t.Fatal(err)
	}
	state, err := c.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leader := c.Broker(state.Topics[trialTopic][0].Leader)
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, b := range c.Brokers {
		if b == leader {
			continue
		}
		err := cluster.Await(within(t, patience), "another leader", func(s *cluster.State) bool {
			return cluster.Led(s, trialTopic, 3) && len(cluster.LedBy(s, trialTopic, leader.ID)) == 0
		}, b.Address)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Recover(within(t, patience), trialTopic); err != nil {
		t.Fatal(err)
	}
	report, err := w.Finish(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v", report)
	if !report.Sound() {
		t.Error("the history is not sound")
	}
	compareReplicas(t, c, trialTopic, 3)
}
