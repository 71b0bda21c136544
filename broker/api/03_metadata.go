package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// What anyone may do while there is no authoriser, as sets of bits by the numbers
// of Kafka's ACL operations.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11 // read to describe, and both of configs
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12       // create, alter, describe, cluster action, configs, idempotent write
)

// metadata tells who the brokers are and where partitions are. Asking for a topic
// that is not there may create it.
func (a *API) metadata(ctx context.Context, req *kmsg.MetadataRequest) kmsg.Response {
	asked, refused := a.askedTopics(ctx, req)
	snapshot := a.cluster.Snapshot() // only now: it has the new topics

	resp := kmsg.NewPtrMetadataResponse()
	resp.ClusterID, resp.ControllerID = &snapshot.ClusterID, snapshot.ControllerID
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	for _, b := range snapshot.Brokers {
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port = b.ID, b.Host, b.Port
		if b.Rack != "" {
			broker.Rack = &b.Rack
		}
		resp.Brokers = append(resp.Brokers, broker)
	}
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		for _, t := range snapshot.Topics() {
			resp.Topics = append(resp.Topics, described(t, req.IncludeTopicAuthorizedOperations))
		}
	}
	for _, q := range asked {
		found, err := q.find(snapshot)
		if failed := refused[q.name]; err != nil && failed != nil {
			err = failed
		}
		if err != nil {
			resp.Topics = append(resp.Topics, q.unknown(a.code(err)))
			continue
		}
		resp.Topics = append(resp.Topics, described(found, req.IncludeTopicAuthorizedOperations))
	}
	return resp
}

// asked is a topic by its name, or by its id when it has no name.
type asked struct {
	name string
	id   topic.ID
}

// askedTopics lists the topics that req names, each once: an answer is many times
// longer than the question, so repeating it must not pay. Those that are missing
// are created when the broker and the request allow it; refused says which could
// not be, by name.
func (a *API) askedTopics(ctx context.Context, req *kmsg.MetadataRequest) (topics []asked, refused map[string]error) {
	create := a.cfg.AutoCreateTopics && (req.AllowAutoTopicCreation || req.Version < 4)
	seen := make(map[asked]bool, len(req.Topics))
	refused = map[string]error{}
	for _, t := range req.Topics {
		q := asked{id: t.TopicID}
		if t.Topic != nil {
			q = asked{name: *t.Topic}
		}
		if seen[q] {
			continue
		}
		seen[q] = true
		topics = append(topics, q)
		if err := topic.ValidateName(q.name); t.Topic != nil && err != nil {
			refused[q.name] = err
			continue
		}
		if _, err := q.find(a.cluster.Snapshot()); err == nil || !create || t.Topic == nil || topic.Internal(q.name) {
			continue
		}
		_, err := a.cluster.CreateTopic(ctx, cluster.NewTopic{Name: q.name, Partitions: -1, ReplicationFactor: -1})
		if err != nil && !errors.Is(err, cluster.ErrTopicExists) {
			refused[q.name] = err
		}
	}
	return topics, refused
}

func (q asked) find(s *cluster.Snapshot) (*cluster.Topic, error) {
	if q.id != (topic.ID{}) {
		if t, ok := s.TopicByID(q.id); ok {
			return t, nil
		}
		return nil, fmt.Errorf("%w: %s", errUnknownTopicID, q.id)
	}
	if t, ok := s.Topic(q.name); ok {
		return t, nil
	}
	return nil, fmt.Errorf("%w: %.60q", cluster.ErrUnknownTopic, q.name)
}

// unknown is the answer for a topic that is not there.
func (q asked) unknown(code wire.ErrorCode) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.ErrorCode, out.TopicID = int16(code), q.id
	if q.id == (topic.ID{}) {
		out.Topic = &q.name
	}
	return out
}

func described(t *cluster.Topic, operations bool) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, topic.Internal(t.Name)
	if operations {
		out.AuthorizedOperations = topicOperations
	}
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, len(t.Partitions))
	for index, p := range t.Partitions {
		part := kmsg.NewMetadataResponseTopicPartition()
		part.Partition, part.Leader, part.LeaderEpoch = int32(index), p.Leader, p.LeaderEpoch
		part.Replicas, part.ISR, part.OfflineReplicas = p.Replicas, p.ISR, p.Offline
		if p.Leader < 0 {
			part.ErrorCode = int16(wire.LeaderNotAvailable)
		}
		out.Partitions = append(out.Partitions, part)
	}
	return out
}
