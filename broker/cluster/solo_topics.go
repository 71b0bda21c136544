package cluster

import (
	"context"
	"fmt"
	"slices"

	"github.com/headwater/headwater/broker/topic"
)

// CreateTopic implements Coordinator.
func (s *Solo) CreateTopic(_ context.Context, nt NewTopic) (*Topic, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	t, err := s.check(nt)
	if err != nil {
		return nil, err
	}
	if nt.ValidateOnly {
		return s.published(t), nil
	}
	if err := s.commit(s.state.with(t)); err != nil {
		return nil, err
	}
	if err := s.open(t, 0); err != nil {
		return nil, s.abandon(t, err)
	}
	s.lead(t, 0)
	s.publish()
	s.log.Info("topic created", "topic", t.Name, "partitions", t.Partitions)
	return s.published(t), nil
}

// check turns nt into the topic that it asks for, or says what is wrong with it.
func (s *Solo) check(nt NewTopic) (soloTopic, error) {
	t := soloTopic{Name: nt.Name, Partitions: nt.Partitions, Overrides: nt.Overrides, Device: nt.ForDevice}
	if err := topic.ValidateName(nt.Name); err != nil {
		return t, err
	}
	if s.state.topic(nt.Name) != nil {
		return t, fmt.Errorf("%w: %s", ErrTopicExists, nt.Name)
	}
	if len(nt.Assignment) > 0 {
		if err := s.checkAssignment(nt.Assignment); err != nil {
			return t, err
		}
		t.Partitions = int32(len(nt.Assignment))
	} else if nt.ReplicationFactor != -1 && nt.ReplicationFactor != 1 {
		return t, fmt.Errorf("%w: %d, and this broker is the only one", ErrInvalidReplicationFactor, nt.ReplicationFactor)
	}
	if t.Partitions == -1 {
		t.Partitions = s.cfg.DefaultPartitions
	}
	if t.Partitions < 1 {
		return t, fmt.Errorf("%w: %d", ErrInvalidPartitions, t.Partitions)
	}
	if err := s.checkRoom(t.Partitions); err != nil {
		return t, err
	}
	if err := s.checkDevices(t); err != nil {
		return t, err
	}
	if _, err := topic.Apply(s.defaults, nt.Overrides); err != nil {
		return t, err
	}
	t.ID = topic.NewID()
	return t, nil
}

// checkRoom reports whether there may be so many more partitions.
func (s *Solo) checkRoom(more int32) error {
	if have := s.Snapshot().Partitions(); int64(have)+int64(more) > int64(s.cfg.MaxPartitions) {
		return fmt.Errorf("%w: %d more asked for, %d are there, %d is the limit", ErrTooManyPartitions, more, have, s.cfg.MaxPartitions)
	}
	return nil
}

// checkDevices reports whether devices may cause t, if they do. Those that they did
// cause count as long as they are there, so a topic that is deleted makes room.
func (s *Solo) checkDevices(t soloTopic) error {
	if !t.Device || s.cfg.MaxDeviceTopics == 0 {
		return nil
	}
	have := 0
	for _, t := range s.state.Topics {
		if t.Device {
			have++
		}
	}
	if have < s.cfg.MaxDeviceTopics {
		return nil
	}
	return fmt.Errorf("%w: %d are there, %d is the limit", ErrTooManyDeviceTopics, have, s.cfg.MaxDeviceTopics)
}

// checkAssignment holds by against the one that is possible here: partitions from
// 0 upward, each on this broker alone.
func (s *Solo) checkAssignment(by map[int32][]int32) error {
	for index := range int32(len(by)) {
		replicas, ok := by[index]
		if !ok {
			return fmt.Errorf("%w: partition %d is missing", ErrInvalidAssignment, index)
		}
		if err := s.checkReplicas(index, replicas); err != nil {
			return err
		}
	}
	return nil
}

func (s *Solo) checkReplicas(index int32, replicas []int32) error {
	if !slices.Equal(replicas, []int32{s.cfg.Self.ID}) {
		return fmt.Errorf("%w: partition %d on brokers %v, and %d is the only one", ErrInvalidAssignment, index, replicas, s.cfg.Self.ID)
	}
	return nil
}

// open makes the partitions of t, from index on, ready.
func (s *Solo) open(t soloTopic, from int32) error {
	for index := from; index < t.Partitions; index++ {
		if _, err := s.host.Open(t.Name, index, t.ID, s.settings(t)); err != nil {
			return fmt.Errorf("open %s-%d: %w", t.Name, index, err)
		}
	}
	return nil
}

// abandon takes back a topic whose partitions could not all be opened.
func (s *Solo) abandon(t soloTopic, cause error) error {
	if err := s.remove(t); err != nil {
		s.log.Error("topic not taken back after it could not be created; the next start does", "topic", t.Name, "err", err)
	}
	return fmt.Errorf("create topic %s: %w", t.Name, cause)
}

// DeleteTopic implements Coordinator.
func (s *Solo) DeleteTopic(_ context.Context, name string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	t := s.state.topic(name)
	if t == nil {
		return fmt.Errorf("%w: %.60q", ErrUnknownTopic, name)
	}
	if err := s.remove(*t); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	s.log.Info("topic deleted", "topic", name)
	return nil
}

// remove strikes t from the list first and from the disk second: once it is off
// the list it is gone, whatever happens then.
func (s *Solo) remove(t soloTopic) error {
	if err := s.commit(s.state.without(t)); err != nil {
		return err
	}
	s.publish()
	for index := range t.Partitions {
		if err := s.host.Delete(t.Name, index); err != nil {
			return err
		}
	}
	return s.commit(s.state.deleted(t))
}

// commit makes next the state, on disk first.
func (s *Solo) commit(next soloState) error {
	if err := next.save(s.store); err != nil {
		return fmt.Errorf("save the list of topics: %w", err)
	}
	s.setState(next)
	return nil
}

// published is t as a Snapshot shows it.
func (s *Solo) published(t soloTopic) *Topic {
	self := []int32{s.cfg.Self.ID}
	out := &Topic{Name: t.Name, ID: t.ID, Settings: s.settings(t), Overrides: t.Overrides}
	for range t.Partitions {
		out.Partitions = append(out.Partitions, Partition{
			Leader: s.cfg.Self.ID, LeaderEpoch: s.state.LeaderEpoch, Replicas: self, ISR: self,
		})
	}
	return out
}
