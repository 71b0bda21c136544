package api

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
)

// offsetCommit keeps a group's offsets and answers when they are durable. Each
// partition has its own answer: those that cannot be kept do not hold up the
// others.
func (a *API) offsetCommit(ctx context.Context, from caller, req *kmsg.OffsetCommitRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetCommitResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewOffsetCommitResponseTopicPartition()
			part.Partition = p.Partition
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	if req.Version == 0 {
		a.commitToZooKeeper(ctx, from, req, resp)
		return resp
	}
	a.commit(ctx, req, resp)
	return resp
}

// commit has the group keep the offsets of partitions that there are, and fills in
// the codes.
func (a *API) commit(ctx context.Context, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) {
	r := &group.CommitRequest{Group: req.Group, MemberID: req.MemberID, Generation: req.Generation, InstanceID: text(req.InstanceID)}
	var kept []*int16 // where the code of each of r.Offsets goes
	for i, t := range req.Topics {
		for j := range t.Partitions {
			code := &resp.Topics[i].Partitions[j].ErrorCode
			if err := a.hasPartition(t.Topic, t.Partitions[j].Partition); err != nil {
				*code = int16(a.code(err))
				continue
			}
			kept = append(kept, code)
			r.Offsets = append(r.Offsets, offsetOf(req, t.Topic, &t.Partitions[j]))
		}
	}
	errs, err := await(ctx, nil, a.cfg.Groups.Commit(r))
	for i, code := range kept {
		if err == nil {
			*code = int16(a.code(errs[i]))
		} else {
			*code = int16(a.code(err))
		}
	}
}

func offsetOf(req *kmsg.OffsetCommitRequest, topic string, p *kmsg.OffsetCommitRequestTopicPartition) group.Offset {
	o := group.Offset{
		TopicPartition: group.TopicPartition{Topic: topic, Partition: p.Partition},
		Offset:         p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: text(p.Metadata),
	}
	if req.Version >= 2 && req.Version <= 4 && req.RetentionTimeMillis > 0 {
		o.Retention = min(time.Duration(req.RetentionTimeMillis), maxRetentionMillis) * time.Millisecond
	}
	return o
}

// maxRetentionMillis is a hundred years.
const maxRetentionMillis = 36500 * 24 * 3600 * 1000

// hasPartition is nil for a partition that the cluster has.
func (a *API) hasPartition(topic string, index int32) error {
	t, ok := a.cluster.Snapshot().Topic(topic)
	if !ok || index < 0 || int(index) >= len(t.Partitions) {
		return fmt.Errorf("%.60s-%d: %w", topic, index, partition.ErrUnknown)
	}
	return nil
}

// text is s, "" for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// textOrNull is s, null for "".
func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
