package api

import (
	"context"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
)

// Timestamps that stand for a place in the log.
const (
	latest       = -1 // the high watermark
	earliest     = -2 // the log start offset
	maxTimestamp = -3 // the record with the latest timestamp, from version 7
	earliestHere = -4 // the first record that is not in remote storage, from version 8
	latestRemote = -5 // the last record that is, from version 9
)

// listOffsets finds offsets by time, one by one. Transactions would make the last
// stable offset differ from the high watermark; there are none, so the isolation
// level makes no difference.
func (a *API) listOffsets(_ context.Context, req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := kmsg.NewPtrListOffsetsResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			out := kmsg.NewListOffsetsResponseTopicPartition() // offset, timestamp and epoch -1
			out.Partition = p.Partition
			if err := a.listOffset(req.Version, req.ReplicaID >= 0, t.Topic, p, &out); err != nil {
				out.ErrorCode = int16(a.code(err))
			}
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (a *API) listOffset(version int16, replica bool, topic string, p kmsg.ListOffsetsRequestTopicPartition, out *kmsg.ListOffsetsResponseTopicPartition) error {
	from, err := a.partitions.Get(topic, p.Partition)
	if err != nil {
		return err
	}
	if err := checkEpoch(from, p.CurrentLeaderEpoch); err != nil {
		return err
	}
	leaderEpoch := from.LeaderEpoch()
	if leaderEpoch < 0 {
		return fmt.Errorf("%.60s-%d: %w", topic, p.Partition, partition.ErrNotLeader)
	}
	logStartOffset, _ := from.Offsets()
	found := true
	switch {
	case p.Timestamp == latest && replica: // what a follower can have
		out.Offset = from.Durable()
	case p.Timestamp == latest:
		out.Offset, err = from.LatestOffset()
	case p.Timestamp == earliest:
		out.Offset = logStartOffset
	case p.Timestamp == earliestHere && version >= 8: // there is no remote storage
		out.Offset = logStartOffset
	case p.Timestamp == latestRemote && version >= 9:
		found = false
	case p.Timestamp == maxTimestamp && version >= 7:
		out.Offset, out.Timestamp, found, err = latestTimestamp(from)
	case p.Timestamp < 0:
		return fmt.Errorf("timestamp %d: %w", p.Timestamp, errUnsupportedQuery)
	default:
		out.Offset, out.Timestamp, found, err = from.OffsetForTime(p.Timestamp)
	}
	if err != nil || !found {
		out.Offset, out.Timestamp = -1, -1
		return err
	}
	out.LeaderEpoch = leaderEpoch
	return nil
}

// latestTimestamp finds the first record with the latest timestamp. A partition
// can only be asked for the first record at or after a time, so this narrows the
// time down: some ten questions for records in the order of their times, at most
// twice 63.
func latestTimestamp(p Partition) (offset, at int64, found bool, err error) {
	offset, at, found, err = p.OffsetForTime(0)
	if err != nil || !found {
		return -1, -1, false, err
	}
	step, none := int64(1), int64(math.MaxInt64) // no record is at or after none
	for at < none-1 {
		probe := none - (none-at)/2
		if step < none-at {
			probe = at + step
		}
		o, t, later, err := p.OffsetForTime(probe)
		switch {
		case err != nil:
			return -1, -1, false, err
		case later:
			offset, at = o, t
			step = min(step, math.MaxInt64/2) * 2
		default:
			none = probe
		}
	}
	return offset, at, true, nil
}
