package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// deleteTopics removes topics by name or, from version 6, by id. One that is named
// twice stays, for a repetition is somebody's mistake.
func (a *API) deleteTopics(ctx context.Context, req *kmsg.DeleteTopicsRequest) kmsg.Response {
	asks := make([]asked, 0, len(req.TopicNames)+len(req.Topics))
	for _, name := range req.TopicNames {
		asks = append(asks, asked{name: name})
	}
	for _, t := range req.Topics {
		q := asked{id: t.TopicID}
		if t.Topic != nil {
			q.name = *t.Topic
		}
		asks = append(asks, q)
	}
	times := map[asked]int{}
	for _, q := range asks {
		times[q]++
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	for _, q := range asks {
		if times[q] == 0 {
			continue // answered before
		}
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.TopicID = q.id
		if q.id == (topic.ID{}) || q.name != "" {
			out.Topic = &q.name
		}
		found, err := a.deleteTopic(ctx, q, times[q])
		if found != nil {
			out.Topic, out.TopicID = &found.Name, found.ID
		}
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
		delete(times, q)
	}
	return resp
}

// deleteTopic removes one topic, and returns what it was.
func (a *API) deleteTopic(ctx context.Context, q asked, times int) (*cluster.Topic, error) {
	switch {
	case times > 1:
		return nil, fmt.Errorf("%w: the topic is in it %d times", errInvalidRequest, times)
	case q == asked{}:
		return nil, fmt.Errorf("%w: a topic without a name and without an id", errInvalidRequest)
	case q.name != "" && q.id != (topic.ID{}):
		return nil, fmt.Errorf("%w: a topic goes by its name or by its id, not by both", errInvalidRequest)
	}
	found, err := q.find(a.cluster.Snapshot())
	if err != nil {
		return nil, err
	}
	if topic.Internal(found.Name) {
		return found, fmt.Errorf("%w: %s", topic.ErrInternal, found.Name)
	}
	if err = a.cluster.DeleteTopic(ctx, found.Name); err == nil {
		a.cfg.Groups.DropTopic(found.Name)
	}
	return found, err
}
