package api

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

func newTopic(name string, partitions int32, replication int16) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replication
	return t
}

func withSetting(t kmsg.CreateTopicsRequestTopic, name string, value *string) kmsg.CreateTopicsRequestTopic {
	t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: value})
	return t
}

func assigned(t kmsg.CreateTopicsRequestTopic, by ...kmsg.CreateTopicsRequestTopicReplicaAssignment) kmsg.CreateTopicsRequestTopic {
	t.ReplicaAssignment = by
	return t
}

func on7(partition int32) kmsg.CreateTopicsRequestTopicReplicaAssignment {
	return kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: partition, Replicas: []int32{7}}
}

func createRequest(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = topics
	return req
}

func TestCreateTopics(t *testing.T) {
	for version := int16(0); version <= 7; version++ {
		b := newBox(t)
		req := createRequest(
			withSetting(newTopic("plain", 3, 1), "retention.ms", kmsg.StringPtr("5000")),
			newTopic("defaults", -1, -1),
			assigned(newTopic("assigned", -1, -1), on7(1), on7(0)),
		)
		resp := call[*kmsg.CreateTopicsResponse](t, b.dial(t), req, version)
		for i, want := range []struct {
			name       string
			partitions int32
			retention  string
			source     kmsg.ConfigSource
		}{
			{"plain", 3, "5000", kmsg.ConfigSourceDynamicTopicConfig},
			{"defaults", 2, "604800000", kmsg.ConfigSourceDefaultConfig},
			{"assigned", 2, "604800000", kmsg.ConfigSourceDefaultConfig},
		} {
			got := resp.Topics[i]
			made, ok := b.solo.Snapshot().Topic(want.name)
			if got.Topic != want.name || got.ErrorCode != 0 || !ok || len(made.Partitions) != int(want.partitions) {
				t.Fatalf("version %d: %+v, made %+v", version, got, made)
			}
			if version >= 7 && got.TopicID != made.ID {
				t.Errorf("version %d, %s: topic id %x, want %x", version, want.name, got.TopicID, made.ID)
			}
			if version < 5 {
				continue
			}
			if got.NumPartitions != want.partitions || got.ReplicationFactor != 1 || len(got.Configs) == 0 {
				t.Errorf("version %d: %+v", version, got)
			}
			for _, c := range got.Configs {
				if c.Name == "retention.ms" && (*c.Value != want.retention || c.Source != int8(want.source)) {
					t.Errorf("version %d, %s: retention.ms %s from %d", version, want.name, *c.Value, c.Source)
				}
			}
		}
	}
}

func TestCreateTopicsRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		topic kmsg.CreateTopicsRequestTopic
		want  wire.ErrorCode
		says  string
	}{
		"exists":           {newTopic("there", 1, 1), wire.TopicAlreadyExists, "there"},
		"badName":          {newTopic("b/ad", 1, 1), wire.InvalidTopic, "b/ad"},
		"noPartitions":     {newTopic("new", 0, 1), wire.InvalidPartitions, "0"},
		"tooMany":          {newTopic("new", 41, 1), wire.PolicyViolation, "41"},
		"replicated":       {newTopic("new", 1, 3), wire.InvalidReplicationFactor, "3"},
		"unknownSetting":   {withSetting(newTopic("new", 1, 1), "colour", kmsg.StringPtr("red")), wire.InvalidConfig, "colour"},
		"nullSetting":      {withSetting(newTopic("new", 1, 1), "retention.ms", nil), wire.InvalidConfig, "retention.ms"},
		"assignedAndCount": {assigned(newTopic("new", 1, -1), on7(0)), wire.InvalidRequest, "assignment"},
		"assignedTwice":    {assigned(newTopic("new", -1, -1), on7(0), on7(0)), wire.InvalidReplicaAssignment, "twice"},
		"assignedGap":      {assigned(newTopic("new", -1, -1), on7(1)), wire.InvalidReplicaAssignment, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.create(t, "there", 1, nil)
			resp := call[*kmsg.CreateTopicsResponse](t, b.dial(t), createRequest(tc.topic, newTopic("sound", 1, 1)), 7)
			got := resp.Topics[0]
			if code(got.ErrorCode) != tc.want || got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, tc.says) {
				t.Errorf("%v, want %v with %q", code(got.ErrorCode), tc.want, tc.says)
			}
			if resp.Topics[1].ErrorCode != 0 {
				t.Errorf("its neighbour: %v", code(resp.Topics[1].ErrorCode))
			}
			if n := len(b.solo.Snapshot().Topics()); n != 2 {
				t.Errorf("%d topics, want 2", n)
			}
		})
	}
}

// A topic that is named twice is refused once, and made not at all.
func TestCreateTopicsTwice(t *testing.T) {
	b := newBox(t)
	resp := call[*kmsg.CreateTopicsResponse](t, b.dial(t), createRequest(newTopic("a", 1, 1), newTopic("b", 1, 1), newTopic("a", 1, 1)), 7)
	if len(resp.Topics) != 2 || code(resp.Topics[0].ErrorCode) != wire.InvalidRequest || resp.Topics[1].ErrorCode != 0 {
		t.Errorf("%+v", resp.Topics)
	}
	if _, made := b.solo.Snapshot().Topic("a"); made {
		t.Error("it was made")
	}
}

func TestCreateTopicsValidateOnly(t *testing.T) {
	b := newBox(t)
	req := createRequest(newTopic("new", 3, 1), newTopic("b/ad", 3, 1))
	req.ValidateOnly = true
	resp := call[*kmsg.CreateTopicsResponse](t, b.dial(t), req, 7)
	got := resp.Topics[0]
	if got.ErrorCode != 0 || got.NumPartitions != 3 || got.TopicID != (topic.ID{}) || len(got.Configs) == 0 {
		t.Errorf("%+v", got)
	}
	if code(resp.Topics[1].ErrorCode) != wire.InvalidTopic {
		t.Errorf("a bad name: %v", code(resp.Topics[1].ErrorCode))
	}
	if n := len(b.solo.Snapshot().Topics()); n != 0 {
		t.Errorf("%d topics were made", n)
	}
}

// What cannot be told apart, or names no topic, is refused, and deletes nothing.
func TestDeleteTopicsRefuses(t *testing.T) {
	one := kmsg.StringPtr("one")
	for name, tc := range map[string]struct {
		topics []kmsg.DeleteTopicsRequestTopic
		id     bool // of one, in the last of them
		want   wire.ErrorCode
	}{
		"twice":     {[]kmsg.DeleteTopicsRequestTopic{{Topic: one}, {Topic: one}}, false, wire.InvalidRequest},
		"both":      {[]kmsg.DeleteTopicsRequestTopic{{Topic: one}}, true, wire.InvalidRequest},
		"neither":   {[]kmsg.DeleteTopicsRequestTopic{{}}, false, wire.InvalidRequest},
		"unknown":   {[]kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("none")}}, false, wire.UnknownTopicOrPartition},
		"unknownID": {[]kmsg.DeleteTopicsRequestTopic{{TopicID: topic.ID{9}}}, false, wire.UnknownTopicID},
		"badName":   {[]kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("b/ad")}}, false, wire.UnknownTopicOrPartition},
	} {
		b := newBox(t)
		made := b.create(t, "one", 1, nil)
		req := kmsg.NewPtrDeleteTopicsRequest()
		if req.Topics = tc.topics; tc.id {
			req.Topics[len(req.Topics)-1].TopicID = made.ID
		}
		resp := call[*kmsg.DeleteTopicsResponse](t, b.dial(t), req, 6)
		if len(resp.Topics) != 1 || code(resp.Topics[0].ErrorCode) != tc.want || resp.Topics[0].ErrorMessage == nil {
			t.Errorf("%s: %+v, want one answer, %v", name, resp.Topics, tc.want)
		}
		if _, there := b.solo.Snapshot().Topic("one"); !there {
			t.Errorf("%s: it was deleted", name)
		}
	}
}

func TestDeleteTopics(t *testing.T) {
	for version := int16(0); version <= 6; version++ {
		b := newBox(t)
		b.create(t, "one", 1, nil)
		two := b.create(t, "two", 1, nil)
		b.create(t, "three", 1, nil)
		req := kmsg.NewPtrDeleteTopicsRequest()
		want := []wire.ErrorCode{wire.None, wire.UnknownTopicOrPartition}
		left := 2
		req.TopicNames = []string{"one", "none"}
		if version >= 6 {
			req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("one")}, {Topic: kmsg.StringPtr("none")}, {TopicID: two.ID}, {TopicID: topic.ID{1}}}
			want = append(want, wire.None, wire.UnknownTopicID)
			left = 1
		}
		resp := call[*kmsg.DeleteTopicsResponse](t, b.dial(t), req, version)
		for i, got := range resp.Topics {
			if code(got.ErrorCode) != want[i] || version >= 5 && (got.ErrorMessage != nil) != (want[i] != 0) {
				t.Errorf("version %d, topic %d: %+v, want %v", version, i, got, want[i])
			}
		}
		if version >= 6 && (*resp.Topics[2].Topic != "two" || resp.Topics[2].TopicID != two.ID) {
			t.Errorf("deleted by id: %+v", resp.Topics[2])
		}
		if n := len(b.solo.Snapshot().Topics()); n != left || len(resp.Topics) != len(want) {
			t.Errorf("version %d: %d answers and %d topics left, want %d and %d", version, len(resp.Topics), n, len(want), left)
		}
	}
}
