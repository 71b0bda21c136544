package controller

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

func brokersOn(racks ...string) []cluster.Registration {
	out := make([]cluster.Registration, 0, len(racks))
	for i, rack := range racks {
		out = append(out, cluster.Registration{ID: int32(i), Rack: rack})
	}
	return out
}

// The examples are those of the comments on Kafka's AdminUtils.
func TestSpreadIsKafkas(t *testing.T) {
	got, err := Spread(brokersOn("", "", "", "", ""), Spreading{Partitions: 10, ReplicationFactor: 3})
	want := [][]int32{
		{0, 1, 2},
		{1, 2, 3},
		{2, 3, 4},
		{3, 4, 0},
		{4, 0, 1},
		{0, 2, 3},
		{1, 3, 4},
		{2, 4, 0},
		{3, 0, 1},
		{4, 1, 2},
	}
	if err != nil || !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("without racks: %v, %v\nwant %v", got, err, want)
	}
	// 0, 1 and 2 are in rack1, rack3, rack3; 3, 4 and 5 in rack2, rack2, rack1
	got, err = Spread(brokersOn("rack1", "rack3", "rack3", "rack2", "rack2", "rack1"), Spreading{Partitions: 7, ReplicationFactor: 3})
	want = [][]int32{{0, 3, 1}, {3, 1, 5}, {1, 5, 4}, {5, 4, 2}, {4, 2, 0}, {2, 0, 3}, {0, 4, 2}}
	if err != nil || !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("with racks: %v, %v\nwant %v", got, err, want)
	}
}

// Whatever the numbers, no partition has a broker twice, each has as many racks as
// it can, and brokers have as many first replicas as the others, or one more.
func TestSpreadIsEven(t *testing.T) {
	for brokers := 1; brokers <= 7; brokers++ {
		for racks := range 4 {
			var named []string
			for i := range brokers {
				if racks == 0 {
					named = append(named, "")
					continue
				}
				named = append(named, fmt.Sprint(i%racks))
			}
			for rf := 1; rf <= brokers; rf++ {
				for start := range brokers {
					s := Spreading{Partitions: 3 * brokers, ReplicationFactor: rf, Start: start, Shift: start / 2}
					checkSpread(t, brokersOn(named...), racks, s)
				}
			}
		}
	}
}

func checkSpread(t *testing.T, brokers []cluster.Registration, racks int, s Spreading) {
	t.Helper()
	got, err := Spread(brokers, s)
	if err != nil || len(got) != s.Partitions {
		t.Fatalf("%d brokers, %d racks, %+v: %v, %v", len(brokers), racks, s, got, err)
	}
	first := map[int32]int{}
	for _, replicas := range got {
		first[replicas[0]]++
		on := map[string]bool{}
		ids := slices.Clone(replicas)
		slices.Sort(ids)
		for _, id := range ids {
			on[brokers[id].Rack] = true
		}
		if len(slices.Compact(ids)) != s.ReplicationFactor || racks > 0 && len(on) != min(racks, len(brokers), s.ReplicationFactor) {
			t.Fatalf("%d brokers, %d racks, %+v: replicas %v", len(brokers), racks, s, replicas)
		}
	}
	for id, n := range first {
		if n != 3 {
			t.Fatalf("%d brokers, %+v: broker %d is first %d times, want 3", len(brokers), s, id, n)
		}
	}
}

func TestSpreadRefuses(t *testing.T) {
	mixed := brokersOn("a", "", "b")
	for name, tc := range map[string]struct {
		brokers []cluster.Registration
		s       Spreading
		err     error
	}{
		"mixedRacks":    {mixed, Spreading{Partitions: 1, ReplicationFactor: 2}, cluster.ErrInvalidReplicationFactor},
		"mixedIgnored":  {mixed, Spreading{Partitions: 1, ReplicationFactor: 2, IgnoreRacks: true}, nil},
		"tooFewBrokers": {mixed, Spreading{Partitions: 1, ReplicationFactor: 4}, cluster.ErrInvalidReplicationFactor},
		"noReplica":     {mixed, Spreading{Partitions: 1}, cluster.ErrInvalidReplicationFactor},
		"noPartition":   {mixed, Spreading{ReplicationFactor: 1}, cluster.ErrInvalidPartitions},
	} {
		if _, err := Spread(tc.brokers, tc.s); !errors.Is(err, tc.err) {
			t.Errorf("%s: %v, want %v", name, err, tc.err)
		}
	}
}
