//go:build interop

package region

import (
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
)

// fast is a workload that shows much in a short time.
func fast(seed uint64) workload.Config {
	return workload.Config{Partitions: 4, Producers: 4, Rate: 150, Readers: 1, GroupReaders: 2, Seed: seed}
}

// twoOfThree is what makes acks=all outlive a broker.
var twoOfThree = map[string]string{"min.insync.replicas": "2"}

// Stock Kafka loses nothing that it acked with acks=all while its leaders, its
// controller and its ZooKeeper are killed, frozen and cut off: the harness and the
// checker find nothing where there is nothing.
func TestStockKafka(t *testing.T) {
	c := start(t, 1, stock(3, "3.9")...)
	s := seed(t, 1)
	trial{
		workload: fast(s), settings: twoOfThree,
		plan: nemesis.Plan(s, duration(t, 40*time.Second), nemesis.Options{
			Brokers: true, ZooKeeper: true, Pause: 4 * time.Second, Last: 10 * time.Second,
		}),
	}.run(t, c)
}
