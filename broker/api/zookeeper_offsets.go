package api

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
)

// ZooKeeperOffsets keeps offsets where OffsetCommit and OffsetFetch of version 0
// have them: as decimal text in the znode
// /consumers/<group>/offsets/<topic>/<partition>.
type ZooKeeperOffsets interface {
	// OffsetOf returns the offset, found false where there is none.
	OffsetOf(ctx context.Context, group, topic string, partition int32) (offset int64, found bool, err error)
	// SetOffset writes it, and makes what is missing of the path.
	SetOffset(ctx context.Context, group, topic string, partition int32, offset int64) error
}

// commitToZooKeeper fills in the codes for a request of version 0.
func (a *API) commitToZooKeeper(ctx context.Context, from caller, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) {
	for i, t := range req.Topics {
		for j, p := range t.Partitions {
			err := a.hasPartition(t.Topic, p.Partition)
			switch {
			case a.cfg.ZooKeeper == nil:
				err = a.withoutZooKeeper(from)
			case err == nil:
				err = a.setOffset(ctx, req.Group, t.Topic, &p)
			}
			resp.Topics[i].Partitions[j].ErrorCode = int16(a.code(err))
		}
	}
}

// fetchFromZooKeeper answers a request of version 0.
func (a *API) fetchFromZooKeeper(ctx context.Context, from caller, req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetFetchResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic = t.Topic
		for _, index := range t.Partitions {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.Metadata = index, -1, new(string)
			err := a.hasPartition(t.Topic, index)
			switch {
			case a.cfg.ZooKeeper == nil:
				err = a.withoutZooKeeper(from)
			case err == nil:
				p.Offset, err = a.offsetIn(ctx, req.Group, t.Topic, index)
			}
			p.ErrorCode = int16(a.code(err))
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// setOffset keeps the offset alone: for metadata there is no room in the znode, but
// it is held to its limit as in other versions.
func (a *API) setOffset(ctx context.Context, id, topic string, p *kmsg.OffsetCommitRequestTopicPartition) error {
	if !group.NamesNode(id) {
		return errGroupID
	}
	if err := a.cfg.Groups.CheckMetadata(text(p.Metadata)); err != nil {
		return err
	}
	return a.cfg.ZooKeeper.SetOffset(ctx, id, topic, p.Partition, p.Offset)
}

// offsetIn returns the offset or, where there is none, -1 and the error that Kafka
// has for that in version 0.
func (a *API) offsetIn(ctx context.Context, id, topic string, index int32) (int64, error) {
	if !group.NamesNode(id) {
		return -1, errGroupID
	}
	offset, found, err := a.cfg.ZooKeeper.OffsetOf(ctx, id, topic, index)
	if err != nil {
		return -1, err
	}
	if !found {
		return -1, fmt.Errorf("%.60s-%d: no offset in ZooKeeper: %w", topic, index, partition.ErrUnknown)
	}
	return offset, nil
}

// maxToldClients bounds how many clients are remembered as told.
const maxToldClients = 100

// toldClients are those whose requests of version 0 were refused: their answer has
// no room for words, so the log has them, once for each.
type toldClients struct {
	mu    sync.Mutex // guards known
	known map[string]bool
}

// first reports whether the client is told for the first time.
func (t *toldClients) first(clientID string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known[clientID] || len(t.known) >= maxToldClients {
		return false
	}
	if t.known == nil {
		t.known = map[string]bool{}
	}
	t.known[clientID] = true
	return true
}

func (a *API) withoutZooKeeper(from caller) error {
	if a.told.first(from.clientID) {
		a.log.Warn("offset request refused", "clientID", from.clientID, "host", from.host, "err", group.ErrNoZooKeeper)
	}
	return group.ErrNoZooKeeper
}
