package api

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// createTopics makes topics, each on its own: one that is refused does not keep
// the next from being made.
func (a *API) createTopics(ctx context.Context, req *kmsg.CreateTopicsRequest) kmsg.Response {
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	resp := kmsg.NewPtrCreateTopicsResponse()
	for _, t := range req.Topics {
		if times[t.Topic] == 0 {
			continue // answered before
		}
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic = t.Topic
		made, err := a.createTopic(ctx, t, req.ValidateOnly, times[t.Topic])
		if err != nil {
			out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
			out.NumPartitions, out.ReplicationFactor = -1, -1
		} else {
			a.created(&out, made, req.ValidateOnly)
		}
		resp.Topics = append(resp.Topics, out)
		delete(times, t.Topic)
	}
	return resp
}

func (a *API) createTopic(ctx context.Context, t kmsg.CreateTopicsRequestTopic, validateOnly bool, times int) (*cluster.Topic, error) {
	if times > 1 {
		return nil, fmt.Errorf("%w: the topic is in it %d times", errInvalidRequest, times)
	}
	if topic.Internal(t.Topic) {
		return nil, fmt.Errorf("%w, which makes it when it is needed: %s", topic.ErrInternal, t.Topic)
	}
	nt := cluster.NewTopic{
		Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor,
		Overrides: map[string]string{}, ValidateOnly: validateOnly,
	}
	for _, c := range t.Configs {
		if c.Value == nil {
			return nil, fmt.Errorf("%w: %.60q has no value", errInvalidConfig, c.Name)
		}
		nt.Overrides[c.Name] = *c.Value
	}
	if len(t.ReplicaAssignment) == 0 {
		return a.cluster.CreateTopic(ctx, nt)
	}
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		return nil, fmt.Errorf("%w: an assignment goes with -1 partitions and replication factor -1", errInvalidRequest)
	}
	nt.Assignment = make(map[int32][]int32, len(t.ReplicaAssignment))
	for _, p := range t.ReplicaAssignment {
		if _, twice := nt.Assignment[p.Partition]; twice {
			return nil, fmt.Errorf("%w: partition %d is assigned twice", cluster.ErrInvalidAssignment, p.Partition)
		}
		nt.Assignment[p.Partition] = p.Replicas
	}
	return a.cluster.CreateTopic(ctx, nt)
}

// created fills in what is told of a new topic, from version 5 on with its
// settings. One that was only validated has no id.
func (a *API) created(out *kmsg.CreateTopicsResponseTopic, made *cluster.Topic, validateOnly bool) {
	if !validateOnly {
		out.TopicID = made.ID
	}
	out.NumPartitions = int32(len(made.Partitions))
	out.ReplicationFactor = 1
	if len(made.Partitions) > 0 {
		out.ReplicationFactor = int16(len(made.Partitions[0].Replicas))
	}
	for _, s := range topicSettings(made, a.cluster.Snapshot()) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.Source = s.name, &s.value, int8(s.source)
		out.Configs = append(out.Configs, c)
	}
}

// brokerName is how administration requests name this broker.
func (a *API) brokerName() string { return strconv.Itoa(int(a.cfg.BrokerID)) }
