package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
)

// offsetForLeaderEpoch tells where leader epochs end, by which a client that was
// away finds out whether what it has read is still there (KIP-320). A partition's
// failure is that partition's error code.
func (a *API) offsetForLeaderEpoch(_ context.Context, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = t.Topic
		for _, part := range t.Partitions {
			out := kmsg.NewOffsetForLeaderEpochResponseTopicPartition() // epoch and offset -1
			out.Partition = part.Partition
			epoch, endOffset, err := a.endOffsetForEpoch(t.Topic, part)
			if err != nil {
				out.ErrorCode = int16(a.code(err))
			} else {
				out.LeaderEpoch, out.EndOffset = epoch, endOffset
			}
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (a *API) endOffsetForEpoch(topic string, part kmsg.OffsetForLeaderEpochRequestTopicPartition) (foundEpoch int32, endOffset int64, err error) {
	p, err := a.partitions.Get(topic, part.Partition)
	if err != nil {
		return -1, -1, err
	}
	if p.LeaderEpoch() < 0 {
		return -1, -1, fmt.Errorf("%.60s-%d: %w", topic, part.Partition, partition.ErrNotLeader)
	}
	if err := checkEpoch(p, part.CurrentLeaderEpoch); err != nil {
		return -1, -1, err
	}
	return p.EndOffsetForEpoch(part.LeaderEpoch)
}
