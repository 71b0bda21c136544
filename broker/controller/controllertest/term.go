package controllertest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/headwater/headwater/broker/cluster"
)

// Term is the tree as one controller sees it: a controller.Store.
type Term struct {
	tree    *Tree
	epoch   int32
	changes chan cluster.Change

	// all below are guarded by the tree's lock
	writes  int
	crashAt int // -1: never
	lost    bool
	crashed bool
	onCrash func() // nil: the store fails once
}

// CrashAt has the controller crash at a write, counted from 0: before it is done
// or, with lost, when it is and the controller does not learn it. then is called
// once, and must not wait.
func (t *Term) CrashAt(write int, lost bool, then func()) {
	t.tree.mu.Lock()
	defer t.tree.mu.Unlock()
	t.crashAt, t.lost, t.onCrash = write, lost, then
}

// FailAt has the store fail once, at a write, as CrashAt; the controller lives on.
func (t *Term) FailAt(write int, lost bool) { t.CrashAt(write, lost, nil) }

// Writes counts the writes so far; each state is one.
func (t *Term) Writes() int {
	t.tree.mu.Lock()
	defer t.tree.mu.Unlock()
	return t.writes
}

// read takes the lock; the caller lets it go.
func (t *Term) read(ctx context.Context) (unlock func(), err error) {
	t.tree.mu.Lock()
	switch {
	case t.crashed:
		err = ErrCrashed
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	if err != nil {
		t.tree.mu.Unlock()
		return func() {}, err
	}
	return t.tree.mu.Unlock, nil
}

// write does one write, with the tree's lock held.
func (t *Term) write(do func() error) error {
	switch {
	case t.crashed:
		return ErrCrashed
	case t.tree.epoch != t.epoch:
		return cluster.ErrFenced
	}
	at := t.writes
	t.writes++
	if at == t.crashAt {
		t.crashed = t.onCrash != nil
		if t.lost {
			_ = do()
		}
		if t.onCrash == nil {
			return ErrFailed
		}
		t.onCrash()
		return ErrCrashed
	}
	return do()
}

// one is a method that writes once.
func (t *Term) one(ctx context.Context, do func() error) error {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return err
	}
	return t.write(do)
}

// Changes implements controller.Store.
func (t *Term) Changes() <-chan cluster.Change { return t.changes }

// Brokers implements controller.Store.
func (t *Term) Brokers(ctx context.Context) ([]cluster.Registration, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return t.tree.registered(), nil
}

// Topics implements controller.Store.
func (t *Term) Topics(ctx context.Context) ([]string, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(t.tree.topics)), nil
}

// Topic implements controller.Store.
func (t *Term) Topic(ctx context.Context, name string) (cluster.TopicAssignment, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return cluster.TopicAssignment{}, err
	}
	a, ok := t.tree.topics[name]
	if !ok {
		return a, cluster.ErrUnknownTopic
	}
	a.Partitions = maps.Clone(a.Partitions)
	return a, nil
}

// SetTopic implements controller.Store.
func (t *Term) SetTopic(ctx context.Context, name string, a cluster.TopicAssignment) (version int32, err error) {
	err = t.one(ctx, func() error {
		now, ok := t.tree.topics[name]
		switch {
		case !ok:
			return cluster.ErrUnknownTopic
		case now.Version != a.Version:
			return cluster.ErrVersion
		}
		a.Partitions = maps.Clone(a.Partitions)
		a.Version++
		version = a.Version
		t.tree.topics[name] = a
		t.tree.changed(cluster.Change{Kind: cluster.TopicChanged, Topic: name})
		return nil
	})
	return version, err
}

// TopicConfig implements controller.Store.
func (t *Term) TopicConfig(ctx context.Context, name string) (map[string]string, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return maps.Clone(t.tree.configs[name]), nil
}

// BrokerDefaults implements controller.Store.
func (t *Term) BrokerDefaults(ctx context.Context) (map[string]string, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return maps.Clone(t.tree.defaults), nil
}

// States implements controller.Store.
func (t *Term) States(ctx context.Context, of []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.PartitionState, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	out := map[cluster.TopicPartition]cluster.PartitionState{}
	for _, tp := range of {
		if s, ok := t.tree.states[tp]; ok {
			out[tp] = s
		}
	}
	return out, nil
}

// CreateStates implements controller.Store.
func (t *Term) CreateStates(ctx context.Context, states map[cluster.TopicPartition]cluster.PartitionState) (map[cluster.TopicPartition]error, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	failed := map[cluster.TopicPartition]error{}
	for _, tp := range inOrder(states) {
		err := t.write(func() error {
			if _, ok := t.tree.states[tp]; ok {
				failed[tp] = cluster.ErrVersion
			} else if _, ok := t.tree.topics[tp.Topic]; !ok {
				failed[tp] = cluster.ErrUnknownTopic
			} else {
				s := states[tp]
				s.PartitionEpoch = 0
				t.tree.states[tp] = s
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return failed, nil
}

// SetStates implements controller.Store.
func (t *Term) SetStates(ctx context.Context, states map[cluster.TopicPartition]cluster.PartitionState) (map[cluster.TopicPartition]int32, map[cluster.TopicPartition]error, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, nil, err
	}
	versions, failed := map[cluster.TopicPartition]int32{}, map[cluster.TopicPartition]error{}
	for _, tp := range inOrder(states) {
		err := t.write(func() error {
			now, ok := t.tree.states[tp]
			switch s := states[tp]; {
			case !ok:
				failed[tp] = cluster.ErrUnknownPartition
			case now.PartitionEpoch != s.PartitionEpoch:
				failed[tp] = cluster.ErrVersion
			default:
				s.PartitionEpoch++
				t.tree.check(tp, now, s)
				t.tree.states[tp], versions[tp] = s, s.PartitionEpoch
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return versions, failed, nil
}

// Deletions implements controller.Store.
func (t *Term) Deletions(ctx context.Context) ([]string, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(t.tree.deletions)), nil
}

// FinishDeletion implements controller.Store.
func (t *Term) FinishDeletion(ctx context.Context, name string) error {
	return t.one(ctx, func() error {
		delete(t.tree.topics, name)
		delete(t.tree.configs, name)
		delete(t.tree.deletions, name)
		maps.DeleteFunc(t.tree.states, func(tp cluster.TopicPartition, _ cluster.PartitionState) bool { return tp.Topic == name })
		t.tree.changed(cluster.Change{Kind: cluster.TopicsChanged})
		t.tree.changed(cluster.Change{Kind: cluster.DeletionsChanged})
		return nil
	})
}

// RefuseDeletion implements controller.Store.
func (t *Term) RefuseDeletion(ctx context.Context, name string) error {
	return t.one(ctx, func() error {
		delete(t.tree.deletions, name)
		t.tree.changed(cluster.Change{Kind: cluster.DeletionsChanged})
		return nil
	})
}

// ISRNotifications implements controller.Store.
func (t *Term) ISRNotifications(ctx context.Context) (of []cluster.TopicPartition, nodes []string, err error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, nil, err
	}
	for node, tp := range t.tree.isrs {
		of, nodes = append(of, tp), append(nodes, node)
	}
	return of, nodes, nil
}

// RemoveISRNotifications implements controller.Store.
func (t *Term) RemoveISRNotifications(ctx context.Context, nodes []string) error {
	return t.one(ctx, func() error {
		for _, node := range nodes {
			delete(t.tree.isrs, node)
		}
		return nil
	})
}

// LogDirEvents implements controller.Store.
func (t *Term) LogDirEvents(ctx context.Context) (brokers []int32, nodes []string, err error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, nil, err
	}
	for node, id := range t.tree.logDirs {
		brokers, nodes = append(brokers, id), append(nodes, node)
	}
	return brokers, nodes, nil
}

// RemoveLogDirEvents implements controller.Store.
func (t *Term) RemoveLogDirEvents(ctx context.Context, nodes []string) error {
	return t.one(ctx, func() error {
		for _, node := range nodes {
			delete(t.tree.logDirs, node)
		}
		return nil
	})
}

// WantedElections implements controller.Store.
func (t *Term) WantedElections(ctx context.Context) ([]cluster.TopicPartition, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return slices.Clone(t.tree.elections), nil
}

// RemoveWantedElections implements controller.Store.
func (t *Term) RemoveWantedElections(ctx context.Context) error {
	return t.one(ctx, func() error {
		t.tree.elections = nil
		t.tree.changed(cluster.Change{Kind: cluster.ElectionsChanged})
		return nil
	})
}

// WantedReassignments implements controller.Store.
func (t *Term) WantedReassignments(ctx context.Context) (map[cluster.TopicPartition][]int32, error) {
	unlock, err := t.read(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return maps.Clone(t.tree.moves), nil
}

// SetWantedReassignments implements controller.Store.
func (t *Term) SetWantedReassignments(ctx context.Context, wanted map[cluster.TopicPartition][]int32) error {
	return t.one(ctx, func() error {
		t.tree.moves = maps.Clone(wanted)
		t.tree.changed(cluster.Change{Kind: cluster.ReassignmentsChanged})
		return nil
	})
}

// NextProducerIDs implements controller.Store.
func (t *Term) NextProducerIDs(ctx context.Context, _ int32) (first, count int64, err error) {
	err = t.one(ctx, func() error {
		first, count = t.tree.producers, 1000
		t.tree.producers += count
		return nil
	})
	return first, count, err
}

func inOrder[V any](m map[cluster.TopicPartition]V) []cluster.TopicPartition {
	return slices.SortedFunc(maps.Keys(m), func(a, b cluster.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
	})
}
