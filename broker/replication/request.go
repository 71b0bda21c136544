package replication

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// The versions of Fetch that matter.
const (
	fetchDiverging = 12 // the first whose answers say where logs diverge
	fetchByID      = 13 // the first that names topics by their ids
	fetchReplica   = 15 // the first that says in which epoch its broker has registered
	fetchMax       = 16 // what came later is for brokers without ZooKeeper
)

// fetchVersion is the version of a fetch of wants at a leader that offers up to
// offered; ok is false when that is too early.
func fetchVersion(offered int16, wants []want) (version int16, ok bool) {
	if offered < fetchDiverging {
		return 0, false
	}
	for _, w := range wants {
		if w.id == (topic.ID{}) {
			return fetchDiverging, true
		}
	}
	return min(offered, fetchMax), true
}

// fetchRequest puts r into Kafka's form.
func fetchRequest(cfg Config, version int16, r request) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version = version
	if version >= fetchReplica {
		req.ReplicaState.ID, req.ReplicaState.Epoch = cfg.Self, cfg.BrokerEpoch()
	} else {
		req.ReplicaID = cfg.Self
	}
	req.MaxWaitMillis = int32(cfg.MaxWait.Milliseconds())
	req.MinBytes, req.MaxBytes = cfg.MinBytes, cfg.MaxBytes
	req.SessionID, req.SessionEpoch = r.id, r.epoch
	for i, w := range r.wants {
		if i == 0 || w.Topic != r.wants[i-1].Topic || w.id != r.wants[i-1].id {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = w.Topic, w.id
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, fetchPartition(cfg, w))
	}
	for _, w := range r.forgotten {
		t := kmsg.NewFetchRequestForgottenTopic()
		t.Topic, t.TopicID, t.Partitions = w.Topic, w.id, []int32{w.Index}
		req.ForgottenTopics = append(req.ForgottenTopics, t)
	}
	return req
}

func fetchPartition(cfg Config, w want) kmsg.FetchRequestTopicPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition = w.Index
	p.CurrentLeaderEpoch, p.LastFetchedEpoch = w.leaderEpoch, w.lastEpoch
	p.FetchOffset, p.LogStartOffset = w.offset, w.logStartOffset
	p.PartitionMaxBytes = cfg.PartitionMaxBytes
	return p
}

// The timestamps that ListOffsets gives a meaning to.
const (
	latest   int64 = -1
	earliest int64 = -2
)

// listOffsetsMax is the version of ListOffsets that is used where it is offered.
const listOffsetsMax = 7

// listOffsetsRequest asks for an end of the leader's logs, as a follower: where they
// really end, not what consumers may read.
func listOffsetsRequest(self int32, version int16, wants []want, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = version, self
	for _, w := range wants {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.Timestamp = w.Index, w.leaderEpoch, timestamp
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic, t.Partitions = w.Topic, []kmsg.ListOffsetsRequestTopicPartition{p}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// byTopicPartition calls yield for each partition of a fetch's answer. names finds
// topics by id.
func byTopicPartition(resp *kmsg.FetchResponse, names map[topic.ID]string, yield func(cluster.TopicPartition, *kmsg.FetchResponseTopicPartition)) {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		name := t.Topic
		if resp.Version >= fetchByID {
			name = names[topic.ID(t.TopicID)]
		}
		for j := range t.Partitions {
			yield(cluster.TopicPartition{Topic: name, Index: t.Partitions[j].Partition}, &t.Partitions[j])
		}
	}
}
