package api

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

func pageRequest(limit int32, names ...string) *kmsg.DescribeTopicPartitionsRequest {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = limit
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	return req
}

func from(req *kmsg.DescribeTopicPartitionsRequest, name string, partition int32) *kmsg.DescribeTopicPartitionsRequest {
	c := kmsg.NewDescribeTopicPartitionsRequestCursor()
	c.Topic, c.Partition = name, partition
	req.Cursor = &c
	return req
}

// page writes an answer as "name:0,1" or "name:CODE", and where the next begins.
func page(resp *kmsg.DescribeTopicPartitionsResponse) (out string) {
	for _, t := range resp.Topics {
		if t.ErrorCode != 0 {
			out += fmt.Sprintf("%s:%v ", *t.Topic, code(t.ErrorCode))
			continue
		}
		var partitions []int32
		for _, p := range t.Partitions {
			partitions = append(partitions, p.Partition)
		}
		out += fmt.Sprintf("%s:%v ", *t.Topic, partitions)
	}
	if c := resp.NextCursor; c != nil {
		out += fmt.Sprintf("next %s-%d", c.Topic, c.Partition)
	}
	return out
}

func TestDescribeTopicPartitions(t *testing.T) {
	b := newBox(t)
	press := b.create(t, "press", 3, nil)
	b.create(t, "pump", 2, nil)
	b.create(t, "__consumer_offsets", 1, nil)
	c := b.dial(t)
	for name, tc := range map[string]struct {
		req  *kmsg.DescribeTopicPartitionsRequest
		want string
	}{
		"all":             {pageRequest(2000), "__consumer_offsets:[0] press:[0 1 2] pump:[0 1] "},
		"sorted":          {pageRequest(2000, "pump", "press", "pump"), "press:[0 1 2] pump:[0 1] "},
		"unknown":         {pageRequest(2000, "none", "press", "b/ad"), "b/ad:INVALID_TOPIC_EXCEPTION none:UNKNOWN_TOPIC_OR_PARTITION press:[0 1 2] "},
		"first page":      {pageRequest(2), "__consumer_offsets:[0] press:[0] next press-1"},
		"next page":       {from(pageRequest(2), "press", 1), "press:[1 2] next pump-0"},
		"last page":       {from(pageRequest(2), "pump", 0), "pump:[0 1] "},
		"at the end":      {from(pageRequest(2), "pump", 2), "pump:[] "},
		"past the end":    {from(pageRequest(2), "press", 9), "press:[] pump:[0 1] "},
		"topic is gone":   {from(pageRequest(9), "pa", 1), "press:[0 1 2] pump:[0 1] "},
		"no limit":        {pageRequest(0, "press"), "press:[0] next press-1"},
		"negative limit":  {pageRequest(-5, "press"), "press:[0] next press-1"},
		"cursor unasked":  {from(pageRequest(9, "press"), "pump", 0), "press:INVALID_REQUEST "},
		"cursor negative": {from(pageRequest(9, "press"), "press", -1), "press:INVALID_REQUEST "},
	} {
		if got := page(call[*kmsg.DescribeTopicPartitionsResponse](t, c, tc.req, 0)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	resp := call[*kmsg.DescribeTopicPartitionsResponse](t, c, pageRequest(9, "press", "__consumer_offsets"), 0)
	got := resp.Topics[1]
	p := got.Partitions[2]
	if got.TopicID != press.ID || got.IsInternal || !resp.Topics[0].IsInternal || got.AuthorizedOperations != topicOperations {
		t.Errorf("%+v", got)
	}
	if p.LeaderID != 7 || p.LeaderEpoch != press.Partitions[2].LeaderEpoch || !slices.Equal(p.Replicas, []int32{7}) || !slices.Equal(p.ISR, []int32{7}) || len(p.OfflineReplicas) != 0 || p.ErrorCode != int16(wire.None) {
		t.Errorf("%+v", p)
	}
}

// Pages that follow each other's cursors show every partition once, however small
// they are.
func TestDescribeTopicPartitionsPages(t *testing.T) {
	b := newBox(t)
	for i, name := range []string{"a", "b", "c", "d"} {
		b.create(t, name, int32(i+1), nil)
	}
	c := b.dial(t)
	const want = "a-0 b-0 b-1 c-0 c-1 c-2 d-0 d-1 d-2 d-3 "
	for limit := int32(1); limit <= 11; limit++ {
		req, got := pageRequest(limit), ""
		for pages := 0; ; pages++ {
			resp := call[*kmsg.DescribeTopicPartitionsResponse](t, c, req, 0)
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					got += fmt.Sprintf("%s-%d ", *t.Topic, p.Partition)
				}
			}
			if resp.NextCursor == nil || pages > 20 {
				break
			}
			req = from(pageRequest(limit), resp.NextCursor.Topic, resp.NextCursor.Partition)
		}
		if got != want {
			t.Errorf("%d at a time: %s, want %s", limit, got, want)
		}
	}
}
