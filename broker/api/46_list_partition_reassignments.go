package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// listPartitionReassignments lists the partitions that are on their way to other
// brokers. None ever is: alterPartitionReassignments starts no move that takes
// time. What was asked for makes no difference, as from Kafka.
func (a *API) listPartitionReassignments(context.Context, *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	return kmsg.NewPtrListPartitionReassignmentsResponse()
}
