package api

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

func TestDeleteRecords(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.fill(t, "press", 0, batch(10, 5, 0))
	for _, step := range []struct {
		name   string
		topic  string
		index  int32
		offset int64
		want   int64 // low watermark
		code   wire.ErrorCode
	}{
		{"some", "press", 0, 3, 3, wire.None},
		{"again", "press", 0, 2, 3, wire.None},
		{"pastTheEnd", "press", 0, 11, -1, wire.OffsetOutOfRange},
		{"negative", "press", 0, -2, -1, wire.OffsetOutOfRange},
		{"unknown", "none", 0, 1, -1, wire.UnknownTopicOrPartition},
		{"internal", "__consumer_offsets", 0, 1, -1, wire.InvalidTopic},
		{"all", "press", 0, -1, 10, wire.None},
	} {
		part := kmsg.NewDeleteRecordsRequestTopicPartition()
		part.Partition, part.Offset = step.index, step.offset
		topic := kmsg.NewDeleteRecordsRequestTopic()
		topic.Topic, topic.Partitions = step.topic, append(topic.Partitions, part)
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Topics = append(req.Topics, topic)
		resp := b.api.deleteRecords(t.Context(), req).(*kmsg.DeleteRecordsResponse)
		got := resp.Topics[0].Partitions[0]
		if got.LowWatermark != step.want || code(got.ErrorCode) != step.code || got.Partition != step.index {
			t.Errorf("%s: low watermark %d, %v; want %d, %v", step.name, got.LowWatermark, code(got.ErrorCode), step.want, step.code)
		}
	}
	b.partition("press", 0).leaderEpoch = -1
	if _, err := b.api.deleteBefore("press", 0, 5); !errors.Is(err, partition.ErrNotLeader) {
		t.Errorf("not the leader: %v", err)
	}
}
