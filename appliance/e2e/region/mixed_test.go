//go:build interop

package region

import (
	"fmt"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
)

// mixed are two brokers of Kafka's and one of headwater's; the first to start is the
// controller.
func mixed(t *testing.T, protocol string, first cluster.Kind) *cluster.Cluster {
	t.Helper()
	brokers := append(stock(2, protocol), ours(1)...)
	if first == cluster.Headwater {
		brokers = append(ours(1), stock(2, protocol)...)
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

// A cluster of both kinds does for Kafka's tools what a cluster of one does, whoever is
// its controller and whatever protocol version Kafka's brokers are set to.
func TestMixedTools(t *testing.T) {
	for _, protocol := range []string{"2.8", "3.9"} {
		for _, first := range []cluster.Kind{cluster.Stock, cluster.Headwater} {
			t.Run(fmt.Sprintf("%s-%s", protocol, first), func(t *testing.T) { tour(t, mixed(t, protocol, first)) })
		}
	}
}

// longestPause is more than a fault lasts, and a session, and the restart of a JVM: who
// needs longer than that was stuck.
const longestPause = 30 * time.Second

// Nothing is lost in a cluster of both kinds, whatever happens to it.
func TestMixed(t *testing.T) {
	for _, protocol := range []string{"2.8", "3.9"} {
		for _, first := range []cluster.Kind{cluster.Stock, cluster.Headwater} {
			t.Run(fmt.Sprintf("%s-%s", protocol, first), func(t *testing.T) {
				s := seed(t, 21)
				_, pause := trial{
					workload: fast(s), settings: twoOfThree,
					plan: nemesis.Plan(s, duration(t, 40*time.Second), nemesis.Options{
						Brokers: true, ZooKeeper: true, Pause: 4 * time.Second, Last: 10 * time.Second,
					}),
				}.run(t, mixed(t, protocol, first))
				if pause > longestPause {
					t.Errorf("for %v nothing of a partition was acked, want less than %v", pause, longestPause)
				}
			})
		}
	}
}
