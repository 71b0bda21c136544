package cluster

import (
	"context"
	"fmt"

	"github.com/headwater/headwater/broker/topic"
)

// CreatePartitions implements Coordinator. The list has the new partitions before
// the disk has them: once they are on the list, whatever happens then, the next
// start makes them all.
func (s *Solo) CreatePartitions(_ context.Context, p NewPartitions) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	before, err := s.checkPartitions(p)
	if err != nil || p.ValidateOnly {
		return err
	}
	t := before
	t.Partitions = p.Count
	if err := s.commit(s.state.replacing(t)); err != nil {
		return err
	}
	if err := s.open(t, before.Partitions); err != nil {
		s.takeBack(before, t)
		return fmt.Errorf("create partitions of %s: %w", t.Name, err)
	}
	s.lead(t, before.Partitions)
	s.publish()
	s.log.Info("partitions created", "topic", t.Name, "partitions", t.Partitions, "before", before.Partitions)
	return nil
}

// checkPartitions returns the topic as it is, or says what is wrong with p.
func (s *Solo) checkPartitions(p NewPartitions) (soloTopic, error) {
	found := s.state.topic(p.Topic)
	if found == nil {
		return soloTopic{}, fmt.Errorf("%w: %.60q", ErrUnknownTopic, p.Topic)
	}
	t := *found
	if topic.Internal(t.Name) { // a group's offsets are found by the number of partitions
		return t, fmt.Errorf("%w: %s keeps its %d partitions", ErrInternalTopic, t.Name, t.Partitions)
	}
	if p.Count <= t.Partitions {
		return t, fmt.Errorf("%w: the topic has %d partitions, and %d would not be more", ErrInvalidPartitions, t.Partitions, p.Count)
	}
	more := p.Count - t.Partitions
	if p.Assignment != nil && len(p.Assignment) != int(more) {
		return t, fmt.Errorf("%w: %d partitions would be new, and %d are assigned", ErrInvalidAssignment, more, len(p.Assignment))
	}
	for i, replicas := range p.Assignment {
		if err := s.checkReplicas(t.Partitions+int32(i), replicas); err != nil {
			return t, err
		}
	}
	return t, s.checkRoom(more)
}

// takeBack removes the partitions that t has more than before, which hold nothing
// yet. What of it fails is logged: the topic is what it was before until the next
// start, which finds the rest on the list or on the disk and makes it whole.
func (s *Solo) takeBack(before, t soloTopic) {
	for index := before.Partitions; index < t.Partitions; index++ {
		if err := s.host.Delete(t.Name, index); err != nil {
			s.log.Error("partition not taken back after it could not be created", "partition", fmt.Sprintf("%s-%d", t.Name, index), "err", err)
		}
	}
	back := s.state.replacing(before)
	if err := s.commit(back); err != nil {
		s.log.Error("partitions that could not be created are still on the list of topics; the next start makes them", "topic", t.Name, "err", err)
		s.setState(back)
	}
}

// ElectLeader implements Coordinator: the one broker leads everything.
func (s *Solo) ElectLeader(_ context.Context, name string, index int32, _ bool) error {
	if err := s.find(name, index); err != nil {
		return err
	}
	return ErrElectionNotNeeded
}

// Reassign implements Coordinator: partitions are where they can be.
func (s *Solo) Reassign(_ context.Context, name string, index int32, replicas []int32) error {
	if err := s.find(name, index); err != nil {
		return err
	}
	if replicas == nil {
		return ErrNoReassignment
	}
	return s.checkReplicas(index, replicas)
}

// Reassignments implements Coordinator: a partition that has one place is on no way.
func (s *Solo) Reassignments(context.Context, []TopicPartition) (map[TopicPartition]Assignment, error) {
	return nil, nil
}

// find reports whether there is such a partition.
func (s *Solo) find(name string, index int32) error {
	t, ok := s.Snapshot().Topic(name)
	switch {
	case !ok:
		return fmt.Errorf("%w: %.60q", ErrUnknownTopic, name)
	case index < 0 || int(index) >= len(t.Partitions):
		return fmt.Errorf("%w: %.60s-%d", ErrUnknownPartition, name, index)
	}
	return nil
}
