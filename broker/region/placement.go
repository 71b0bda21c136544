package region

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

// assign says which brokers get the partitions of a new topic.
func (r *Region) assign(ctx context.Context, s *zk.Session, nt cluster.NewTopic) (cluster.TopicAssignment, error) {
	out := cluster.TopicAssignment{ID: topic.NewID(), Partitions: map[int32]cluster.Assignment{}}
	brokers, err := r.eligible(ctx, s, nt.Local)
	if err != nil {
		return out, err
	}
	if len(nt.Assignment) > 0 {
		for index := range int32(len(nt.Assignment)) {
			replicas, ok := nt.Assignment[index]
			if !ok {
				return out, fmt.Errorf("%w: partition %d is missing", cluster.ErrInvalidAssignment, index)
			}
			out.Partitions[index] = cluster.Assignment{Replicas: replicas}
		}
		return out, r.checkAssignment(ctx, s, out.Partitions)
	}
	count, factor := nt.Partitions, nt.ReplicationFactor
	if count == -1 {
		count = r.cfg.DefaultPartitions
	}
	if factor == -1 {
		factor = r.cfg.DefaultReplicationFactor
	}
	if nt.Local && r.cfg.Gateway {
		factor = 1
	}
	switch {
	case count < 1 || count > maxPartitions:
		return out, fmt.Errorf("%w: %d", cluster.ErrInvalidPartitions, count)
	case factor < 1 || int(factor) > len(brokers):
		return out, fmt.Errorf("%w: %d, and there are %d brokers for it", cluster.ErrInvalidReplicationFactor, factor, len(brokers))
	}
	lists, err := controller.Spread(brokers, controller.Spreading{
		Partitions: int(count), ReplicationFactor: int(factor), Start: rand.IntN(len(brokers)), Shift: rand.IntN(len(brokers)),
	})
	for index, replicas := range lists {
		out.Partitions[int32(index)] = cluster.Assignment{Replicas: replicas}
	}
	return out, err
}

// eligible are the brokers that get replicas: what a gateway's devices cause stays
// at the gateway, and a gateway's link is not to hold up others' topics.
func (r *Region) eligible(ctx context.Context, s *zk.Session, local bool) ([]cluster.Registration, error) {
	if local && r.cfg.Gateway {
		return []cluster.Registration{r.registration()}, nil
	}
	brokers, err := s.Brokers(ctx, nil)
	if err != nil {
		return nil, err
	}
	gateways, err := s.Gateways(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(brokers, func(b cluster.Registration) bool { return slices.Contains(gateways, b.ID) }), nil
}

// checkAssignment holds what a client wants against the brokers there are.
func (r *Region) checkAssignment(ctx context.Context, s *zk.Session, by map[int32]cluster.Assignment) error {
	brokers, err := s.Brokers(ctx, nil)
	if err != nil {
		return err
	}
	live := map[int32]bool{}
	for _, b := range brokers {
		live[b.ID] = true
	}
	width := -1
	for index := range int32(len(by)) {
		seen := map[int32]bool{}
		for _, id := range by[index].Replicas {
			if !live[id] {
				return fmt.Errorf("%w: partition %d on broker %d, which is not there", cluster.ErrInvalidAssignment, index, id)
			}
			if seen[id] {
				return fmt.Errorf("%w: partition %d is on broker %d twice", cluster.ErrInvalidAssignment, index, id)
			}
			seen[id] = true
		}
		if width == -1 {
			width = len(seen)
		}
		if len(seen) == 0 || len(seen) != width {
			return fmt.Errorf("%w: partition %d has %d replicas, the first has %d", cluster.ErrInvalidAssignment, index, len(seen), width)
		}
	}
	return nil
}

// planned is the topic as it will be.
func (r *Region) planned(nt cluster.NewTopic, a cluster.TopicAssignment) *cluster.Topic {
	settings, _ := topic.Apply(r.Snapshot().Defaults, nt.Overrides) // checked before
	out := &cluster.Topic{Name: nt.Name, ID: a.ID, Settings: settings, Overrides: nt.Overrides}
	for index := range int32(len(a.Partitions)) {
		replicas := a.Partitions[index].Replicas
		out.Partitions = append(out.Partitions, cluster.Partition{Leader: replicas[0], Replicas: replicas, ISR: replicas})
	}
	return out
}

// checkRoom reports whether there may be so many more partitions on each broker, by the
// limit that this one has, and another topic that its devices have caused.
func (r *Region) checkRoom(nt cluster.NewTopic, more map[int32]cluster.Assignment) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	have, devices := map[int32]int{}, 0
	for _, t := range r.image.Topics {
		for _, p := range t.Partitions {
			for _, id := range p.Replicas {
				have[id]++
			}
		}
		if t.device() == r.cfg.Self.ID {
			devices++
		}
	}
	for _, a := range more {
		for _, id := range a.Replicas {
			if have[id]++; have[id] > r.cfg.MaxPartitions {
				return fmt.Errorf("%w: broker %d would have more than %d", cluster.ErrTooManyPartitions, id, r.cfg.MaxPartitions)
			}
		}
	}
	if limit := r.cfg.MaxDeviceTopics; nt.ForDevice && limit > 0 && devices >= limit {
		return fmt.Errorf("%w: %d are there, %d is the limit", cluster.ErrTooManyDeviceTopics, devices, limit)
	}
	return nil
}

// more says where additional partitions go: on as many brokers as the first is.
func (r *Region) more(ctx context.Context, s *zk.Session, t cluster.TopicAssignment, p cluster.NewPartitions) ([][]int32, error) {
	have, count := int32(len(t.Partitions)), p.Count-int32(len(t.Partitions))
	if p.Assignment != nil {
		if len(p.Assignment) != int(count) {
			return nil, fmt.Errorf("%w: %d partitions would be new, and %d are assigned", cluster.ErrInvalidAssignment, count, len(p.Assignment))
		}
		by := map[int32]cluster.Assignment{}
		for i, replicas := range p.Assignment {
			by[int32(i)] = cluster.Assignment{Replicas: replicas}
		}
		return p.Assignment, r.checkAssignment(ctx, s, by)
	}
	brokers, err := r.eligible(ctx, s, false)
	if err != nil {
		return nil, err
	}
	first := t.Partitions[0].Replicas
	if len(first) == 0 || len(first) > len(brokers) {
		return nil, fmt.Errorf("%w: %d, and there are %d brokers for it", cluster.ErrInvalidReplicationFactor, len(first), len(brokers))
	}
	start := max(slices.IndexFunc(brokers, func(b cluster.Registration) bool { return b.ID == first[0] }), 0)
	return controller.Spread(brokers, controller.Spreading{
		Partitions: int(count), ReplicationFactor: len(first), First: int(have), Start: start, Shift: start,
	})
}
