package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
)

// The election types.
const (
	preferredElection = 0
	uncleanElection   = 1
)

// electLeaders has partitions led by those who should lead them. A request that
// names none means all, and is answered with those alone that needed an election.
func (a *API) electLeaders(ctx context.Context, req *kmsg.ElectLeadersRequest) kmsg.Response {
	resp := kmsg.NewPtrElectLeadersResponse()
	var refused error
	if req.ElectionType != preferredElection && req.ElectionType != uncleanElection {
		refused = fmt.Errorf("%w: there is no election of type %d", errInvalidRequest, req.ElectionType)
	}
	resp.ErrorCode = int16(a.code(refused))
	topics := req.Topics
	if topics == nil && refused == nil {
		topics = a.everyPartition()
	}
	answered := once{}
	for _, t := range topics {
		topic := kmsg.NewElectLeadersResponseTopic()
		topic.Topic = t.Topic
		for _, index := range t.Partitions {
			err := refused
			if err == nil {
				err = a.cluster.ElectLeader(ctx, t.Topic, index, req.ElectionType == uncleanElection)
			}
			if !answered.first(t.Topic, index) || req.Topics == nil && errors.Is(err, cluster.ErrElectionNotNeeded) {
				continue
			}
			out := kmsg.NewElectLeadersResponseTopicPartition()
			out.Partition, out.ErrorCode, out.ErrorMessage = index, int16(a.code(err)), briefly(err)
			topic.Partitions = append(topic.Partitions, out)
		}
		if req.Topics != nil || len(topic.Partitions) > 0 {
			resp.Topics = append(resp.Topics, topic)
		}
	}
	return resp
}

func (a *API) everyPartition() (all []kmsg.ElectLeadersRequestTopic) {
	for _, t := range a.cluster.Snapshot().Topics() {
		topic := kmsg.NewElectLeadersRequestTopic()
		topic.Topic = t.Name
		for index := range int32(len(t.Partitions)) {
			topic.Partitions = append(topic.Partitions, index)
		}
		all = append(all, topic)
	}
	return all
}
