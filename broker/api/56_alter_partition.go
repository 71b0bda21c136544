package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/topic"
)

// alterPartition changes ISRs as their leader wants it (KIP-497), if this is the
// controller. From version 2 on topics have ids, from version 3 the members of an
// ISR the epochs of their registrations (KIP-841).
func (a *API) alterPartition(ctx context.Context, req *kmsg.AlterPartitionRequest) kmsg.Response {
	resp := kmsg.NewPtrAlterPartitionResponse()
	var changes []controller.ISRChange
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			c := controller.ISRChange{Topic: t.Topic, ID: t.TopicID, Index: p.Partition, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Recovering: p.LeaderRecoveryState == 1}
			for _, id := range p.NewISR {
				c.ISR = append(c.ISR, controller.ISRMember{ID: id, Epoch: -1})
			}
			for _, m := range p.NewEpochISR {
				c.ISR = append(c.ISR, controller.ISRMember{ID: m.BrokerID, Epoch: m.BrokerEpoch})
			}
			changes = append(changes, c)
		}
	}
	answers, err := a.cfg.Controller.AlterPartition(ctx, req.BrokerID, req.BrokerEpoch, changes)
	resp.ErrorCode = int16(a.code(err))
	type key struct {
		name string
		id   topic.ID
	}
	topics := map[key]int{}
	for _, answer := range answers {
		k := key{answer.Topic, answer.ID}
		at, ok := topics[k]
		if !ok {
			at = len(resp.Topics)
			topics[k] = at
			t := kmsg.NewAlterPartitionResponseTopic()
			t.Topic, t.TopidID = answer.Topic, answer.ID
			resp.Topics = append(resp.Topics, t)
		}
		resp.Topics[at].Partitions = append(resp.Topics[at].Partitions, a.altered(req.Version, answer))
	}
	return resp
}

func (a *API) altered(version int16, answer controller.ISRAnswer) kmsg.AlterPartitionResponseTopicPartition {
	out := kmsg.NewAlterPartitionResponseTopicPartition()
	out.Partition, out.ErrorCode = answer.Index, int16(a.alterCode(version, answer.Err))
	if answer.Err == nil {
		s := answer.State
		out.LeaderID, out.LeaderEpoch, out.ISR, out.PartitionEpoch = s.Leader, s.LeaderEpoch, s.ISR, s.PartitionEpoch
		if s.Recovering {
			out.LeaderRecoveryState = 1
		}
	}
	return out
}
