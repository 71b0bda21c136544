package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// maxDescribedPartitions is how many partitions one answer describes at most, as
// Kafka's max.request.partition.size.limit.
const maxDescribedPartitions = 2000

// describeTopicPartitions tells where partitions are, a page at a time: the answer
// says where the next one begins. Topics come in the order of their names, each
// once.
func (a *API) describeTopicPartitions(_ context.Context, req *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	snapshot := a.cluster.Snapshot()
	names, all := namesAsked(req, snapshot), len(req.Topics) == 0
	if err := checkCursor(req.Cursor, names, all); err != nil {
		for _, name := range names {
			resp.Topics = append(resp.Topics, undescribed(name, a.code(err)))
		}
		return resp
	}
	left := min(max(int(req.ResponsePartitionLimit), 1), maxDescribedPartitions) // at least one: a client must get on
	for _, name := range names {
		from := 0
		if c := req.Cursor; c != nil && name < c.Topic {
			continue
		} else if c != nil && name == c.Topic {
			from = int(c.Partition)
		}
		if left == 0 {
			resp.NextCursor = nextCursor(name, 0)
			break
		}
		t, ok := snapshot.Topic(name)
		if !ok {
			if !all { // else the cursor's, gone since
				resp.Topics = append(resp.Topics, undescribed(name, a.code(errors.Join(topic.ValidateName(name), cluster.ErrUnknownTopic))))
			}
			continue
		}
		to := min(len(t.Partitions), from+left)
		resp.Topics = append(resp.Topics, describedFrom(t, from, to))
		if to < len(t.Partitions) {
			resp.NextCursor = nextCursor(name, int32(to))
			break
		}
		left -= max(to-from, 0)
	}
	return resp
}

// namesAsked lists the topics that req means, each once and in order.
func namesAsked(req *kmsg.DescribeTopicPartitionsRequest, snapshot *cluster.Snapshot) (names []string) {
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(req.Topics) == 0 {
		for _, t := range snapshot.Topics() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkCursor holds the place where a page begins against what was asked for.
func checkCursor(c *kmsg.DescribeTopicPartitionsRequestCursor, names []string, all bool) error {
	switch {
	case c == nil:
		return nil
	case c.Partition < 0:
		return fmt.Errorf("%w: the cursor is at partition %d", errInvalidRequest, c.Partition)
	case !all && !slices.Contains(names, c.Topic):
		return fmt.Errorf("%w: the cursor is at %.60q, which is not asked for", errInvalidRequest, c.Topic)
	}
	return nil
}

func nextCursor(name string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = name, partition
	return &c
}

func undescribed(name string, code wire.ErrorCode) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.ErrorCode, out.IsInternal = &name, int16(code), topic.Internal(name)
	return out
}

// describedFrom tells of t's partitions from one up to, not including, another.
func describedFrom(t *cluster.Topic, from, to int) kmsg.DescribeTopicPartitionsResponseTopic {
	out := undescribed(t.Name, wire.None)
	out.TopicID, out.AuthorizedOperations = t.ID, topicOperations
	for index := from; index < to; index++ {
		p := t.Partitions[index]
		part := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		part.Partition, part.LeaderID, part.LeaderEpoch = int32(index), p.Leader, p.LeaderEpoch
		part.Replicas, part.ISR = p.Replicas, p.ISR
		part.EligibleLeaderReplicas, part.LastKnownELR = []int32{}, []int32{}
		if p.Leader < 0 {
			part.ErrorCode = int16(wire.LeaderNotAvailable)
		}
		out.Partitions = append(out.Partitions, part)
	}
	return out
}
