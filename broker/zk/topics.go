package zk

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

func topicPath(name string) string { return brokerTopicsPath + "/" + name }

// topicJSON is /brokers/topics/<topic>, version 3; version 2 has no id, and version 1
// partitions alone. The last two lists have only partitions that are being moved.
type topicJSON struct {
	Version    int32              `json:"version"`
	ID         *topic.ID          `json:"topic_id,omitempty"`
	Partitions map[string][]int32 `json:"partitions"`
	Adding     map[string][]int32 `json:"adding_replicas"`
	Removing   map[string][]int32 `json:"removing_replicas"`
}

func encodeTopic(t cluster.TopicAssignment) []byte {
	j := topicJSON{Version: 2, Partitions: map[string][]int32{}, Adding: map[string][]int32{}, Removing: map[string][]int32{}}
	if t.ID != (topic.ID{}) {
		j.Version, j.ID = 3, &t.ID
	}
	for index, a := range t.Partitions {
		key := strconv.Itoa(int(index))
		j.Partitions[key] = orEmpty(a.Replicas)
		if len(a.Adding) > 0 {
			j.Adding[key] = a.Adding
		}
		if len(a.Removing) > 0 {
			j.Removing[key] = a.Removing
		}
	}
	return encode(j)
}

// orEmpty keeps JSON from saying null.
func orEmpty(ids []int32) []int32 {
	if ids == nil {
		return []int32{}
	}
	return ids
}

func decodeTopic(path string, n node) (cluster.TopicAssignment, error) {
	var j topicJSON
	if err := decode(path, n.data, &j); err != nil {
		return cluster.TopicAssignment{}, err
	}
	t := cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{}, Version: n.version}
	if j.ID != nil {
		t.ID = *j.ID
	}
	for key, replicas := range j.Partitions {
		index, err := strconv.ParseInt(key, 10, 32)
		if err != nil || index < 0 {
			return cluster.TopicAssignment{}, malformed(path, fmt.Sprintf("partition %q", key))
		}
		t.Partitions[int32(index)] = cluster.Assignment{Replicas: replicas, Adding: j.Adding[key], Removing: j.Removing[key]}
	}
	return t, nil
}

// Topics lists the topics, sorted. A name that Kafka would not allow is left out.
func (s *Session) Topics(ctx context.Context, w *Watch) ([]string, error) {
	names, err := s.children(ctx, brokerTopicsPath, w)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return topic.ValidateName(name) != nil })
	slices.Sort(names)
	return names, nil
}

// Topic reads where the partitions of a topic are to be.
func (s *Session) Topic(ctx context.Context, name string, w *Watch) (cluster.TopicAssignment, error) {
	n, err := s.get(ctx, topicPath(name), w)
	if isNoNode(err) {
		return cluster.TopicAssignment{}, fmt.Errorf("%s: %w", name, cluster.ErrUnknownTopic)
	}
	if err != nil {
		return cluster.TopicAssignment{}, err
	}
	return decodeTopic(topicPath(name), n)
}

// CreateTopic writes a topic and its settings; the controller does the rest. All is
// written at once: of two that create the same topic, one finds it there. device is the
// broker whose device has caused it, -1 for none.
func (s *Session) CreateTopic(ctx context.Context, name string, t cluster.TopicAssignment, config map[string]string, device int32) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	kafka, ours := split(config)
	own := Own{ID: t.ID, Settings: ours, Device: device}
	path, data := topicPath(name), encodeTopic(t)
	for range maxTries {
		configOp, err := s.putConfig(ctx, TopicEntity(name), kafka, AnyVersion)
		if err != nil {
			return err
		}
		ops := []any{&zk.CreateRequest{Path: s.at(path), Data: data, Acl: s.acl(path)}, configOp}
		if len(ours) > 0 || device >= 0 {
			if ops, err = s.withOwn(ctx, ops, name, own); err != nil {
				return err
			}
		}
		_, err = s.multi(ctx, "create "+path, ops, func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
			n, found, err := s.find(ctx, path, nil)
			return nil, found && bytes.Equal(n.data, data), err
		})
		switch {
		case err == nil:
			return nil
		case refused(err) == 0 && isNodeExists(err):
			return fmt.Errorf("%s: %w", name, cluster.ErrTopicExists)
		case refused(err) < 1: // else the settings came or went meanwhile
			return err
		}
	}
	return fmt.Errorf("%s: its settings keep changing: %w", name, cluster.ErrVersion)
}

// withOwn adds what Kafka does not know of a topic to the operations that make it.
func (s *Session) withOwn(ctx context.Context, ops []any, name string, own Own) ([]any, error) {
	if err := s.ensure(ctx, ownTopicsPath); err != nil {
		return nil, err
	}
	_, version, err := s.ownOf(ctx, name) // of an earlier topic of that name, if there is something
	return append(ops, s.putOwn(name, own, version)), err
}

// AlterTopic writes where the partitions of a topic are to be, if it has the version
// of t, and returns the new version.
func (s *Session) AlterTopic(ctx context.Context, name string, t cluster.TopicAssignment) (version int32, err error) {
	version, err = s.set(ctx, topicPath(name), encodeTopic(t), t.Version)
	switch {
	case isBadVersion(err):
		return 0, fmt.Errorf("%s: %w", name, cluster.ErrVersion)
	case isNoNode(err):
		return 0, fmt.Errorf("%s: %w", name, cluster.ErrUnknownTopic)
	}
	return version, err
}
