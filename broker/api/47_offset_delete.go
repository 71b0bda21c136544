package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
)

// offsetDelete removes a group's offsets of partitions that its members do not
// read. When the group is in error, no partition is answered.
func (a *API) offsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	var asked []group.TopicPartition
	var codes []*int16 // of each that is asked for
	topics := make([]kmsg.OffsetDeleteResponseTopic, len(req.Topics))
	for i, t := range req.Topics {
		topics[i].Topic = t.Topic
		topics[i].Partitions = make([]kmsg.OffsetDeleteResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			out := &topics[i].Partitions[j]
			out.Partition = p.Partition
			if err := a.hasPartition(t.Topic, p.Partition); err != nil {
				out.ErrorCode = int16(a.code(err))
				continue
			}
			asked = append(asked, group.TopicPartition{Topic: t.Topic, Partition: p.Partition})
			codes = append(codes, &out.ErrorCode)
		}
	}
	deleted, late := await(ctx, nil, a.cfg.Groups.DeleteOffsets(req.Group, asked))
	if late != nil {
		deleted.Err = late
	}
	if deleted.Err != nil {
		resp.ErrorCode = int16(a.code(deleted.Err))
		return resp
	}
	for i, err := range deleted.Errs {
		*codes[i] = int16(a.code(err))
	}
	resp.Topics = topics
	return resp
}
