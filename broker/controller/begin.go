package controller

import (
	"context"
	"errors"
	"sync"

	"github.com/headwater/headwater/broker/cluster"
)

// begin takes the role over: it reads everything, tells everyone, and goes on with
// what the controller before left undone.
func (t *term) begin(ctx context.Context) error {
	if err := t.read(ctx); err != nil {
		return err
	}
	for id := range t.brokers {
		t.introduce(id)
	}
	if err := t.identify(ctx); err != nil {
		return err
	}
	if err := t.elect(ctx, t.some(func(*partition) bool { return true })); err != nil {
		return err
	}
	t.flush() // nobody waits for the rest
	if err := t.advanceMoves(ctx); err != nil {
		return err
	}
	if err := t.wantedMoves(ctx); err != nil {
		return err
	}
	if err := t.advanceDeletions(ctx); err != nil {
		return err
	}
	if err := t.wantedElections(ctx); err != nil {
		return err
	}
	t.flush()
	t.metrics.set(t.count())
	t.log.Info("controller has taken over", "brokers", len(t.brokers), "topics", len(t.topics))
	return nil
}

// read arms all watches and reads all that they watch. What notifications tell of
// is read after they are removed, and so is seen.
func (t *term) read(ctx context.Context) error {
	_, nodes, err := t.ISRNotifications(ctx)
	if err == nil {
		err = t.RemoveISRNotifications(ctx, nodes)
	}
	if err != nil {
		return err
	}
	if _, nodes, err = t.LogDirEvents(ctx); err == nil {
		err = t.RemoveLogDirEvents(ctx, nodes)
	}
	if err != nil {
		return err
	}
	live, err := t.Brokers(ctx)
	if err != nil {
		return err
	}
	for _, r := range live {
		t.join(r)
	}
	names, err := t.Topics(ctx)
	if err != nil {
		return err
	}
	if _, err := t.load(ctx, names); err != nil {
		return err
	}
	return t.readDeletions(ctx)
}

// readers is how many topics are read at a time.
const readers = 16

// load reads topics and their partitions' states, and returns the partitions. A
// topic that is gone by now is left out.
func (t *term) load(ctx context.Context, names []string) ([]*partition, error) {
	assigned, err := t.readTopics(ctx, names)
	if err != nil {
		return nil, err
	}
	var of []cluster.TopicPartition
	var parts []*partition
	for name, a := range assigned {
		info := &topicInfo{name: name, id: a.ID, version: a.Version, partitions: map[int32]*partition{}}
		t.topics[name] = info
		for _, p := range info.extend(a) {
			parts = append(parts, p)
			of = append(of, p.of)
		}
	}
	states, err := t.States(ctx, of)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		p.state, p.exists = states[p.of], hasKey(states, p.of)
		if p.state.ControllerEpoch > t.epoch {
			return nil, errors.Join(cluster.ErrFenced, errors.New(p.of.String()+" was decided by a later controller"))
		}
	}
	return parts, nil
}

func hasKey[K comparable, V any](m map[K]V, k K) bool {
	_, ok := m[k]
	return ok
}

// readTopics reads where the partitions of topics are to be.
func (t *term) readTopics(ctx context.Context, names []string) (map[string]cluster.TopicAssignment, error) {
	var (
		mu       sync.Mutex // guards the two below
		assigned = make(map[string]cluster.TopicAssignment, len(names))
		failed   error
		work     = make(chan string)
		reading  sync.WaitGroup
	)
	for range min(readers, len(names)) {
		reading.Go(func() {
			for name := range work {
				a, err := t.Topic(ctx, name)
				mu.Lock()
				if err == nil {
					assigned[name] = a
				} else if !errors.Is(err, cluster.ErrUnknownTopic) {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	reading.Wait()
	return assigned, failed
}

// extend adds the partitions of a that info does not have, and returns them.
func (info *topicInfo) extend(a cluster.TopicAssignment) []*partition {
	var added []*partition
	for index, assignment := range a.Partitions {
		if info.partitions[index] != nil || len(assignment.Replicas) == 0 {
			continue
		}
		p := &partition{
			of: cluster.TopicPartition{Topic: info.name, Index: index}, topic: info,
			assignment: assignment, state: cluster.PartitionState{Leader: noLeader},
		}
		info.partitions[index] = p
		added = append(added, p)
	}
	return added
}
