package zk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
)

// What the controller reads and writes of brokers, topics and partitions.

// Brokers lists the brokers that are registered, by id.
func (t *Term) Brokers(ctx context.Context) ([]cluster.Registration, error) {
	return t.s.Brokers(ctx, t.watch(cluster.Change{Kind: cluster.BrokersChanged}))
}

// Topics lists the topics, sorted.
func (t *Term) Topics(ctx context.Context) ([]string, error) {
	return t.s.Topics(ctx, t.watch(cluster.Change{Kind: cluster.TopicsChanged}))
}

// Topic reads where the partitions of a topic are to be.
func (t *Term) Topic(ctx context.Context, name string) (cluster.TopicAssignment, error) {
	change := cluster.Change{Kind: cluster.TopicChanged, Topic: name}
	a, err := t.s.Topic(ctx, name, t.watch(change))
	if errors.Is(err, cluster.ErrUnknownTopic) {
		t.forget(change)
	}
	return a, err
}

// SetTopic writes a topic that has the version of a, and returns its new version.
func (t *Term) SetTopic(ctx context.Context, name string, a cluster.TopicAssignment) (version int32, err error) {
	version, err = t.set(ctx, topicPath(name), encodeTopic(a), a.Version)
	switch {
	case isBadVersion(err):
		return 0, fmt.Errorf("%s: %w", name, cluster.ErrVersion)
	case isNoNode(err):
		return 0, fmt.Errorf("%s: %w", name, cluster.ErrUnknownTopic)
	}
	return version, err
}

// TopicConfig reads the settings of a topic.
func (t *Term) TopicConfig(ctx context.Context, name string) (map[string]string, error) {
	config, _, err := t.s.Config(ctx, TopicEntity(name), nil)
	return config, err
}

// BrokerDefaults reads the settings that all brokers share.
func (t *Term) BrokerDefaults(ctx context.Context) (map[string]string, error) {
	config, _, err := t.s.Config(ctx, BrokerDefaults, nil)
	return config, err
}

// States reads who leads the partitions, of those that have a state.
func (t *Term) States(ctx context.Context, of []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.PartitionState, error) {
	return t.s.States(ctx, of)
}

// CreateStates makes the nodes of partitions. One that has a state fails with
// cluster.ErrVersion, and alone.
func (t *Term) CreateStates(ctx context.Context, states map[cluster.TopicPartition]cluster.PartitionState) (failed map[cluster.TopicPartition]error, err error) {
	topics := map[string]struct{}{}
	for tp := range states {
		topics[tp.Topic] = struct{}{}
	}
	dirs := slices.Collect(maps.Keys(topics))
	err = each(ctx, len(dirs), func(ctx context.Context, i int) error {
		err := t.create(ctx, partitionsPath(dirs[i]))
		if isNoNode(err) { // the topic is gone, and each of its states fails below
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	_, failed, err = t.eachState(ctx, states, t.createState)
	return failed, err
}

func (t *Term) createState(ctx context.Context, tp cluster.TopicPartition, st cluster.PartitionState) (int32, error) {
	data := encodeState(st)
	create := func(path string, data []byte) any {
		return &zk.CreateRequest{Path: t.s.at(path), Data: data, Acl: t.s.acl(path)}
	}
	landed := func(ctx context.Context) (bool, error) {
		n, found, err := t.s.find(ctx, statePath(tp), nil)
		return found && bytes.Equal(n.data, data), err
	}
	ops := []any{create(partitionPath(tp), nil), create(statePath(tp), data)}
	err := t.write(ctx, "create "+statePath(tp), landed, ops...)
	if refused(err) == 0 && isNodeExists(err) { // its directory is there, its state is not perhaps
		err = t.write(ctx, "create "+statePath(tp), landed, ops[1])
	}
	return 0, err
}

// SetStates writes each state over its partition epoch and returns the new ones. One
// that has another epoch fails with cluster.ErrVersion, and alone.
func (t *Term) SetStates(ctx context.Context, states map[cluster.TopicPartition]cluster.PartitionState) (versions map[cluster.TopicPartition]int32, failed map[cluster.TopicPartition]error, err error) {
	return t.eachState(ctx, states, func(ctx context.Context, tp cluster.TopicPartition, st cluster.PartitionState) (int32, error) {
		return t.set(ctx, statePath(tp), encodeState(st), st.PartitionEpoch)
	})
}

// eachState writes states, many at one time. What refuses one of them is its own; what
// refuses all, a fence or the end of the session, is returned, and others may have been
// written by then: their versions are returned all the same.
func (t *Term) eachState(ctx context.Context, states map[cluster.TopicPartition]cluster.PartitionState, write func(context.Context, cluster.TopicPartition, cluster.PartitionState) (int32, error)) (versions map[cluster.TopicPartition]int32, failed map[cluster.TopicPartition]error, err error) {
	var mu sync.Mutex
	versions, failed = map[cluster.TopicPartition]int32{}, map[cluster.TopicPartition]error{}
	all := slices.Collect(maps.Keys(states))
	err = each(ctx, len(all), func(ctx context.Context, i int) error {
		tp := all[i]
		version, err := write(ctx, tp, states[tp])
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			versions[tp] = version
		case refused(err) >= 0:
			failed[tp] = stateError(tp, err)
		default:
			return err
		}
		return nil
	})
	return versions, failed, err
}
