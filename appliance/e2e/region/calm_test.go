//go:build interop

package region

import (
	"fmt"
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

// underLoad is a cluster whose topic is written to and read all the while.
type underLoad struct {
	*workload.Run
	recorder   *workload.Recorder
	c          *cluster.Cluster
	partitions int32
}

// load makes the topic and starts a workload of a seed on it.
func load(t *testing.T, c *cluster.Cluster, seed uint64, partitions int32) *underLoad {
	t.Helper()
	topic := cluster.Topic{Name: trialTopic, Partitions: partitions, Replicas: 3, Settings: twoOfThree}
	if err := cluster.Create(within(t, patience), topic, c.Addresses()...); err != nil {
		t.Fatal(err)
	}
	recorder := record(t, checker.Rules{})
	cfg := fast(seed)
	cfg.Addresses, cfg.Topic, cfg.Partitions = c.Addresses(), trialTopic, partitions
	w := workload.Start(t.Context(), cfg, recorder)
	t.Cleanup(w.Close)
	return &underLoad{w, recorder, c, partitions}
}

// awaitMore waits until so many more records are acked.
func (u *underLoad) awaitMore(t *testing.T, n int) {
	t.Helper()
	acked, _ := u.recorder.Acked()
	awaitAcks(t, u.recorder, acked+n)
}

// finish holds what clients were told against what there is, and the replicas against
// each other.
func (u *underLoad) finish(t *testing.T) {
	t.Helper()
	_, pause := u.recorder.Acked()
	report, err := u.Finish(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v\nthe longest time without an ack of a partition: %v", report, pause)
	if !report.Sound() {
		t.Error("the history is not sound")
	}
	compareReplicas(t, u.c, trialTopic, u.partitions)
}

// withoutZooKeeper kills all of ZooKeeper under a workload. Acks go on, past what a
// session lasts, and once ZooKeeper is back a killed leader is replaced.
func withoutZooKeeper(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	const beyondSessions = 15 * time.Second
	u := load(t, c, 2, 3)
	u.awaitMore(t, 500)
	for _, z := range c.ZooKeepers {
		if err := z.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for away := time.Now(); time.Since(away) < beyondSessions; {
		u.awaitMore(t, 100)
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
	u.finish(t)
}

// gathers carries a plan out and holds the brokers' goroutines afterwards, under the same
// workload, against those before. A few more are connections that were made since.
func gathers(t *testing.T, c *cluster.Cluster, plan []nemesis.Step) {
	t.Helper()
	const slack = 25
	u := load(t, c, 20, 4)
	u.awaitMore(t, 1000)
	before := map[int32]float64{}
	for _, b := range c.Brokers {
		before[b.ID] = metric(t, b, "go_goroutines")
		t.Logf("%s begins with %v goroutines, %v bytes", b.Name(), before[b.ID], metric(t, b, "process_resident_memory_bytes"))
	}
	n := nemesis.Nemesis{Cluster: c, Topic: trialTopic, Note: func(text string) { t.Logf("%s %s", time.Now().Format("15:04:05.000"), text) }}
	if err := n.Run(t.Context(), plan); err != nil {
		t.Errorf("the nemesis: %v", err)
	}
	if err := c.Recover(within(t, patience), trialTopic); err != nil {
		t.Fatal(err)
	}
	u.awaitMore(t, 1000)
	for _, b := range c.Brokers {
		await(t, b.Name()+" to have no more goroutines than at first", func() (bool, string) {
			now := metric(t, b, "go_goroutines")
			return now <= before[b.ID]+slack, fmt.Sprint(now, " now, ", before[b.ID], " at first")
		})
		t.Logf("%s ends with %v goroutines, %v bytes", b.Name(), metric(t, b, "go_goroutines"), metric(t, b, "process_resident_memory_bytes"))
	}
	u.finish(t)
}

// metric is one that a broker of ours shows.
func metric(t *testing.T, b *cluster.Broker, name string) float64 {
	t.Helper()
	value, err := b.Metric(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// startsWithoutZooKeeper has all brokers crash while ZooKeeper is away, and start again.
// They are there, and with ZooKeeper all goes on: nobody knows better than who led.
func startsWithoutZooKeeper(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	u := load(t, c, 21, 4)
	for range 3 {
		u.awaitMore(t, 500)
		for _, m := range append([]cluster.Machine{c.ZooKeepers[0]}, c.Machines()[:len(c.Brokers)]...) {
			if err := m.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.StartBrokers(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		if err := c.Recover(within(t, patience), trialTopic); err != nil {
			t.Fatal(err)
		}
	}
	u.awaitMore(t, 500)
	u.finish(t)
}
