package api

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// grown asks for a topic to have count partitions; assigned are the replicas of
// each new one.
func grown(name string, count int32, assigned ...[]int32) kmsg.CreatePartitionsRequestTopic {
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = name, count
	for _, replicas := range assigned {
		t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: replicas})
	}
	return t
}

func growRequest(topics ...kmsg.CreatePartitionsRequestTopic) *kmsg.CreatePartitionsRequest {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Topics = topics
	return req
}

// New partitions are in Metadata, and take records, once the answer is there.
func TestCreatePartitions(t *testing.T) {
	for version := int16(0); version <= 3; version++ {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		b.create(t, "pump", 2, nil)
		c := b.dial(t)
		req := growRequest(grown("press", 3), grown("pump", 3, []int32{7}))
		for _, dry := range []bool{true, false} {
			req.ValidateOnly = dry
			resp := call[*kmsg.CreatePartitionsResponse](t, c, req, version)
			for i, got := range resp.Topics {
				if got.Topic != req.Topics[i].Topic || got.ErrorCode != 0 || got.ErrorMessage != nil {
					t.Errorf("version %d: %+v", version, got)
				}
			}
			want := map[bool]string{true: "press:1 pump:2", false: "press:3 pump:3"}[dry]
			if got := summary(call[*kmsg.MetadataResponse](t, c, metadataRequest("press", "pump"), 9)); got != want {
				t.Errorf("version %d, dry %v: %s, want %s", version, dry, got, want)
			}
		}
		if got := produced1(t, c, "press", 2, batch(2, 10, 0)); got != 0 {
			t.Errorf("version %d: produce to a new partition: %v", version, got)
		}
	}
}

// produced1 appends one batch, and returns the code of the answer.
func produced1(t *testing.T, c *client, topic string, index int32, records []byte) wire.ErrorCode {
	t.Helper()
	resp := call[*kmsg.ProduceResponse](t, c, produceRequest(-1, topic, index, records), 9)
	return code(resp.Topics[0].Partitions[0].ErrorCode)
}

// Each topic has its own answer, and one that is refused stays as it is.
func TestCreatePartitionsRefuses(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 3, nil)
	b.create(t, "pump", 1, nil)
	b.create(t, "__consumer_offsets", 1, nil)
	c := b.dial(t)
	for name, tc := range map[string]struct {
		topic kmsg.CreatePartitionsRequestTopic
		want  wire.ErrorCode
		says  string
	}{
		"unknown":        {grown("none", 4), wire.UnknownTopicOrPartition, "none"},
		"badName":        {grown("b/ad", 4), wire.UnknownTopicOrPartition, "b/ad"},
		"fewer":          {grown("press", 2), wire.InvalidPartitions, "3"},
		"same":           {grown("press", 3), wire.InvalidPartitions, "3"},
		"none":           {grown("press", 0), wire.InvalidPartitions, "0"},
		"negative":       {grown("press", -1), wire.InvalidPartitions, "-1"},
		"tooMany":        {grown("press", 100), wire.PolicyViolation, "limit"},
		"assignedFew":    {grown("press", 5, []int32{7}), wire.InvalidReplicaAssignment, "1 are assigned"},
		"assignedMany":   {grown("press", 4, []int32{7}, []int32{7}), wire.InvalidReplicaAssignment, "2 are assigned"},
		"unknownBroker":  {grown("press", 4, []int32{8}), wire.InvalidReplicaAssignment, "8"},
		"twoReplicas":    {grown("press", 4, []int32{7, 8}), wire.InvalidReplicaAssignment, "8"},
		"noReplicas":     {grown("press", 4, []int32{}), wire.InvalidReplicaAssignment, "[]"},
		"committedStays": {grown("__consumer_offsets", 50), wire.PolicyViolation, "own"},
	} {
		req := growRequest(tc.topic, grown("pump", 2))
		req.ValidateOnly = true // of the neighbour
		resp := call[*kmsg.CreatePartitionsResponse](t, c, req, 3)
		got := resp.Topics[0]
		if code(got.ErrorCode) != tc.want || !strings.Contains(words(got.ErrorMessage), tc.says) || resp.Topics[1].ErrorCode != 0 {
			t.Errorf("%s: %v, %v; want %v with %q; the neighbour: %+v", name, code(got.ErrorCode), words(got.ErrorMessage), tc.want, tc.says, resp.Topics[1])
		}
		req.Topics, req.ValidateOnly = req.Topics[:1], false
		call[*kmsg.CreatePartitionsResponse](t, c, req, 3)
		if got, want := summary(call[*kmsg.MetadataResponse](t, c, kmsg.NewPtrMetadataRequest(), 9)), "__consumer_offsets:1 press:3 pump:1"; got != want {
			t.Errorf("%s: now %s, want %s", name, got, want)
		}
	}
	resp := call[*kmsg.CreatePartitionsResponse](t, c, growRequest(grown("press", 4), grown("pump", 2), grown("press", 5)), 3)
	if len(resp.Topics) != 2 || code(resp.Topics[0].ErrorCode) != wire.InvalidRequest || resp.Topics[1].ErrorCode != 0 {
		t.Errorf("a topic named twice: %+v", resp.Topics)
	}
	if got, want := summary(call[*kmsg.MetadataResponse](t, c, metadataRequest("press", "pump"), 9)), "press:3 pump:2"; got != want {
		t.Errorf("after it: %s, want %s", got, want)
	}
}
