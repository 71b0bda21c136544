package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/topic"
)

// deleteTopics removes topics by name or, from version 6, by id.
func (a *API) deleteTopics(ctx context.Context, req *kmsg.DeleteTopicsRequest) kmsg.Response {
	asks := make([]asked, 0, len(req.TopicNames)+len(req.Topics))
	for _, name := range req.TopicNames {
		asks = append(asks, asked{name: name})
	}
	for _, t := range req.Topics {
		if t.Topic != nil {
			asks = append(asks, asked{name: *t.Topic})
		} else {
			asks = append(asks, asked{id: topic.ID(t.TopicID)})
		}
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	for _, q := range asks {
		out := kmsg.NewDeleteTopicsResponseTopic()
		if q.id == (topic.ID{}) {
			out.Topic = &q.name
		}
		out.TopicID = q.id
		found, err := q.find(a.cluster.Snapshot())
		if err == nil {
			out.Topic, out.TopicID = &found.Name, found.ID
			err = a.deleteTopic(ctx, found.Name)
		}
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (a *API) deleteTopic(ctx context.Context, name string) error {
	if topic.Internal(name) {
		return fmt.Errorf("%w: %s", topic.ErrInternal, name)
	}
	err := a.cluster.DeleteTopic(ctx, name)
	if err == nil {
		a.cfg.Groups.DropTopic(name)
	}
	return err
}
