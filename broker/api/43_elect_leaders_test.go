package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

func TestElectLeaders(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	c := b.dial(t)
	for version := int16(0); version <= 2; version++ {
		for name, tc := range map[string]struct {
			kind       int8
			topic      string
			partitions []int32
			since      int16
			whole      wire.ErrorCode
			want       []wire.ErrorCode
		}{
			"preferred":        {0, "press", []int32{0, 1}, 0, wire.None, []wire.ErrorCode{wire.ElectionNotNeeded, wire.ElectionNotNeeded}},
			"unclean":          {1, "press", []int32{0}, 1, wire.None, []wire.ErrorCode{wire.ElectionNotNeeded}},
			"repeated":         {0, "press", []int32{0, 0, 0}, 0, wire.None, []wire.ErrorCode{wire.ElectionNotNeeded}},
			"unknownPartition": {0, "press", []int32{2, -1}, 0, wire.None, []wire.ErrorCode{wire.UnknownTopicOrPartition, wire.UnknownTopicOrPartition}},
			"unknownTopic":     {0, "none", []int32{0}, 0, wire.None, []wire.ErrorCode{wire.UnknownTopicOrPartition}},
			"unknownType":      {2, "press", []int32{0}, 1, wire.InvalidRequest, []wire.ErrorCode{wire.InvalidRequest}},
		} {
			if version < tc.since {
				continue
			}
			req := kmsg.NewPtrElectLeadersRequest()
			req.ElectionType, req.Topics = tc.kind, []kmsg.ElectLeadersRequestTopic{{Topic: tc.topic, Partitions: tc.partitions}}
			resp := call[*kmsg.ElectLeadersResponse](t, c, req, version)
			if version >= 1 && code(resp.ErrorCode) != tc.whole || len(resp.Topics) != 1 || resp.Topics[0].Topic != tc.topic || len(resp.Topics[0].Partitions) != len(tc.want) {
				t.Fatalf("version %d, %s: %+v", version, name, resp)
			}
			for i, got := range resp.Topics[0].Partitions {
				if got.Partition != tc.partitions[i] || code(got.ErrorCode) != tc.want[i] {
					t.Errorf("version %d, %s: %+v, want %v", version, name, got, tc.want[i])
				}
			}
		}
		everything := kmsg.NewPtrElectLeadersRequest() // null topics
		if resp := call[*kmsg.ElectLeadersResponse](t, c, everything, version); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
			t.Errorf("version %d, all: %+v, want no partition that needed one", version, resp)
		}
	}
}

func TestReassignments(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	c := b.dial(t)
	for name, tc := range map[string]struct {
		topic    string
		index    int32
		replicas []int32
		want     wire.ErrorCode
		words    bool
	}{
		"where it is":      {"press", 1, []int32{7}, wire.None, false},
		"cancel":           {"press", 1, nil, wire.NoReassignmentInProgress, true},
		"elsewhere":        {"press", 1, []int32{8}, wire.InvalidReplicaAssignment, true},
		"nowhere":          {"press", 1, []int32{}, wire.InvalidReplicaAssignment, true},
		"twice":            {"press", 1, []int32{7, 7}, wire.InvalidReplicaAssignment, true},
		"unknownPartition": {"press", 2, []int32{7}, wire.UnknownTopicOrPartition, false},
		"unknownTopic":     {"none", 0, nil, wire.UnknownTopicOrPartition, false},
	} {
		part := kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: tc.index, Replicas: tc.replicas}
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: tc.topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{part, part}}}
		resp := call[*kmsg.AlterPartitionAssignmentsResponse](t, c, req, 0)
		got := resp.Topics[0]
		if resp.ErrorCode != 0 || got.Topic != tc.topic || len(got.Partitions) != 1 || code(got.Partitions[0].ErrorCode) != tc.want || (got.Partitions[0].ErrorMessage != nil) != tc.words {
			t.Errorf("%s: %+v, want %v", name, resp, tc.want)
		}
		list := kmsg.NewPtrListPartitionReassignmentsRequest()
		list.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "press", Partitions: []int32{0, 1}}}
		if resp := call[*kmsg.ListPartitionReassignmentsResponse](t, c, list, 0); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
			t.Errorf("%s: on their way are %+v", name, resp.Topics)
		}
	}
}
