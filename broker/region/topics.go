package region

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

const (
	// readTimeout bounds a read of ZooKeeper that the controller's requests wait for.
	readTimeout = 5 * time.Second
	// settleTimeout is how long a change is waited for that the controller makes.
	settleTimeout = 15 * time.Second
)

// CreateTopic implements cluster.Coordinator. It writes the topic to ZooKeeper and
// waits until the controller has given all partitions leaders.
func (r *Region) CreateTopic(ctx context.Context, nt cluster.NewTopic) (_ *cluster.Topic, err error) {
	defer func() { err = away(err) }()
	s, err := r.current()
	if err != nil {
		return nil, err
	}
	if err := topic.ValidateName(nt.Name); err != nil {
		return nil, err
	}
	if _, ok := r.Snapshot().Topic(nt.Name); ok {
		return nil, fmt.Errorf("%w: %s", cluster.ErrTopicExists, nt.Name)
	}
	if _, err := topic.Apply(r.Snapshot().Defaults, nt.Overrides); err != nil {
		return nil, err
	}
	assignment, err := r.assign(ctx, s, nt)
	if err == nil {
		err = r.checkRoom(nt, assignment.Partitions)
	}
	if err != nil {
		return nil, err
	}
	made := r.planned(nt, assignment)
	if nt.ValidateOnly {
		return made, nil
	}
	device := int32(-1)
	if nt.ForDevice {
		device = r.cfg.Self.ID
	}
	if err := s.CreateTopic(ctx, nt.Name, assignment, nt.Overrides, device); err != nil {
		if nt.Local && errors.Is(err, cluster.ErrTopicExists) { // for devices of another broker, just now
			return r.known(ctx, nt.Name)
		}
		return nil, err
	}
	r.log.Info("topic created", "topic", nt.Name, "partitions", len(assignment.Partitions))
	err = r.settled(ctx, func(now *cluster.Snapshot) bool {
		t, ok := now.Topic(nt.Name)
		return ok && len(t.Partitions) >= len(assignment.Partitions) && !slices.ContainsFunc(t.Partitions, func(p cluster.Partition) bool { return p.Leader < 0 })
	})
	if err != nil {
		return nil, fmt.Errorf("topic %s is made, and its partitions have no leaders yet: %w", nt.Name, err)
	}
	t, _ := r.Snapshot().Topic(nt.Name)
	return t, nil
}

// known waits until this broker has heard of a topic that is there.
func (r *Region) known(ctx context.Context, name string) (t *cluster.Topic, err error) {
	err = r.settled(ctx, func(now *cluster.Snapshot) (ok bool) {
		t, ok = now.Topic(name)
		return ok
	})
	return t, err
}

// settled waits until the cluster is as is says.
func (r *Region) settled(ctx context.Context, is func(*cluster.Snapshot) bool) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		r.mu.Lock()
		published := r.published
		r.mu.Unlock()
		if is(r.Snapshot()) {
			return nil
		}
		select {
		case <-published:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// DeleteTopic implements cluster.Coordinator: it asks the controller, and waits until
// the topic is gone. It goes later if a broker is away that has records of it.
func (r *Region) DeleteTopic(ctx context.Context, name string) (err error) {
	defer func() { err = away(err) }()
	s, err := r.current()
	if err != nil {
		return err
	}
	if _, ok := r.Snapshot().Topic(name); !ok {
		return fmt.Errorf("%w: %.60q", cluster.ErrUnknownTopic, name)
	}
	if err := s.RequestDeletion(ctx, name); err != nil {
		return err
	}
	r.log.Info("topic is to be deleted", "topic", name)
	return r.settled(ctx, func(now *cluster.Snapshot) bool {
		_, there := now.Topic(name)
		return !there
	})
}

// CreatePartitions implements cluster.Coordinator.
func (r *Region) CreatePartitions(ctx context.Context, p cluster.NewPartitions) (err error) {
	defer func() { err = away(err) }()
	s, err := r.current()
	if err != nil {
		return err
	}
	if topic.Internal(p.Topic) && !p.Own {
		return fmt.Errorf("%w: %s keeps its partitions", cluster.ErrInternalTopic, p.Topic)
	}
	for range maxTries {
		done, err := r.createPartitions(ctx, s, p)
		if !p.Own || !errors.Is(err, cluster.ErrVersion) {
			if err != nil || done == nil {
				return err
			}
			return r.settled(ctx, done)
		}
	}
	return fmt.Errorf("%s keeps changing: %w", p.Topic, cluster.ErrVersion)
}

// maxTries is how often a partition of a broker's own is tried to be made while others
// do the same.
const maxTries = 20

// createPartitions tries once. done says when it is done; nil when there was nothing to
// do.
func (r *Region) createPartitions(ctx context.Context, s *zk.Session, p cluster.NewPartitions) (done func(*cluster.Snapshot) bool, err error) {
	t, err := s.Topic(ctx, p.Topic, nil)
	if err != nil {
		return nil, err
	}
	have := int32(len(t.Partitions))
	if p.Own {
		p.Count, p.Assignment = have+1, [][]int32{{r.cfg.Self.ID}}
		for index, a := range t.Partitions {
			if slices.Equal(a.Replicas, p.Assignment[0]) { // only not known here yet
				return leads(p.Topic, index), nil
			}
		}
	}
	if p.Count <= have || p.Count > maxPartitions {
		return nil, fmt.Errorf("%w: the topic has %d partitions, and %d would not be more", cluster.ErrInvalidPartitions, have, p.Count)
	}
	more, err := r.more(ctx, s, t, p)
	if err != nil {
		return nil, err
	}
	added := map[int32]cluster.Assignment{}
	for i, replicas := range more {
		added[have+int32(i)] = cluster.Assignment{Replicas: replicas}
	}
	if err := r.checkRoom(cluster.NewTopic{}, added); err != nil || p.ValidateOnly {
		return nil, err
	}
	maps.Copy(t.Partitions, added)
	if _, err := s.AlterTopic(ctx, p.Topic, t); err != nil {
		return nil, err
	}
	r.log.Info("partitions created", "topic", p.Topic, "partitions", p.Count, "before", have)
	return leads(p.Topic, p.Count-1), nil
}

// leads says when somebody leads a partition.
func leads(name string, index int32) func(*cluster.Snapshot) bool {
	return func(now *cluster.Snapshot) bool {
		t, ok := now.Topic(name)
		return ok && index < int32(len(t.Partitions)) && t.Partitions[index].Leader >= 0
	}
}

// ElectLeader implements cluster.Coordinator, at the controller.
func (r *Region) ElectLeader(ctx context.Context, name string, index int32, unclean bool) error {
	tp := cluster.TopicPartition{Topic: name, Index: index}
	results, err := r.controller.ElectLeaders(ctx, []cluster.TopicPartition{tp}, unclean)
	return errors.Join(err, results[tp])
}

// Reassign implements cluster.Coordinator, at the controller.
func (r *Region) Reassign(ctx context.Context, name string, index int32, replicas []int32) error {
	tp := cluster.TopicPartition{Topic: name, Index: index}
	results, err := r.controller.Reassign(ctx, map[cluster.TopicPartition][]int32{tp: replicas})
	return errors.Join(err, results[tp])
}

// Reassignments implements cluster.Coordinator, at the controller.
func (r *Region) Reassignments(ctx context.Context, of []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.Assignment, error) {
	return r.controller.Reassignments(ctx, of)
}
