package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterPartitionReassignments has partitions move to other brokers, each on its
// own; null replicas end a move.
func (a *API) alterPartitionReassignments(ctx context.Context, req *kmsg.AlterPartitionAssignmentsRequest) kmsg.Response {
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	answered := once{}
	for _, t := range req.Topics {
		topic := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			if !answered.first(t.Topic, p.Partition) {
				continue
			}
			err := a.cluster.Reassign(ctx, t.Topic, p.Partition, p.Replicas)
			out := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			out.Partition, out.ErrorCode, out.ErrorMessage = p.Partition, int16(a.code(err)), briefly(err)
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}
