package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
)

// listPartitionReassignments lists the partitions that are on their way to other
// brokers, of those that are asked for. A broker without others has none: no move
// there takes time.
func (a *API) listPartitionReassignments(ctx context.Context, req *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	var of []cluster.TopicPartition // nil: all
	if req.Topics != nil {
		of = []cluster.TopicPartition{}
	}
	for _, t := range req.Topics {
		for _, index := range t.Partitions {
			of = append(of, cluster.TopicPartition{Topic: t.Topic, Index: index})
		}
	}
	moving, err := a.cluster.Reassignments(ctx, of)
	resp.ErrorCode, resp.ErrorMessage = int16(a.code(err)), briefly(err)
	order := slices.SortedFunc(maps.Keys(moving), func(x, y cluster.TopicPartition) int {
		if c := strings.Compare(x.Topic, y.Topic); c != 0 {
			return c
		}
		return int(x.Index - y.Index)
	})
	for _, tp := range order {
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewListPartitionReassignmentsResponseTopic()
			t.Topic = tp.Topic
			resp.Topics = append(resp.Topics, t)
		}
		out := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		out.Partition, out.Replicas, out.AddingReplicas, out.RemovingReplicas = tp.Index, moving[tp].Replicas, moving[tp].Adding, moving[tp].Removing
		last := &resp.Topics[len(resp.Topics)-1]
		last.Partitions = append(last.Partitions, out)
	}
	return resp
}
