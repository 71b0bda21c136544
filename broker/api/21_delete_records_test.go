package api

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

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
	if d := b.api.deleteBefore("press", 0, 5); !errors.Is(d.err, partition.ErrNotLeader) {
		t.Errorf("not the leader: %v", d.err)
	}
}

// The answer waits until all live replicas have deleted the records, for as long as
// the client allows; who leads no longer says so.
func TestDeleteRecordsEverywhere(t *testing.T) {
	for name, tc := range map[string]struct {
		then func(*memPartition) // after a second
		took time.Duration
		low  int64
		code wire.ErrorCode
	}{
		"others":    {func(p *memPartition) { p.others.keep = 0 }, time.Second, 3, wire.None},
		"notAll":    {func(p *memPartition) { p.others.keep = 1 }, 5 * time.Second, 2, wire.RequestTimedOut},
		"notLeader": {func(p *memPartition) { p.leaderEpoch = -1 }, time.Second, -1, wire.NotLeaderOrFollower},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t)
				b.create(t, "press", 2, nil)
				b.fill(t, "press", 0, batch(10, 5, 0))
				b.fill(t, "press", 1, batch(10, 5, 0))
				p := b.partition("press", 0)
				p.others.keep = 3
				req := kmsg.NewPtrDeleteRecordsRequest()
				req.TimeoutMillis = 5000
				topic := kmsg.NewDeleteRecordsRequestTopic()
				topic.Topic = "press"
				for index := range int32(2) {
					part := kmsg.NewDeleteRecordsRequestTopicPartition()
					part.Partition, part.Offset = index, 3
					topic.Partitions = append(topic.Partitions, part)
				}
				req.Topics = append(req.Topics, topic)
				time.AfterFunc(time.Second, func() {
					p.mu.Lock()
					defer p.mu.Unlock()
					tc.then(p)
					for w := range p.watchers {
						w <- struct{}{}
					}
				})
				start := time.Now()
				resp := b.api.deleteRecords(t.Context(), req).(*kmsg.DeleteRecordsResponse)
				got, other := resp.Topics[0].Partitions[0], resp.Topics[0].Partitions[1]
				if got.LowWatermark != tc.low || code(got.ErrorCode) != tc.code || time.Since(start) != tc.took {
					t.Errorf("low watermark %d, %v after %v", got.LowWatermark, code(got.ErrorCode), time.Since(start))
				}
				if other.Partition != 1 || other.LowWatermark != 3 || other.ErrorCode != 0 {
					t.Errorf("the other partition: %+v", other)
				}
				if len(p.watchers) > 0 {
					t.Errorf("%d watch on", len(p.watchers))
				}
			})
		})
	}
}
