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
	// this broker has.
	ErrTopicID = errors.New("this broker has a partition of another topic of that name")
)

// LeaderAndISR has this broker lead and follow as the controller says. The results
// are by partition; an error of their own have those that could not be served.
func (r *Region) LeaderAndISR(f From, orders []Order, leaders []cluster.Broker) (results map[cluster.TopicPartition]error, err error) {
	for _, o := range orders {
		if err := o.check(); err != nil {
			return nil, err
		}
	}
	r.orders.Lock()
	defer r.orders.Unlock()
	results = make(map[cluster.TopicPartition]error, len(orders))
	accepted, moved, unread, err := r.acceptAll(f, orders, leaders, results)
	if err != nil {
		return nil, err
	}
	r.learn(unread) // before anything is led: min.insync.replicas is one of them
	accepted = r.remember(accepted, results)
	failed := make([]error, len(accepted))
	each(len(accepted), func(i int) { failed[i] = r.serve(accepted[i]) })
	for i, known := range accepted {
		results[known.order.TopicPartition] = failed[i]
	}
	r.follow(moved, accepted)
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

// acceptAll notes the orders that are newer than what was ordered before, and returns
// the replicas that are to be served, the brokers that have another address than
// before, and the topics whose settings are not known.
func (r *Region) acceptAll(f From, orders []Order, leaders []cluster.Broker, results map[cluster.TopicPartition]error) (accepted []*replica, moved []int32, unread []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admit(f); err != nil {
		return nil, nil, nil, err
	}
	for _, b := range leaders { // before UpdateMetadata tells of them, perhaps
		was := r.image.Brokers[b.ID]
		if b.Rack = was.Rack; b != was { // racks are not told here
			moved = append(moved, b.ID)
		}
		r.image.Brokers[b.ID] = b
	}
	for _, o := range orders {
		known, err := r.accept(o)
		if results[o.TopicPartition] = err; known == nil {
			continue
		}
		accepted = append(accepted, known)
		t, ok := r.image.Topics[o.Topic]
		if !ok || differ(t.ID, o.ID) {
			delete(r.image.Topics, o.Topic) // made anew under its name
			t = r.image.topic(o.Topic)      // shown when UpdateMetadata tells of it
			t.ID = o.ID
		}
		if !t.read && !slices.Contains(unread, o.Topic) {
			unread = append(unread, o.Topic)
		}
	}
	return accepted, moved, unread, nil
}

// accept notes an order that is newer than the one before, and returns the replica
// that is to be served; nil when there is nothing to do. A controller repeats its
// last orders when it changes, and to a broker that has started again. r.mu is held.
func (r *Region) accept(o Order) (*replica, error) {
	known, ok := r.replicas[o.TopicPartition]
	switch {
	case !ok:
		known = &replica{}
		r.replicas[o.TopicPartition] = known
	case differ(known.order.ID, o.ID):
		if known.open && !known.restored { // its records would be taken for those of the other
			return nil, fmt.Errorf("%s: %w", o, ErrTopicID)
		}
		known.open = false // what the start has opened goes
	case o.LeaderEpoch < known.order.LeaderEpoch:
		return nil, fmt.Errorf("%s: %w: leader epoch %d after %d", o, ErrStaleOrder, o.LeaderEpoch, known.order.LeaderEpoch)
	case o.LeaderEpoch == known.order.LeaderEpoch && !known.repeat:
		if known.order.ID == (topic.ID{}) && o.ID != (topic.ID{}) { // the topic got its id
			known.order.ID, r.unsaved = o.ID, true
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w: leader epoch %d again", o, ErrStaleOrder, o.LeaderEpoch)
	}
	if o.ID == (topic.ID{}) {
		o.ID = known.order.ID // a controller that knows no ids does not take it away
	}
	earlier := known.order.ID
	known.order, known.restored, known.repeat, r.unsaved = o, false, false, true
	if differ(earlier, o.ID) {
		known.replaces = earlier
	}
	return known, nil
}

// remember saves what is to be done before anything is done of it, where that ends
// what a start without ZooKeeper would believe: that nobody else can lead a partition.
// It returns those that can be served.
func (r *Region) remember(accepted []*replica, results map[cluster.TopicPartition]error) []*replica {
	ends := func(known *replica) bool { return known.alone && !known.order.alone(r.cfg.Self.ID) }
	if !slices.ContainsFunc(accepted, ends) {
		return accepted // RunSaver saves soon
	}
	err := r.save()
	if err == nil {
		return accepted
	}
	r.log.Error("what is known of the region was not saved", "err", err)
	return slices.DeleteFunc(accepted, func(known *replica) bool {
		if !ends(known) {
			return false
		}
		results[known.order.TopicPartition] = fmt.Errorf("%s: %w", known.order, err)
		r.again(known)
		return true
	})
}

// again has the controller's next order be taken, though it may be the same.
func (r *Region) again(known *replica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known.repeat = true
}

// serve has the partition do what its order says. orders is held; several are served
// at one time.
func (r *Region) serve(known *replica) error {
	err := r.open(known)
	if err == nil {
		err = r.apply(known)
	}
	if err != nil {
		r.again(known)
	}
	return err
}

// open makes the log ready. A partition that is led by this broker alone goes on in the
// epoch of its last records, if the order is older than those: it is what was saved.
func (r *Region) open(known *replica) error {
	if known.open {
		return nil
	}
	o := known.order
	id, err := r.makeRoom(known)
	if err != nil {
		r.log.Error("partition not opened; it is offline", "partition", o.String(), "err", err)
		return err
	}
	lastEpoch, err := r.host.Open(o.Topic, o.Index, id, r.settingsOf(o.Topic))
	if err != nil {
		r.log.Error("partition not opened; it is offline", "partition", o.String(), "err", err)
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known.open = true
	if known.restored && o.alone(r.cfg.Self.ID) && lastEpoch > o.LeaderEpoch {
		known.order.LeaderEpoch = lastEpoch
	}
	r.host.Configure(o.Topic, o.Index, r.settings(o.Topic)) // should they have changed meanwhile
	return nil
}

// makeRoom deals with what is on disk under that name, and returns the id to open the
// partition with. What the region has put there and has deleted since goes. What it
// never ordered, of a broker that was alone before it joined, is kept aside.
func (r *Region) makeRoom(known *replica) (topic.ID, error) {
	o := known.order
	there, ok := r.host.TopicID(o.Topic, o.Index)
	switch {
	case !ok, there == o.ID:
		return o.ID, nil
	case !differ(there, o.ID):
		return there, nil // it was made when topics had no ids
	case there == known.replaces:
		r.log.Warn("records of a topic that was deleted while this broker was away are removed", "partition", o.String(), "topicID", there.String())
		return o.ID, r.host.Delete(o.Topic, o.Index)
	}
	path, err := r.host.SetAside(o.Topic, o.Index)
	if err == nil {
		r.log.Warn("records on disk are of a topic that the region does not know; kept aside", "partition", o.String(), "topicID", there.String(), "path", path)
	}
	return o.ID, err
}

// StopOrder has this broker have no replica any more.
type StopOrder struct {
	cluster.TopicPartition
	LeaderEpoch int32 // -1: not told; -2: the topic is being deleted
	Delete      bool  // its records too
}

// StopReplica does what the controller says. What is not here has stopped.
func (r *Region) StopReplica(f From, orders []StopOrder) (results map[cluster.TopicPartition]error, err error) {
	for _, o := range orders {
		if err := (Order{TopicPartition: o.TopicPartition}).check(); err != nil {
			return nil, err
		}
	}
	r.orders.Lock()
	defer r.orders.Unlock()
	r.mu.Lock()
	err = r.admit(f)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(orders))
	each(len(orders), func(i int) { errs[i] = r.stop(orders[i]) })
	results = make(map[cluster.TopicPartition]error, len(orders))
	for i, o := range orders {
		results[o.TopicPartition] = errs[i]
	}
	// Also without this a start believes nothing wrong: it opens what is on disk only.
	if err := r.saveIfChanged(); err != nil {
		r.log.Error("what is known of the region was not saved", "err", err)
	}
	return results, nil
}

func (r *Region) stop(o StopOrder) error {
	r.mu.Lock()
	known, ok := r.replicas[o.TopicPartition]
	r.mu.Unlock()
	if ok && o.LeaderEpoch >= 0 && o.LeaderEpoch < known.order.LeaderEpoch {
		return fmt.Errorf("%s: %w: %d, and it has %d", o, cluster.ErrFencedLeaderEpoch, o.LeaderEpoch, known.order.LeaderEpoch)
	}
	if !o.Delete {
		if ok && known.open {
			return r.halt(known)
		}
		return nil
	}
	if ok && known.open || r.mayDelete(o, known) {
		if err := r.host.Delete(o.Topic, o.Index); err != nil {
			return err
		}
	}
	r.mu.Lock()
	delete(r.replicas, o.TopicPartition)
	r.unsaved = true
	r.mu.Unlock()
	r.log.Info("replica removed", "partition", o.String())
	return nil
}

// mayDelete reports whether what is on disk and not open is of the topic that is
// being deleted. What is of another one is not the controller's.
func (r *Region) mayDelete(o StopOrder, known *replica) bool {
	there, onDisk := r.host.TopicID(o.Topic, o.Index)
	if !onDisk || there == (topic.ID{}) {
		return true // perhaps it is not whole
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known != nil {
		return there == known.order.ID || there == known.replaces
	}
	t, told := r.image.Topics[o.Topic]
	return told && t.ID == there
}

// halt has a partition serve nobody until there is another order. orders is held.
func (r *Region) halt(known *replica) error {
	if err := r.host.Stop(known.order.Topic, known.order.Index); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known.stopped, known.repeat = true, true
	return nil
}
