package controller

import (
	"fmt"
	"maps"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
)

// Spreading is where new partitions go, as Kafka places them, so that leaders and
// followers are on all brokers alike. Start and Shift are taken at random for a
// new topic. For more partitions of one, First is how many it has, and Start and
// Shift are the place, among the brokers, of its first partition's first replica.
type Spreading struct {
	Partitions, ReplicationFactor int
	First, Start, Shift           int
	IgnoreRacks                   bool // also when some brokers have a rack
}

// Spread returns the replicas of each partition, the preferred leader first. When
// brokers have racks, a partition's replicas are on as many of them as can be.
// brokers are in the order of their ids.
func Spread(brokers []cluster.Registration, s Spreading) ([][]int32, error) {
	if s.Partitions < 1 {
		return nil, fmt.Errorf("%w: %d", cluster.ErrInvalidPartitions, s.Partitions)
	}
	if s.ReplicationFactor < 1 || s.ReplicationFactor > len(brokers) {
		return nil, fmt.Errorf("%w: %d replicas on %d brokers", cluster.ErrInvalidReplicationFactor, s.ReplicationFactor, len(brokers))
	}
	racks := map[int32]string{}
	ids := make([]int32, 0, len(brokers))
	for _, b := range brokers {
		ids = append(ids, b.ID)
		if b.Rack != "" && !s.IgnoreRacks {
			racks[b.ID] = b.Rack
		}
	}
	switch len(racks) {
	case 0:
		for _, id := range ids {
			racks[id] = fmt.Sprint(id) // each its own: nobody is passed over
		}
		return s.place(ids, racks, 1), nil
	case len(ids):
		ids, count := alternate(ids, racks)
		return s.place(ids, racks, count), nil
	default:
		return nil, fmt.Errorf("%w: %d of %d brokers have a rack; all must, or none", cluster.ErrInvalidReplicationFactor, len(racks), len(ids))
	}
}

// place walks the brokers in a circle. Each partition's first replica is one
// further than the last one's; how far the others are from it grows by stride once
// around, so that the partitions of one leader have different followers.
func (s Spreading) place(ids []int32, racks map[int32]string, stride int) [][]int32 {
	out := make([][]int32, 0, s.Partitions)
	rackCount := len(distinct(racks))
	shift := s.Shift
	for index := s.First; index < s.First+s.Partitions; index++ {
		if index > 0 && index%len(ids) == 0 {
			shift++
		}
		first := (index + s.Start) % len(ids)
		replicas := []int32{ids[first]}
		used := map[string]bool{racks[ids[first]]: true}
		for k := 0; len(replicas) < s.ReplicationFactor; k++ {
			id := ids[(first+1+(shift*stride+k)%(len(ids)-1))%len(ids)]
			if slices.Contains(replicas, id) || used[racks[id]] && len(used) < rackCount {
				continue
			}
			replicas = append(replicas, id)
			used[racks[id]] = true
		}
		out = append(out, replicas)
	}
	return out
}

// alternate orders brokers so that neighbours are in different racks: the first of
// each rack, then the second of each. It also counts the racks.
func alternate(ids []int32, racks map[int32]string) ([]int32, int) {
	names := distinct(racks)
	in := map[string][]int32{}
	for _, id := range ids {
		in[racks[id]] = append(in[racks[id]], id)
	}
	out := make([]int32, 0, len(ids))
	for i := 0; len(out) < len(ids); i++ {
		for _, name := range names {
			if i < len(in[name]) {
				out = append(out, in[name][i])
			}
		}
	}
	return out, len(names)
}

func distinct(racks map[int32]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(racks)))
}
