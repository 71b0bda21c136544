package replication

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// The versions of AlterPartition that matter.
const (
	alterRecovering = 1 // the first that says whether a leader is recovering
	alterByID       = 2 // the first that names topics by their ids
	alterEpochs     = 3 // the first that names the epochs of the brokers in the ISR
)

// alterVersion is the version of a request with proposals at a controller that offers
// up to offered.
func alterVersion(offered int16, proposals []partition.Proposal) int16 {
	for _, p := range proposals {
		if p.TopicID == (topic.ID{}) {
			return min(offered, alterByID-1)
		}
	}
	return min(offered, alterEpochs)
}

// alterRequest puts proposals into Kafka's form.
func alterRequest(self int32, brokerEpoch int64, version int16, proposals []partition.Proposal) *kmsg.AlterPartitionRequest {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = version, self, brokerEpoch
	for i, p := range proposals {
		if i == 0 || p.Topic != proposals[i-1].Topic || p.TopicID != proposals[i-1].TopicID {
			t := kmsg.NewAlterPartitionRequestTopic()
			t.Topic, t.TopicID = p.Topic, p.TopicID
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, alterPartition(version, p))
	}
	return req
}

func alterPartition(version int16, p partition.Proposal) kmsg.AlterPartitionRequestTopicPartition {
	out := kmsg.NewAlterPartitionRequestTopicPartition()
	out.Partition, out.LeaderEpoch, out.PartitionEpoch = p.Index, p.LeaderEpoch, p.PartitionEpoch
	if version >= alterRecovering && p.Recovering {
		out.LeaderRecoveryState = 1
	}
	if version < alterEpochs {
		out.NewISR = p.ISR
		return out
	}
	for _, id := range p.ISR {
		member := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		member.BrokerID, member.BrokerEpoch = id, -1 // as Kafka's leaders do: the controller knows them
		out.NewEpochISR = append(out.NewEpochISR, member)
	}
	return out
}

// answersTo finds the answer to each proposal. One that is not there has failed.
func answersTo(proposals []partition.Proposal, resp *kmsg.AlterPartitionResponse) []partition.ISRAnswer {
	type name struct {
		topic string
		id    topic.ID
		index int32
	}
	found := map[name]partition.ISRAnswer{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			found[name{t.Topic, topic.ID(t.TopidID), p.Partition}] = answerOf(p)
		}
	}
	out := make([]partition.ISRAnswer, len(proposals))
	for i, p := range proposals {
		n := name{p.Topic, topic.ID{}, p.Index}
		if resp.Version >= alterByID {
			n = name{"", p.TopicID, p.Index}
		}
		a, ok := found[n]
		if !ok {
			a.Err = fmt.Errorf("%s-%d is not in the controller's answer", p.Topic, p.Index)
		}
		out[i] = a
	}
	return out
}

func answerOf(p kmsg.AlterPartitionResponseTopicPartition) partition.ISRAnswer {
	if code := wire.ErrorCode(p.ErrorCode); code != wire.None {
		return partition.ISRAnswer{Err: alterError(code)}
	}
	return partition.ISRAnswer{
		Leader: p.LeaderID, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
		ISR: p.ISR, Recovering: p.LeaderRecoveryState == 1,
	}
}

// alterError tells what was refused for good from what an order will settle, and both
// from what may come of it when it is asked again.
func alterError(code wire.ErrorCode) error {
	switch code {
	case wire.IneligibleReplica, wire.OperationNotAttempted:
		return fmt.Errorf("%w: %v", partition.ErrISRRefused, code)
	case wire.FencedLeaderEpoch, wire.InvalidUpdateVersion, wire.UnknownTopicOrPartition, wire.UnknownTopicID,
		wire.InconsistentTopicID, wire.InvalidRequest, wire.NewLeaderElected:
		return fmt.Errorf("%w: %v", partition.ErrISRSuperseded, code)
	default:
		return fmt.Errorf("the controller answers %v", code)
	}
}
