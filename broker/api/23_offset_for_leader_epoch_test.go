package api

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

func epochRequest(topic string, index, current, epoch int32) *kmsg.OffsetForLeaderEpochRequest {
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = index, current, epoch
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID, req.Topics = -1, []kmsg.OffsetForLeaderEpochRequestTopic{t}
	return req
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.fill(t, "press", 0, batch(3, 1, 1000))
	b.partition("press", 0).leaderEpoch = 4
	b.fill(t, "press", 0, batch(2, 1, 2000))
	b.partition("press", 1).leaderEpoch = -1
	c := b.dial(t)
	for name, tc := range map[string]struct {
		topic          string
		index          int32
		current, epoch int32
		since          int16 // the first version that can ask
		wantEpoch      int32
		wantEnd        int64
		code           wire.ErrorCode
	}{
		"earlier":      {"press", 0, -1, 1, 0, 1, 3, wire.None},
		"between":      {"press", 0, -1, 3, 0, 1, 3, wire.None},
		"current":      {"press", 0, 4, 4, 0, 4, 5, wire.None},
		"later":        {"press", 0, 4, 5, 0, -1, -1, wire.None},
		"none":         {"press", 0, -1, -1, 0, -1, -1, wire.None},
		"fenced":       {"press", 0, 3, 1, 2, -1, -1, wire.FencedLeaderEpoch},
		"unknownEpoch": {"press", 0, 5, 1, 2, -1, -1, wire.UnknownLeaderEpoch},
		"notLeader":    {"press", 1, -1, 1, 0, -1, -1, wire.NotLeaderOrFollower},
		"unknown":      {"none", 0, -1, 1, 0, -1, -1, wire.UnknownTopicOrPartition},
	} {
		for version := tc.since; version <= 4; version++ {
			got := call[*kmsg.OffsetForLeaderEpochResponse](t, c, epochRequest(tc.topic, tc.index, tc.current, tc.epoch), version).Topics[0].Partitions[0]
			wantEpoch := tc.wantEpoch
			if version < 1 {
				wantEpoch = -1 // not in the answer
			}
			if got.Partition != tc.index || got.LeaderEpoch != wantEpoch || got.EndOffset != tc.wantEnd || code(got.ErrorCode) != tc.code {
				t.Errorf("%s, version %d: partition %d, epoch %d ends at %d, %v; want epoch %d to end at %d, %v",
					name, version, got.Partition, got.LeaderEpoch, got.EndOffset, code(got.ErrorCode), wantEpoch, tc.wantEnd, tc.code)
			}
		}
	}
	b.partition("press", 0).failRead = errors.New("what the disk says")
	if got := call[*kmsg.OffsetForLeaderEpochResponse](t, c, epochRequest("press", 0, -1, 1), 4).Topics[0].Partitions[0]; got.EndOffset != -1 || got.LeaderEpoch != -1 || code(got.ErrorCode) != wire.UnknownServerError {
		t.Errorf("a disk that fails: %+v", got)
	}
}
