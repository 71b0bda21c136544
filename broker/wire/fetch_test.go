package wire

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The answer done by hand is, byte for byte, the one that kmsg encodes.
func TestFetchResponseFrames(t *testing.T) {
	long := bytes.Repeat([]byte("long"), copied)
	parts := []FetchedPartition{
		{Index: 0, HighWatermark: 9, LogStartOffset: 2, Records: [][]byte{[]byte("short"), long, long[:100]}},
		{Index: 1, Code: OffsetOutOfRange, HighWatermark: -1, LogStartOffset: -1},
		{Index: 2, HighWatermark: 70, Records: [][]byte{long}},
	}
	for version := int16(4); version <= 16; version++ {
		resp := &FetchResponse{Version: version, Code: FetchSessionIDNotFound, SessionID: 5}
		resp.Topics = []FetchedTopic{{Topic: "a", ID: [16]byte{1}, Partitions: parts}, {Topic: "b", ID: [16]byte{2}}}

		want := AppendResponse(nil, 77, kmsgFetch(resp))
		if got := bytes.Join(resp.Frames(77), nil); !bytes.Equal(got, want) {
			t.Errorf("version %d: got %x, want %x", version, got, want)
		}
	}
}

// Batches go to the connection from where they were read.
func TestFetchResponseDoesNotCopyRecords(t *testing.T) {
	records := make([]byte, copied+1)
	resp := FetchResponse{Version: 12, Topics: []FetchedTopic{{Partitions: []FetchedPartition{{Records: [][]byte{records}}}}}}
	for _, piece := range resp.Frames(1) {
		if &piece[0] == &records[0] {
			return
		}
	}
	t.Error("the records are not among the pieces")
}

func kmsgFetch(r *FetchResponse) *kmsg.FetchResponse {
	out := kmsg.NewPtrFetchResponse()
	out.Version, out.ErrorCode, out.SessionID = r.Version, int16(r.Code), r.SessionID
	for _, t := range r.Topics {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.ID
		for _, p := range t.Partitions {
			part := kmsg.NewFetchResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Index, int16(p.Code)
			part.HighWatermark, part.LastStableOffset, part.LogStartOffset = p.HighWatermark, p.HighWatermark, p.LogStartOffset
			part.RecordBatches = append([]byte{}, bytes.Join(p.Records, nil)...)
			topic.Partitions = append(topic.Partitions, part)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}
