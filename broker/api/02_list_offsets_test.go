package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

func listRequest(topic string, index int32, timestamp int64) *kmsg.ListOffsetsRequest {
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = index, timestamp
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.ListOffsetsRequestTopicPartition{p}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = -1, []kmsg.ListOffsetsRequestTopic{t}
	return req
}

func TestListOffsets(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.fill(t, "press", 0, batch(3, 1, 1000), batch(3, 1, 5000), batch(3, 1, 3000)) // 1000 to 1020, 5000 to 5020, 3000 to 3020
	p := b.partition("press", 0)
	p.logStart, p.hold = 1, true
	p.Append(batch(1, 1, 9)) // not durable
	c := b.dial(t)
	for name, tc := range map[string]struct {
		index     int32
		timestamp int64
		epoch     int32
		since     int16 // the first version that is asked
		want      kmsg.ListOffsetsResponseTopicPartition
	}{
		"latest":           {0, -1, -1, 1, kmsg.ListOffsetsResponseTopicPartition{Offset: 9, Timestamp: -1, LeaderEpoch: 1}},
		"earliest":         {0, -2, -1, 1, kmsg.ListOffsetsResponseTopicPartition{Offset: 1, Timestamp: -1, LeaderEpoch: 1}},
		"exact":            {0, 1010, -1, 1, kmsg.ListOffsetsResponseTopicPartition{Offset: 1, Timestamp: 1010, LeaderEpoch: 1}},
		"between":          {0, 1011, 1, 1, kmsg.ListOffsetsResponseTopicPartition{Offset: 2, Timestamp: 1020, LeaderEpoch: 1}},
		"afterAll":         {0, 6000, -1, 1, kmsg.ListOffsetsResponseTopicPartition{Offset: -1, Timestamp: -1, LeaderEpoch: -1}},
		"maxTimestamp":     {0, -3, -1, 7, kmsg.ListOffsetsResponseTopicPartition{Offset: 5, Timestamp: 5020, LeaderEpoch: 1}},
		"maxOfEmpty":       {1, -3, -1, 7, kmsg.ListOffsetsResponseTopicPartition{Offset: -1, Timestamp: -1, LeaderEpoch: -1}},
		"latestOfEmpty":    {1, -1, -1, 1, kmsg.ListOffsetsResponseTopicPartition{Offset: 0, Timestamp: -1, LeaderEpoch: 1}},
		"unknownPartition": {2, -1, -1, 1, kmsg.ListOffsetsResponseTopicPartition{ErrorCode: int16(wire.UnknownTopicOrPartition), Offset: -1, Timestamp: -1, LeaderEpoch: -1}},
		"fenced":           {0, -1, 0, 4, kmsg.ListOffsetsResponseTopicPartition{ErrorCode: int16(wire.FencedLeaderEpoch), Offset: -1, Timestamp: -1, LeaderEpoch: -1}},
		"unknownEpoch":     {0, -1, 2, 4, kmsg.ListOffsetsResponseTopicPartition{ErrorCode: int16(wire.UnknownLeaderEpoch), Offset: -1, Timestamp: -1, LeaderEpoch: -1}},
		"earliestHere":     {0, -4, -1, 8, kmsg.ListOffsetsResponseTopicPartition{Offset: 1, Timestamp: -1, LeaderEpoch: 1}},
		"latestRemote":     {0, -5, -1, 9, kmsg.ListOffsetsResponseTopicPartition{Offset: -1, Timestamp: -1, LeaderEpoch: -1}},
		"unknownQuery":     {0, -6, -1, 1, kmsg.ListOffsetsResponseTopicPartition{ErrorCode: int16(wire.UnsupportedVersion), Offset: -1, Timestamp: -1, LeaderEpoch: -1}},
	} {
		for version := tc.since; version <= 10; version++ {
			req := listRequest("press", tc.index, tc.timestamp)
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = tc.epoch
			got := call[*kmsg.ListOffsetsResponse](t, c, req, version).Topics[0].Partitions[0]
			want := tc.want
			want.Partition = tc.index
			if version < 4 {
				want.LeaderEpoch = -1
			}
			if got.Partition != want.Partition || got.ErrorCode != want.ErrorCode || got.Offset != want.Offset || got.Timestamp != want.Timestamp || got.LeaderEpoch != want.LeaderEpoch {
				t.Errorf("%s, version %d: %+v, want %+v", name, version, got, want)
			}
		}
	}
}

// Some places can be asked for from a version on.
func TestListOffsetsTooEarly(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 1, nil)
	c := b.dial(t)
	for timestamp, since := range map[int64]int16{-3: 7, -4: 8, -5: 9} {
		for version := int16(1); version < since; version++ {
			got := call[*kmsg.ListOffsetsResponse](t, c, listRequest("press", 0, timestamp), version).Topics[0].Partitions[0]
			if code(got.ErrorCode) != wire.UnsupportedVersion || got.Offset != -1 {
				t.Errorf("timestamp %d in version %d: %v, offset %d; want %v, -1", timestamp, version, code(got.ErrorCode), got.Offset, wire.UnsupportedVersion)
			}
		}
	}
}

// The latest timestamp is found wherever it is, also at the far end of time.
func TestLatestTimestamp(t *testing.T) {
	for name, tc := range map[string]struct {
		times  []int64 // of batches of one record
		offset int64
	}{
		"ordered":   {[]int64{10, 20, 30, 1 << 40}, 3},
		"first":     {[]int64{1 << 50, 20, 30}, 0},
		"tie":       {[]int64{5, 7, 7}, 1},
		"one":       {[]int64{0}, 0},
		"endOfTime": {[]int64{4, 1<<63 - 1, 9}, 1},
		"almost":    {[]int64{4, 9, 1<<63 - 2}, 2},
	} {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		for _, at := range tc.times {
			b.fill(t, "press", 0, batch(1, 1, at))
		}
		offset, at, found, err := latestTimestamp(b.partition("press", 0))
		if !found || err != nil || offset != tc.offset || at != tc.times[tc.offset] {
			t.Errorf("%s: offset %d at %d, %v, %v; want %d at %d", name, offset, at, found, err, tc.offset, tc.times[tc.offset])
		}
	}
}
