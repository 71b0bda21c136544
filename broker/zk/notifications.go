package zk

import (
	"context"
	"errors"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
)

// partitionsJSON is how lists of partitions stand in several nodes.
type partitionsJSON struct {
	Version    int32           `json:"version"`
	Partitions []partitionJSON `json:"partitions"`
}

type partitionJSON struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func encodePartitions(of []cluster.TopicPartition) []byte {
	j := partitionsJSON{Version: 1, Partitions: []partitionJSON{}}
	for _, tp := range of {
		j.Partitions = append(j.Partitions, partitionJSON{tp.Topic, tp.Index})
	}
	return encode(j)
}

func decodePartitions(path string, data []byte) (of []cluster.TopicPartition, err error) {
	var j partitionsJSON
	if err := decode(path, data, &j); err != nil {
		return nil, err
	}
	for _, p := range j.Partitions {
		of = append(of, cluster.TopicPartition{Topic: p.Topic, Index: p.Partition})
	}
	return of, nil
}

// logDirEventJSON is /log_dir_event_notification/log_dir_event_N.
type logDirEventJSON struct {
	Version int32 `json:"version"`
	Broker  int32 `json:"broker"`
	Event   int32 `json:"event"` // 1: a directory has failed
}

const (
	isrNotification = isrNotificationsPath + "/isr_change_"
	logDirEvent     = logDirEventsPath + "/log_dir_event_"

	// maxNotifiedPartitions keeps one notification well below a node's size.
	maxNotifiedPartitions = 2000
)

// NotifyISR tells the controller that a leader has written states itself.
func (s *Session) NotifyISR(ctx context.Context, of []cluster.TopicPartition) error {
	for part := range slices.Chunk(of, maxNotifiedPartitions) {
		if err := s.append(ctx, isrNotification, encodePartitions(part)); err != nil {
			return err
		}
	}
	return nil
}

// NotifyLogDirFailure tells the controller that a disk of the broker has failed.
func (s *Session) NotifyLogDirFailure(ctx context.Context, brokerID int32) error {
	return s.append(ctx, logDirEvent, encode(logDirEventJSON{1, brokerID, 1}))
}

// notes reads the children of a directory that others leave notes in, in the order
// they were left. A note that is malformed for read is logged, and listed all the
// same: it is to be removed with the others.
func (s *Session) notes(ctx context.Context, dir string, w *Watch, read func(path string, n node) error) (names []string, err error) {
	names, err = s.children(ctx, dir, w)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	nodes := make([]*node, len(names))
	err = each(ctx, len(names), func(ctx context.Context, i int) error {
		n, found, err := s.find(ctx, dir+"/"+names[i], nil)
		if found {
			nodes[i] = &n
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if n == nil {
			continue
		}
		if err := read(dir+"/"+names[i], *n); err != nil {
			if !errors.Is(err, ErrMalformed) {
				return nil, err
			}
			s.log.Warn("note left unread", "err", err)
		}
	}
	return names, nil
}
