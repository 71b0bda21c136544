package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/topic"
)

// maxDescribedProducers is how many producers one answer lists at most; a partition
// remembers up to a thousand.
const maxDescribedProducers = 20_000

// describeProducers lists the idempotent producers that partitions remember. There
// are no transactions, so that none has one open.
func (a *API) describeProducers(_ context.Context, req *kmsg.DescribeProducersRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeProducersResponse()
	answered, left := once{}, maxDescribedProducers
	for _, t := range req.Topics {
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = t.Topic
		for _, index := range t.Partitions {
			if !answered.first(t.Topic, index) {
				continue
			}
			part := a.producersOf(t.Topic, index, left)
			left -= len(part.ActiveProducers)
			out.Partitions = append(out.Partitions, part)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (a *API) producersOf(name string, index int32, limit int) kmsg.DescribeProducersResponseTopicPartition {
	out := kmsg.NewDescribeProducersResponseTopicPartition()
	out.Partition = index
	if err := topic.ValidateName(name); err != nil {
		out.ErrorCode = int16(a.code(err))
		return out
	}
	p, err := a.partitions.Get(name, index)
	if err != nil {
		out.ErrorCode = int16(a.code(err))
		return out
	}
	active := p.ActiveProducers()
	if len(active) > limit {
		err := fmt.Errorf("%w: more than %d producers in all; ask for fewer partitions at a time", errInvalidRequest, maxDescribedProducers)
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		return out
	}
	for _, from := range active {
		producer := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		producer.ProducerID, producer.ProducerEpoch = from.ID, int32(from.Epoch)
		producer.LastSequence, producer.LastTimestamp = from.LastSequence, from.LastTimestamp
		producer.CoordinatorEpoch, producer.CurrentTxnStartOffset = -1, -1
		out.ActiveProducers = append(out.ActiveProducers, producer)
	}
	return out
}
