package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
)

// createPartitions gives topics more partitions, each topic on its own: one that is
// refused does not keep the next from growing.
func (a *API) createPartitions(ctx context.Context, req *kmsg.CreatePartitionsRequest) kmsg.Response {
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	resp := kmsg.NewPtrCreatePartitionsResponse()
	for _, t := range req.Topics {
		var err error
		switch n := times[t.Topic]; n {
		case 0: // answered before
			continue
		case 1:
			err = a.cluster.CreatePartitions(ctx, newPartitions(t, req.ValidateOnly))
		default:
			err = fmt.Errorf("%w: the topic is in it %d times", errInvalidRequest, n)
		}
		delete(times, t.Topic)
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic, out.ErrorCode, out.ErrorMessage = t.Topic, int16(a.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func newPartitions(t kmsg.CreatePartitionsRequestTopic, validateOnly bool) cluster.NewPartitions {
	p := cluster.NewPartitions{Topic: t.Topic, Count: t.Count, ValidateOnly: validateOnly}
	if t.Assignment != nil {
		p.Assignment = make([][]int32, len(t.Assignment))
	}
	for i, assigned := range t.Assignment {
		p.Assignment[i] = assigned.Replicas
	}
	return p
}
