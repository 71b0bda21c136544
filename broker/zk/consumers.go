package zk

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/headwater/headwater/broker/cluster"
)

// What OffsetCommit and OffsetFetch of version 0 mean:
// /consumers/<group>/offsets/<topic>/<partition>, the next offset to read as decimal
// text.

func offsetsPath(group string) string { return consumersPath + "/" + group + "/offsets" }

func offsetPath(group string, tp cluster.TopicPartition) (string, error) {
	for _, name := range []string{group, tp.Topic} {
		if err := checkName(name); err != nil {
			return "", err
		}
	}
	return offsetsPath(group) + "/" + tp.Topic + "/" + strconv.Itoa(int(tp.Index)), nil
}

func decodeOffset(path string, data []byte) (int64, error) {
	offset, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, malformed(path, fmt.Sprintf("offset %q", data))
	}
	return offset, nil
}

// Offset reads the offset of a group in a partition, if it has one.
func (s *Session) Offset(ctx context.Context, group string, tp cluster.TopicPartition, w *Watch) (offset int64, ok bool, err error) {
	path, err := offsetPath(group, tp)
	if err != nil {
		return 0, false, err
	}
	n, found, err := s.find(ctx, path, w)
	if err != nil || !found {
		return 0, false, err
	}
	offset, err = decodeOffset(path, n.data)
	return offset, err == nil, err
}

// SetOffset writes the offset of a group in a partition.
func (s *Session) SetOffset(ctx context.Context, group string, tp cluster.TopicPartition, offset int64) error {
	p, err := offsetPath(group, tp)
	if err != nil {
		return err
	}
	data := strconv.AppendInt(nil, offset, 10)
	for range maxTries {
		if _, err = s.set(ctx, p, data, anyVersion); !isNoNode(err) {
			return err
		}
		if err = s.ensure(ctx, path.Dir(p)); err != nil {
			return err
		}
		if err = s.create(ctx, p, data); !isNodeExists(err) && !isNoNode(err) {
			return err
		}
	}
	return err
}

// Offsets reads all offsets of a group. With a watch, changes of them are told; new
// ones too, unless they are of the group's first topic.
func (s *Session) Offsets(ctx context.Context, group string, w *Watch) (map[cluster.TopicPartition]int64, error) {
	if err := checkName(group); err != nil {
		return nil, err
	}
	offsets := map[cluster.TopicPartition]int64{}
	topics, err := s.children(ctx, offsetsPath(group), w)
	if isNoNode(err) {
		return offsets, nil
	}
	for _, topic := range topics {
		if err := s.offsetsOf(ctx, group, topic, w, offsets); err != nil {
			return nil, err
		}
	}
	return offsets, err
}

func (s *Session) offsetsOf(ctx context.Context, group, topic string, w *Watch, into map[cluster.TopicPartition]int64) error {
	dir := offsetsPath(group) + "/" + topic
	indexes, err := s.children(ctx, dir, w)
	if isNoNode(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var mu sync.Mutex
	return each(ctx, len(indexes), func(ctx context.Context, i int) error {
		path := dir + "/" + indexes[i]
		index, err := strconv.ParseInt(indexes[i], 10, 32)
		if err != nil || index < 0 {
			return nil // not a partition
		}
		n, err := s.get(ctx, path, w)
		if err != nil {
			if isNoNode(err) {
				return nil
			}
			return err
		}
		offset, err := decodeOffset(path, n.data)
		if err != nil {
			s.log.Warn("offset left unread", "err", err)
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		into[cluster.TopicPartition{Topic: topic, Index: int32(index)}] = offset
		return nil
	})
}

// Groups lists the groups that have something in ZooKeeper, sorted.
func (s *Session) Groups(ctx context.Context) ([]string, error) {
	names, err := s.children(ctx, consumersPath, nil)
	slices.Sort(names)
	return names, err
}

// DeleteOffsets removes the offsets of a group. What else there is of it stays.
func (s *Session) DeleteOffsets(ctx context.Context, group string) error {
	offsets, err := s.Offsets(ctx, group, nil)
	if err != nil {
		return err
	}
	for tp := range offsets {
		p, err := offsetPath(group, tp)
		if err != nil {
			return err
		}
		if err := s.remove(ctx, p, anyVersion); err != nil {
			return err
		}
	}
	return nil
}
