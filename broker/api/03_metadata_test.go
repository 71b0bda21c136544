package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

func metadataRequest(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	return req
}

// summary writes an answer's topics as "name:partitions" or "name:CODE".
func summary(resp *kmsg.MetadataResponse) string {
	var out []string
	for _, topic := range resp.Topics {
		name := "-"
		if topic.Topic != nil {
			name = *topic.Topic
		}
		if topic.ErrorCode != 0 {
			out = append(out, fmt.Sprintf("%s:%v", name, code(topic.ErrorCode)))
		} else {
			out = append(out, fmt.Sprintf("%s:%d", name, len(topic.Partitions)))
		}
	}
	return strings.Join(out, " ")
}

func TestMetadata(t *testing.T) {
	b := newBox(t)
	made := b.create(t, "press", 3, nil)
	b.create(t, "__consumer_offsets", 1, nil)
	c := b.dial(t)
	for version := int16(0); version <= 12; version++ {
		resp := call[*kmsg.MetadataResponse](t, c, metadataRequest("press"), version)
		if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 7 || resp.Brokers[0].Host != "box.example" || resp.Brokers[0].Port != 9092 {
			t.Errorf("version %d: brokers %+v", version, resp.Brokers)
		}
		if version >= 2 && (resp.ClusterID == nil || *resp.ClusterID != "box" || resp.ControllerID != 7) {
			t.Errorf("version %d: cluster %v, controller %d", version, resp.ClusterID, resp.ControllerID)
		}
		got := resp.Topics[0]
		p := got.Partitions[2]
		if summary(resp) != "press:3" || p.Partition != 2 || p.Leader != 7 || fmt.Sprint(p.Replicas, p.ISR) != "[7] [7]" || got.IsInternal {
			t.Errorf("version %d: %+v", version, got)
		}
		if version >= 7 && p.LeaderEpoch != made.Partitions[2].LeaderEpoch || version >= 10 && got.TopicID != made.ID {
			t.Errorf("version %d: epoch %d, topic id %x", version, p.LeaderEpoch, got.TopicID)
		}
		none := call[*kmsg.MetadataResponse](t, c, metadataRequest(), version)
		everything := "__consumer_offsets:1 press:3"
		if want := map[bool]string{true: everything}[version == 0]; summary(none) != want {
			t.Errorf("version %d, no topics: %q, want %q", version, summary(none), want)
		}
		if version > 0 {
			all := kmsg.NewPtrMetadataRequest() // null topics
			resp := call[*kmsg.MetadataResponse](t, c, all, version)
			if summary(resp) != everything || !resp.Topics[0].IsInternal {
				t.Errorf("version %d, all topics: %q, want %q", version, summary(resp), everything)
			}
		}
	}
}

// An unknown topic is made when the broker and the request allow it, and its name
// is one; before version 4 every request allows it.
func TestMetadataCreates(t *testing.T) {
	for name, tc := range map[string]struct {
		broker, request bool
		version         int16
		topic           string
		want            string
	}{
		"both":       {true, true, 12, "new", "new:2"},
		"notBroker":  {false, true, 12, "new", "new:UNKNOWN_TOPIC_OR_PARTITION"},
		"notRequest": {true, false, 4, "new", "new:UNKNOWN_TOPIC_OR_PARTITION"},
		"early":      {true, false, 3, "new", "new:2"},
		"badName":    {true, true, 12, "b/ad", "b/ad:INVALID_TOPIC_EXCEPTION"},
		"badNoMatter": {
			false, false, 12, strings.Repeat("x", 250),
			strings.Repeat("x", 250) + ":INVALID_TOPIC_EXCEPTION",
		},
		"empty": {true, true, 12, "", ":INVALID_TOPIC_EXCEPTION"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, func(c *Config) { c.AutoCreateTopics = tc.broker })
			req := metadataRequest(tc.topic, tc.topic) // twice in the question, once in the answer
			req.AllowAutoTopicCreation = tc.request
			resp := call[*kmsg.MetadataResponse](t, b.dial(t), req, tc.version)
			if got := summary(resp); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if _, made := b.solo.Snapshot().Topic(tc.topic); made != (resp.Topics[0].ErrorCode == 0) {
				t.Errorf("the topic was made: %v", made)
			}
		})
	}
}

func TestMetadataTooManyPartitions(t *testing.T) {
	b := newBox(t)
	b.create(t, "many", 40, nil)
	req := metadataRequest("new")
	req.AllowAutoTopicCreation = true
	if got := summary(call[*kmsg.MetadataResponse](t, b.dial(t), req, 12)); got != "new:POLICY_VIOLATION" {
		t.Errorf("%s, want new:POLICY_VIOLATION", got)
	}
}

func TestMetadataByID(t *testing.T) {
	b := newBox(t)
	made := b.create(t, "press", 3, nil)
	c := b.dial(t)
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{TopicID: made.ID}, {TopicID: topic.ID{1}}}
	resp := call[*kmsg.MetadataResponse](t, c, req, 12)
	if got, want := summary(resp), "press:3 -:"+wire.UnknownTopicID.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if resp.Topics[1].TopicID != (topic.ID{1}) {
		t.Errorf("the unknown id came back as %x", resp.Topics[1].TopicID)
	}
}

func TestMetadataOperations(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 1, nil)
	c := b.dial(t)
	const unset = -1 << 31
	for _, wanted := range []bool{false, true} {
		req := metadataRequest("press")
		req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = wanted, wanted
		resp := call[*kmsg.MetadataResponse](t, c, req, 8)
		if (resp.AuthorizedOperations != unset) != wanted || (resp.Topics[0].AuthorizedOperations != unset) != wanted {
			t.Errorf("asked for %v: %d, %d", wanted, resp.AuthorizedOperations, resp.Topics[0].AuthorizedOperations)
		}
	}
}
