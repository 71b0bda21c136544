package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
)

// offsetFetch tells how far groups have read. A partition without a committed
// offset has -1 and no error, also of a group that nobody knows.
func (a *API) offsetFetch(ctx context.Context, from caller, req *kmsg.OffsetFetchRequest) kmsg.Response {
	switch {
	case req.Version == 0:
		return a.fetchFromZooKeeper(ctx, from, req)
	case req.Version < 8:
		return a.fetchOneGroup(req)
	}
	resp := kmsg.NewPtrOffsetFetchResponse()
	seen := make(map[string]bool, len(req.Groups))
	for _, g := range req.Groups {
		if seen[g.Group] {
			continue
		}
		seen[g.Group] = true
		var asked []group.TopicPartition
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				asked = append(asked, group.TopicPartition{Topic: t.Topic, Partition: p})
			}
		}
		offsets, err := a.offsets(g.Group, asked, g.Topics == nil)
		out := kmsg.NewOffsetFetchResponseGroup()
		out.Group, out.ErrorCode = g.Group, int16(a.code(err))
		for topic, offsets := range byTopic(offsets) {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic = topic
			for _, o := range offsets {
				p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.Partition, o.Offset, o.LeaderEpoch, &o.Metadata
				t.Partitions = append(t.Partitions, p)
			}
			out.Topics = append(out.Topics, t)
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

// fetchOneGroup answers versions before 8, which ask for one group. Before version
// 2 an error of the group stands at each partition.
func (a *API) fetchOneGroup(req *kmsg.OffsetFetchRequest) kmsg.Response {
	var asked []group.TopicPartition
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			asked = append(asked, group.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	resp := kmsg.NewPtrOffsetFetchResponse()
	offsets, err := a.offsets(req.Group, asked, req.Topics == nil && req.Version >= 2)
	code := int16(a.code(err))
	resp.ErrorCode = code
	if err != nil && req.Version < 2 {
		for _, tp := range asked {
			offsets = append(offsets, group.NoOffset(tp))
		}
	}
	for topic, offsets := range byTopic(offsets) {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = topic
		for _, o := range offsets {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = o.Partition, o.Offset, o.LeaderEpoch, &o.Metadata, code
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func (a *API) offsets(id string, asked []group.TopicPartition, all bool) ([]group.Offset, error) {
	if all {
		return a.cfg.Groups.FetchAll(id)
	}
	// Each once: an answer can be many times longer than the question, so repeating
	// it must not pay.
	return a.cfg.Groups.Fetch(id, unique(asked))
}

// byTopic yields runs of offsets of the same topic.
func byTopic(offsets []group.Offset) func(yield func(string, []group.Offset) bool) {
	return func(yield func(string, []group.Offset) bool) {
		for len(offsets) > 0 {
			n := 1
			for n < len(offsets) && offsets[n].Topic == offsets[0].Topic {
				n++
			}
			if !yield(offsets[0].Topic, offsets[:n]) {
				return
			}
			offsets = offsets[n:]
		}
	}
}
