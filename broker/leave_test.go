package broker

import (
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

// Whoever is alive and has a replica of the same partition can take over; a gateway
// that has its own partitions alone cannot.
func TestHasOthers(t *testing.T) {
	topics := []*cluster.Topic{
		{Name: "shared", Partitions: []cluster.Partition{{Replicas: []int32{1, 2}}, {Replicas: []int32{2, 3}}}},
		{Name: "own", Partitions: []cluster.Partition{{Replicas: []int32{1}}, {Replicas: []int32{4}}}},
	}
	for name, tc := range map[string]struct {
		alive []int32
		want  bool
	}{
		"theOther": {[]int32{1, 2, 4}, true}, "alone": {[]int32{1}, false}, "strangers": {[]int32{1, 3, 4}, false}, "nobody": {nil, false},
	} {
		var s cluster.Snapshot
		for _, id := range tc.alive {
			s.Brokers = append(s.Brokers, cluster.Broker{ID: id})
		}
		if got := hasOthers(cluster.NewSnapshot(s, topics), 1); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
