package region

import (
	"errors"
	"fmt"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

var (
	// ErrStaleOrder is returned for an order that is not newer than the one before.
	ErrStaleOrder = errors.New("an order that is not newer than the last one")
	// ErrTopicID is returned for an order about a topic of the same name as one that
	// is on disk.
	ErrTopicID = errors.New("the partition on disk is of another topic of that name")
)

// LeaderAndISR has this broker lead and follow as the controller says. The results
// are by partition; an error of their own have those that could not be served.
func (r *Region) LeaderAndISR(f From, orders []Order, leaders []cluster.Broker) (results map[cluster.TopicPartition]error, err error) {
	for _, o := range orders {
		if err := o.check(); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admit(f); err != nil {
		return nil, err
	}
	for _, b := range leaders { // before UpdateMetadata tells of them, perhaps
		if _, known := r.image.Brokers[b.ID]; !known {
			r.image.Brokers[b.ID] = b
		}
	}
	results = make(map[cluster.TopicPartition]error, len(orders))
	var accepted []*replica
	for _, o := range orders {
		known, err := r.accept(o)
		results[o.TopicPartition] = err
		if known != nil {
			accepted = append(accepted, known)
		}
	}
	if r.unsaved {
		// Before anything is done of it: a start without ZooKeeper believes what is here.
		if err := r.save(); err != nil {
			return nil, err
		}
	}
	failed := make([]error, len(accepted))
	at := make(map[*replica]int, len(accepted))
	for i, known := range accepted {
		at[known] = i
	}
	each(accepted, func(known *replica) { failed[at[known]] = r.serve(known) })
	for i, known := range accepted {
		results[known.order.TopicPartition] = failed[i]
	}
	return results, nil
}

func (o Order) check() error {
	if err := topic.ValidateName(o.Topic); err != nil {
		return err
	}
	if o.Index < 0 || o.Index >= maxPartitions {
		return fmt.Errorf("%w: %s", cluster.ErrUnknownPartition, o)
	}
	return nil
}

// accept notes an order that is newer than the one before, and returns the replica
// that is to be served; nil when there is nothing to do. A controller repeats its
// last orders when it changes, and to a broker that has started again.
func (r *Region) accept(o Order) (*replica, error) {
	known, ok := r.replicas[o.TopicPartition]
	switch {
	case !ok:
		known = &replica{}
		r.replicas[o.TopicPartition] = known
	case known.order.ID != (topic.ID{}) && o.ID != (topic.ID{}) && known.order.ID != o.ID && !known.restored:
		return nil, fmt.Errorf("%s: %w", o, ErrTopicID)
	case o.LeaderEpoch < known.order.LeaderEpoch && known.order.ID == o.ID:
		return nil, fmt.Errorf("%s: %w: leader epoch %d after %d", o, ErrStaleOrder, o.LeaderEpoch, known.order.LeaderEpoch)
	case o.LeaderEpoch == known.order.LeaderEpoch && !known.restored:
		if known.order.ID == (topic.ID{}) && o.ID != (topic.ID{}) { // the topic got its id
			known.order.ID, r.unsaved = o.ID, true
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w: leader epoch %d again", o, ErrStaleOrder, o.LeaderEpoch)
	}
	if !slices.Equal(known.order.Replicas, o.Replicas) || known.order.ID != o.ID || known.order.Leader != o.Leader {
		r.unsaved = true
	}
	known.order, known.restored = o, false
	return known, nil
}

// serve has the partition do what its order says. Several are served at one time;
// r.mu is held for all of them.
func (r *Region) serve(known *replica) error {
	o := known.order
	if !known.open {
		if err := r.open(o); err != nil {
			r.log.Error("partition not opened; it is offline", "partition", o.String(), "err", err)
			return err
		}
		known.open = true
	}
	return r.apply(o)
}

// open makes the log ready. What is on disk of an earlier topic of that name goes:
// the controller has another one there, so the earlier one was deleted.
func (r *Region) open(o Order) error {
	if err := r.dropEarlier(o); err != nil {
		return err
	}
	_, err := r.host.Open(o.Topic, o.Index, o.ID, r.settings(o.Topic))
	return err
}

func (r *Region) dropEarlier(o Order) error {
	earlier, ok := r.host.TopicID(o.Topic, o.Index)
	if !ok || o.ID == (topic.ID{}) || earlier == o.ID {
		return nil
	}
	r.log.Warn("records of a topic that was deleted while this broker was away are removed", "partition", o.String(), "topicID", earlier.String())
	return r.host.Delete(o.Topic, o.Index)
}

// StopOrder has this broker have no replica any more.
type StopOrder struct {
	cluster.TopicPartition
	LeaderEpoch int32 // -1: not told; -2: the topic is being deleted
	Delete      bool  // its records too
}

// StopReplica does what the controller says. What is not here has stopped.
func (r *Region) StopReplica(f From, orders []StopOrder) (results map[cluster.TopicPartition]error, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admit(f); err != nil {
		return nil, err
	}
	results = make(map[cluster.TopicPartition]error, len(orders))
	for _, o := range orders {
		results[o.TopicPartition] = r.stop(o)
	}
	return results, nil
}

func (r *Region) stop(o StopOrder) error {
	known, ok := r.replicas[o.TopicPartition]
	if ok && o.LeaderEpoch >= 0 && o.LeaderEpoch < known.order.LeaderEpoch {
		return fmt.Errorf("%s: %w: leader epoch %d after %d", o, ErrStaleOrder, o.LeaderEpoch, known.order.LeaderEpoch)
	}
	if !o.Delete {
		if ok && known.open {
			return r.host.Stop(o.Topic, o.Index)
		}
		return nil
	}
	// The order goes first: what is left on disk then is nobody's.
	delete(r.replicas, o.TopicPartition)
	if err := r.save(); err != nil {
		return err
	}
	if err := r.host.Delete(o.Topic, o.Index); err != nil {
		return err
	}
	r.log.Info("replica removed", "partition", o.String())
	return nil
}
