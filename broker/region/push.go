package region

import (
	"fmt"
	"maps"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// maxPartitions bounds the index of a partition that the controller tells of: what
// is known of a topic is kept in a list by index.
const maxPartitions = 100_000

// From says who pushes, and to whom.
type From struct {
	ControllerID    int32
	ControllerEpoch int32
	BrokerEpoch     int64 // of this broker, as the controller knows it; -1: not told
}

// admit refuses what an earlier controller orders, and what is meant for an earlier
// registration of this broker. r.mu is held.
func (r *Region) admit(f From) error {
	if f.ControllerEpoch < r.image.ControllerEpoch {
		return fmt.Errorf("%w: epoch %d, seen is %d", cluster.ErrStaleControllerEpoch, f.ControllerEpoch, r.image.ControllerEpoch)
	}
	if f.BrokerEpoch != -1 && f.BrokerEpoch < r.brokerEpoch {
		return fmt.Errorf("%w: epoch %d, now %d", cluster.ErrStaleBrokerEpoch, f.BrokerEpoch, r.brokerEpoch)
	}
	r.brokerEpoch = max(r.brokerEpoch, f.BrokerEpoch) // this broker's own answer may still be on its way
	if f.ControllerEpoch > r.image.ControllerEpoch {
		r.image.ControllerEpoch, r.unsaved = f.ControllerEpoch, true
	}
	if r.image.ControllerID != f.ControllerID {
		r.image.ControllerID = f.ControllerID
		r.publish()
	}
	return nil
}

// Update is news of the cluster: all brokers that are alive, and some partitions.
type Update struct {
	Brokers []cluster.Broker // empty: as before
	Topics  []UpdatedTopic
}

// UpdatedTopic is news of some partitions of a topic.
type UpdatedTopic struct {
	Name       string
	ID         topic.ID // zero: not told
	Partitions map[int32]cluster.Partition
}

// deletedLeader is the leader of a partition whose topic is being deleted.
const deletedLeader = -2

// UpdateMetadata takes the controller's news.
func (r *Region) UpdateMetadata(f From, u Update) error {
	for _, t := range u.Topics {
		if err := topic.ValidateName(t.Name); err != nil {
			return err
		}
		for index := range t.Partitions {
			if index < 0 || index >= maxPartitions {
				return fmt.Errorf("%w: %s-%d", cluster.ErrUnknownPartition, t.Name, index)
			}
		}
	}
	r.orders.Lock()
	defer r.orders.Unlock()
	moved, gone, unread, deleted, err := r.updateAll(f, u)
	if err != nil {
		return err
	}
	for _, name := range deleted {
		r.host.TopicDeleted(name)
	}
	r.learn(unread)
	for _, known := range gone {
		r.log.Info("partition is on other brokers; not served any more", "partition", known.order.String())
		if err := r.halt(known); err != nil {
			return err
		}
	}
	r.follow(moved, nil)
	return nil
}

// updateAll notes the news. It returns the brokers that have another address than
// before, the partitions that this broker is no replica of any more, the topics whose
// settings are not known, and those that were deleted.
func (r *Region) updateAll(f From, u Update) (moved []int32, gone []*replica, unread, deleted []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admit(f); err != nil {
		return nil, nil, nil, nil, err
	}
	r.toldIn = r.brokerEpoch
	if len(u.Brokers) > 0 {
		before := maps.Clone(r.image.Brokers)
		clear(r.image.Brokers)
		for _, b := range u.Brokers {
			r.image.Brokers[b.ID] = b
			if was := before[b.ID]; was.Host != b.Host || was.Port != b.Port {
				moved = append(moved, b.ID)
			}
		}
	}
	for _, t := range u.Topics {
		if r.update(t) {
			deleted = append(deleted, t.Name)
		}
		if now, ok := r.image.Topics[t.Name]; ok && !now.read {
			unread = append(unread, t.Name)
		}
		gone = append(gone, r.gone(t)...)
	}
	r.unsaved = true
	r.publish()
	return moved, gone, unread, deleted, nil
}

// update takes news of one topic, and reports whether one of that name has gone. r.mu is
// held.
func (r *Region) update(u UpdatedTopic) (deleted bool) {
	was, known := r.image.Topics[u.Name]
	if known && differ(was.ID, u.ID) { // made anew under its name
		delete(r.image.Topics, u.Name)
		deleted = true
	}
	t := r.image.topic(u.Name)
	if u.ID != (topic.ID{}) {
		t.ID = u.ID
	}
	t.told++
	t.shown = nil
	for index, p := range u.Partitions {
		if p.Leader == deletedLeader {
			delete(t.Partitions, index)
			continue
		}
		t.Partitions[index] = p
	}
	if len(t.Partitions) == 0 {
		delete(r.image.Topics, u.Name)
		deleted = deleted || known
	}
	return deleted
}

// gone are this broker's replicas that a later leader epoch has not got any more. It
// was away when it was to give them up, or the order follows: one of Kafka's controllers
// tells all brokers who leads before it. r.mu is held.
func (r *Region) gone(u UpdatedTopic) (gone []*replica) {
	for index, p := range u.Partitions {
		known, ok := r.replicas[cluster.TopicPartition{Topic: u.Name, Index: index}]
		if ok && known.open && !known.stopped && !differ(known.order.ID, u.ID) && p.Leader != deletedLeader &&
			p.LeaderEpoch > known.order.LeaderEpoch && !slices.Contains(p.Replicas, r.cfg.Self.ID) {
			gone = append(gone, known)
		}
	}
	return gone
}

// follow has those follow their leaders whose leaders' addresses were not known, or
// were others. Those of served know already. orders is held.
func (r *Region) follow(moved []int32, served []*replica) {
	if len(moved) == 0 {
		return
	}
	know := map[*replica]bool{}
	for _, known := range served {
		know[known] = true
	}
	type following struct {
		order  Order
		leader cluster.Broker
	}
	var all []following
	r.mu.Lock()
	for _, known := range r.replicas {
		if o := known.order; known.open && !known.stopped && !known.repeat && !know[known] && o.Leader != r.cfg.Self.ID && slices.Contains(moved, o.Leader) {
			all = append(all, following{o, r.image.Brokers[o.Leader]})
		}
	}
	r.mu.Unlock()
	for _, f := range all {
		r.host.Follow(f.order, f.leader)
	}
}

// Alive reports whether the controller told last that the broker is alive.
func (r *Region) Alive(id int32) bool {
	_, ok := r.Snapshot().Broker(id)
	return ok
}

// ControllerAt returns the address of the controller, if one is known.
func (r *Region) ControllerAt() (address cluster.Broker, ok bool) {
	s := r.Snapshot()
	return s.Broker(s.ControllerID)
}
