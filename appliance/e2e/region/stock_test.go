//go:build interop

package region

import (
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
	"github.com/headwater/headwater/appliance/e2e/region/network"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
)

// fast is a workload that shows much in a short time. Its second reader reads at one
// broker, which mostly follows.
func fast(seed uint64) workload.Config {
	return workload.Config{Partitions: 4, Producers: 4, Rate: 150, Readers: 2, Racks: []string{"", "r2"}, GroupReaders: 2, Seed: seed}
}

// twoOfThree is what makes acks=all outlive a broker.
var twoOfThree = map[string]string{"min.insync.replicas": "2"}

// Stock Kafka loses nothing that it acked with acks=all while its leaders, its
// controller and its ZooKeeper are killed, frozen and cut off: the harness and the
// checker find nothing where there is nothing.
func TestStockKafka(t *testing.T) { seeded(t, start(t, 3, stock(3, "3.9")...), 1, 40*time.Second) }

// With acks=1 Kafka may lose what only a leader had, and the checker allows just that.
func TestStockKafkaLeaderAck(t *testing.T) { leaderAck(t, start(t, 1, stock(3, "2.8")...)) }

// leaderAck keeps leaders from others for longer than their sessions last: what they
// acked alone then is gone.
func leaderAck(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	w := fast(16)
	w.LeaderAck = true
	var plan []nemesis.Step
	for i, op := range []nemesis.Op{nemesis.CutOff, nemesis.CutPeers, nemesis.Freeze, nemesis.Kill} {
		plan = append(plan, nemesis.Step{After: 3 * time.Second, For: 8 * time.Second, Faults: []nemesis.Fault{{Op: op, Target: nemesis.Leader, N: i}}})
	}
	trial{
		rules: checker.Rules{MayLose: true, MayRepeat: true, MayReorder: true}, workload: w,
		settings: map[string]string{"min.insync.replicas": "1"},
		plan:     plan,
	}.run(t, c)
}

// The harness does without namespaces too.
func TestStockKafkaOnLoopback(t *testing.T) {
	seeded(t, onLoopback(t, stock(3, "3.9")), 3, 30*time.Second)
}

func onLoopback(t *testing.T, brokers []cluster.BrokerConfig) *cluster.Cluster {
	t.Helper()
	n, err := network.Loopback(nil)
	if err != nil {
		t.Fatal(err)
	}
	return startConfig(t, cluster.Config{ZooKeepers: 1, Brokers: brokers, Network: n})
}

// anything may happen in a plan of a seed.
var anything = nemesis.Options{Brokers: true, ZooKeeper: true, Pause: 4 * time.Second, Last: 10 * time.Second}

// seeded lets a plan of a seed happen to a cluster.
func seeded(t *testing.T, c *cluster.Cluster, def uint64, last time.Duration) {
	t.Helper()
	s := seed(t, def)
	trial{
		workload: fast(s), settings: twoOfThree,
		plan: nemesis.Plan(s, duration(t, last), anything),
	}.run(t, c)
}

// A topic that allows unclean elections loses what only the last leader had: the checker
// sees it in a real cluster too.
func TestStockKafkaLoses(t *testing.T) {
	c := start(t, 1, stock(3, "2.8")...)
	topic := cluster.Topic{
		Name: trialTopic, Assignment: map[int32][]int32{0: {1, 2, 3}},
		Settings: map[string]string{"min.insync.replicas": "1", "unclean.leader.election.enable": "true"},
	}
	if err := cluster.Create(within(t, patience), topic, c.Addresses()...); err != nil {
		t.Fatal(err)
	}
	recorder := record(t, checker.Rules{})
	w := workload.Start(t.Context(), workload.Config{
		Addresses: c.Addresses(), Topic: trialTopic, Partitions: 1, Producers: 1, Rate: 200, Readers: 1, Seed: 1,
	}, recorder)
	t.Cleanup(w.Close)
	awaitAcks(t, recorder, 200)
	for _, b := range c.Brokers[1:] {
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	alone := func(id int32) func(*cluster.State) bool {
		return func(s *cluster.State) bool {
			p := s.Topics[trialTopic][0]
			return p.Leader == id && len(p.ISR) == 1
		}
	}
	if err := cluster.Await(within(t, patience), "broker 1 alone in the ISR", alone(1), c.Brokers[0].Address); err != nil {
		t.Fatal(err)
	}
	acked, _ := recorder.Acked()
	awaitAcks(t, recorder, acked+200)
	if err := c.Brokers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Brokers[1].Start(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Await(within(t, patience), "broker 2 leads, which was not in the ISR", alone(2), c.Brokers[1].Address); err != nil {
		t.Fatal(err)
	}
	if err := c.Recover(within(t, patience), trialTopic); err != nil {
		t.Fatal(err)
	}
	report, err := w.Finish(within(t, patience))
	t.Logf("%v, %v", report, err)
	if report == nil || report.Counts[checker.LostWrite]+report.Counts[checker.Inconsistent] < 100 {
		t.Error("an unclean election was not noticed")
	}
	compareReplicas(t, c, trialTopic, 1)
}

// A power cut that meets all of Kafka's brokers at once takes what they acked: they sync
// nothing. The checker and the cards feel it.
func TestStockKafkaBlackout(t *testing.T) {
	report := blackout(t, start(t, 1, onCards(stock(3, "3.9"))...), 1)
	if report.Counts[checker.LostWrite]+report.Counts[checker.Inconsistent] == 0 {
		t.Error("a power cut at all brokers lost nothing: that cannot be")
	}
}

func onCards(brokers []cluster.BrokerConfig) []cluster.BrokerConfig {
	for i := range brokers {
		brokers[i].CardBytes = 4 << 30
	}
	return brokers
}

// blackout cuts the power of all brokers at once, so many times, under a workload.
func blackout(t *testing.T, c *cluster.Cluster, times int) *checker.Report {
	t.Helper()
	plan := nemesis.Again(nemesis.Fault{Op: nemesis.Blackout, Target: nemesis.AnyBroker}, times, 4*time.Second, time.Second)
	report, _ := trial{workload: fast(17), settings: twoOfThree, plan: plan, unsound: true}.run(t, c)
	return report
}

// awaitAcks waits until so many records were acknowledged.
func awaitAcks(t *testing.T, r *workload.Recorder, n int) {
	t.Helper()
	ctx := within(t, patience)
	for {
		acked, _ := r.Acked()
		if acked >= n {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d records are acked, waited for %d; clients were told %q", acked, n, r.Problems())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kafka's tools on Kafka: what the tour asks for is what Kafka does.
func TestStockKafkaTools(t *testing.T) {
	tour(t, start(t, 1, stock(3, "3.9")...))
}

// Kafka's brokers stop in turn, and leave ZooKeeper's death unnoticed: what is asked of
// headwater below is what Kafka does.
func TestStockKafkaCalm(t *testing.T) {
	t.Run("rolls", func(t *testing.T) {
		brokers := stock(3, "3.9")
		for i := range brokers {
			brokers[i].Settings = map[string]string{"zookeeper.session.timeout.ms": "20000"}
		}
		rolls(t, start(t, 1, brokers...), 10*time.Second)
	})
	t.Run("withoutZooKeeper", func(t *testing.T) { withoutZooKeeper(t, start(t, 1, stock(3, "3.9")...)) })
}

// Clients live through Kafka's failovers without an error.
func TestStockKafkaFailover(t *testing.T) { failover(t, start(t, 1, stock(3, "3.9")...)) }
