package region

import (
	"fmt"

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
	if own := r.BrokerEpoch(); f.BrokerEpoch != -1 && f.BrokerEpoch < own {
		return fmt.Errorf("%w: epoch %d, now %d", cluster.ErrStaleBrokerEpoch, f.BrokerEpoch, own)
	}
	if f.ControllerEpoch > r.image.ControllerEpoch {
		r.image.ControllerEpoch, r.unsaved = f.ControllerEpoch, true
	}
	r.image.ControllerID = f.ControllerID
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
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admit(f); err != nil {
		return err
	}
	if len(u.Brokers) > 0 {
		clear(r.image.Brokers)
		for _, b := range u.Brokers {
			r.image.Brokers[b.ID] = b
		}
	}
	var fresh []string
	for _, t := range u.Topics {
		if r.update(t) {
			fresh = append(fresh, t.Name)
		}
	}
	r.unsaved = true
	r.publish()
	r.readSettings(fresh)
	return nil
}

// update takes news of one topic, and reports whether it was not known before.
func (r *Region) update(u UpdatedTopic) (fresh bool) {
	t, known := r.image.Topics[u.Name]
	if known && u.ID != (topic.ID{}) && t.ID != (topic.ID{}) && t.ID != u.ID { // made anew under its name
		delete(r.image.Topics, u.Name)
		known = false
	}
	t = r.image.topic(u.Name)
	if u.ID != (topic.ID{}) {
		t.ID = u.ID
	}
	for index, p := range u.Partitions {
		if p.Leader == deletedLeader {
			delete(t.Partitions, index)
			continue
		}
		t.Partitions[index] = p
	}
	if len(t.Partitions) == 0 {
		delete(r.image.Topics, u.Name)
		return false
	}
	return !known
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
