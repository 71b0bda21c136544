package broker

import (
	"context"
	"path/filepath"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/replication"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/zk"
)

// regionFile is where a broker keeps what it knows of its region.
const regionFile = "headwater.region.json"

// producerIDsFile is where it keeps the producer ids that it has got and not used.
const producerIDsFile = "headwater.region-producer-ids.json"

func newRegionStore(fsys disk.FS, dir string) fileStore {
	return fileStore{fsys, filepath.Join(dir, regionFile)}
}

func newIDStore(fsys disk.FS, dir string) fileStore {
	return fileStore{fsys, filepath.Join(dir, producerIDsFile)}
}

// regionHost fits the partitions, what follows for them and what is kept in them to
// region.Host.
type regionHost struct {
	host
	self     int32
	fetchers *replication.Fetchers
	groups   *group.Coordinator

	rate      int64 // bytes a second that throttled replicas fetch, if no other is set; 0 is no limit
	throttled func(topic string, index int32) bool
}

// Throttle implements region.Host. A rate of nothing at all is the least that there is.
func (h *regionHost) Throttle(bytesPerSecond int64, set bool) {
	rate := h.rate
	if set {
		rate = max(bytesPerSecond, 1)
	}
	h.fetchers.SetThrottle(rate, h.throttled)
}

// Apply implements region.Host. A fetcher learns of a leader once the partition is a
// follower, and of none before it leads.
func (h *regionHost) Apply(o region.Order, leader cluster.Broker) error {
	if o.Leader == h.self {
		h.fetchers.Unfollow(o.Topic, o.Index)
	} else if o.Topic == group.Topic { // before others lead, so that nothing of the groups comes later
		h.groups.Resign(o.Index, o.LeaderEpoch)
	}
	_, err := h.Set.Apply(o.Topic, o.Index, h.self, partition.Order{
		ControllerEpoch: o.ControllerEpoch, Leader: o.Leader, LeaderEpoch: o.LeaderEpoch, PartitionEpoch: o.PartitionEpoch,
		Replicas: o.Replicas, ISR: o.ISR, Adding: o.Adding, Removing: o.Removing, New: o.New, Recovering: o.Recovering,
	})
	if err != nil {
		return err
	}
	if o.Leader != h.self {
		h.Follow(o, leader)
	} else if o.Topic == group.Topic {
		h.groups.Lead(o.Index, o.LeaderEpoch)
	}
	return nil
}

// Follow implements region.Host.
func (h *regionHost) Follow(o region.Order, leader cluster.Broker) {
	if leader.Host == "" { // nobody leads, or nobody knows where
		h.fetchers.Unfollow(o.Topic, o.Index)
		return
	}
	h.fetchers.Follow(o.Topic, o.Index, o.ID, leader, o.LeaderEpoch)
}

// TopicDeleted implements region.Host. Each coordinator forgets its groups' offsets, or
// one that is made under the name would be read from there.
func (h *regionHost) TopicDeleted(name string) { h.groups.DropTopic(name) }

// Stop implements region.Host.
func (h *regionHost) Stop(name string, index int32) error {
	h.end(name, index)
	h.Set.Stop(name, index)
	return nil
}

// Delete implements region.Host.
func (h *regionHost) Delete(name string, index int32) error {
	h.end(name, index)
	return h.Set.Delete(name, index)
}

func (h *regionHost) end(name string, index int32) {
	h.fetchers.Unfollow(name, index)
	if name == group.Topic {
		h.groups.Resign(index, -1)
	}
}

// SetAside implements region.Host.
func (h *regionHost) SetAside(name string, index int32) (path string, err error) {
	return h.Set.SetAside(name, index)
}

// TopicID implements region.Host.
func (h *regionHost) TopicID(name string, index int32) (topic.ID, bool) {
	return h.Set.TopicIDOf(name, index)
}

// sessionOffsets are consumers' offsets in ZooKeeper, by one session.
type sessionOffsets struct{ *zk.Session }

// SetOffset implements group.MirrorStore.
func (s sessionOffsets) SetOffset(ctx context.Context, id, topic string, index int32, offset int64) error {
	return s.Session.SetOffset(ctx, id, cluster.TopicPartition{Topic: topic, Index: index}, offset)
}

// WatchOffset implements group.MirrorStore.
func (s sessionOffsets) WatchOffset(ctx context.Context, id, topic string, index int32, changed func()) (offset int64, found bool, err error) {
	return s.Offset(ctx, id, cluster.TopicPartition{Topic: topic, Index: index}, zk.NewWatchFunc(changed))
}

// zookeeperOffsets implements api.ZooKeeperOffsets by whichever session there is.
type zookeeperOffsets struct{ client *zk.Client }

func (z zookeeperOffsets) session() (sessionOffsets, error) {
	s := z.client.Session()
	if s == nil {
		return sessionOffsets{}, region.ErrAway
	}
	return sessionOffsets{s}, nil
}

// OffsetOf implements api.ZooKeeperOffsets.
func (z zookeeperOffsets) OffsetOf(ctx context.Context, id, topic string, index int32) (offset int64, found bool, err error) {
	s, err := z.session()
	if err != nil {
		return 0, false, err
	}
	return s.Offset(ctx, id, cluster.TopicPartition{Topic: topic, Index: index}, nil)
}

// SetOffset implements api.ZooKeeperOffsets.
func (z zookeeperOffsets) SetOffset(ctx context.Context, id, topic string, index int32, offset int64) error {
	s, err := z.session()
	if err != nil {
		return err
	}
	return s.SetOffset(ctx, id, topic, index, offset)
}
