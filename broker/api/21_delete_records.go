package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/topic"
)

// toHighWatermark is the offset that asks for all records to go.
const toHighWatermark = -1

// deleteRecords moves the start of each partition's log up to the offset that the
// request names. A partition's failure is that partition's error code.
func (a *API) deleteRecords(_ context.Context, req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := kmsg.NewPtrDeleteRecordsResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = t.Topic
		for _, part := range t.Partitions {
			out := kmsg.NewDeleteRecordsResponseTopicPartition()
			out.Partition = part.Partition
			start, err := a.deleteBefore(t.Topic, part.Partition, part.Offset)
			if err != nil {
				start = -1
			}
			out.LowWatermark, out.ErrorCode = start, int16(a.code(err))
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (a *API) deleteBefore(name string, index int32, offset int64) (logStartOffset int64, err error) {
	if topic.Internal(name) {
		return -1, fmt.Errorf("%w: %s", topic.ErrInternal, name)
	}
	p, err := a.partitions.Get(name, index)
	if err != nil {
		return -1, err
	}
	if p.LeaderEpoch() < 0 {
		return -1, fmt.Errorf("%.60s-%d: %w", name, index, partition.ErrNotLeader)
	}
	if offset == toHighWatermark {
		_, offset = p.Offsets()
	}
	if offset < 0 {
		return -1, fmt.Errorf("%w: %d", commitlog.ErrOffsetOutOfRange, offset)
	}
	return p.DeleteBefore(offset)
}
