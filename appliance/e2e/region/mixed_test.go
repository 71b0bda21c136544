//go:build interop

package region

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
)

// startMixed starts two brokers of Kafka's and one of headwater's; the first to start is
// the controller. Whoever is asked first makes the offsets' topic, and one of Kafka's
// goes by its own setting until it starts again: all have to have the same.
func startMixed(t *testing.T, protocol string, first cluster.Kind) *cluster.Cluster {
	t.Helper()
	if stockVersion != "" && protocol > stockVersion {
		t.Skipf("Kafka %s does not know the protocol of %s", stockVersion, protocol)
	}
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
				m.describe()
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

// Kafka's tools on a cluster of both kinds.
func TestMixedTools(t *testing.T) {
	for _, first := range []cluster.Kind{cluster.Stock, cluster.Headwater} {
		t.Run(string(first), func(t *testing.T) { tour(t, startMixed(t, "3.9", first)) })
	}
}

// Brokers of both kinds that are stopped in good order, and started again, keep the topic
// writable: the controller, whosever it is, has others lead before.
func TestMixedRolls(t *testing.T) {
	for _, protocol := range []string{"2.8", "3.9"} {
		for _, first := range []cluster.Kind{cluster.Stock, cluster.Headwater} {
			t.Run(fmt.Sprintf("%s-%s", protocol, first), func(t *testing.T) {
				rolls(t, startMixed(t, protocol, first), 10*time.Second)
			})
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
