package controller

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// orders are what one broker has yet to be told. What is newer about a partition
// takes the place of what is older, so they grow with the cluster and not with
// time.
type orders struct {
	first    bool // nobody has told the broker anything yet: who leads what comes before what to do
	replicas map[cluster.TopicPartition]replicaOrder
	metadata map[cluster.TopicPartition]news
	live     []cluster.Registration // who is alive now; nil: as it was
}

// replicaOrder is what becomes of a broker's replica of a partition: it leads or
// follows as state says or, with stop, it does neither.
type replicaOrder struct {
	topicID    topic.ID
	assignment cluster.Assignment
	state      cluster.PartitionState
	isNew      bool // the broker has no log of it yet

	stop        bool
	delete      bool  // and its log goes
	leaderEpoch int32 // with stop: an order for a later one is not undone
}

// Leader epochs and leaders of a topic that is being deleted.
const (
	epochOfDeletion  int32 = -2
	leaderOfDeletion int32 = -2
)

// news is what every broker hears of a partition.
type news struct {
	topicID  topic.ID
	replicas []int32
	offline  []int32 // of replicas
	state    cluster.PartitionState
}

func newOrders() *orders {
	return &orders{
		replicas: map[cluster.TopicPartition]replicaOrder{},
		metadata: map[cluster.TopicPartition]news{},
	}
}

func (o *orders) empty() bool {
	return !o.first && len(o.replicas) == 0 && len(o.metadata) == 0 && o.live == nil
}

// add lays newer orders over o.
func (o *orders) add(newer *orders) {
	for tp, order := range newer.replicas {
		old, ok := o.replicas[tp]
		o.replicas[tp] = order.after(old, ok)
	}
	maps.Copy(o.metadata, newer.metadata)
	if newer.live != nil {
		o.live = newer.live
	}
	o.first = o.first || newer.first
}

// maxNews bounds the partitions that a broker has yet to hear of before those of
// deleted topics are dropped: the others are as many as the cluster has.
const maxNews = 200_000

// forgetDeleted drops news of deleted topics when they have become too many, and
// counts them: a broker that is registered and does not listen would gather them
// without end.
func (o *orders) forgetDeleted() (dropped int) {
	if len(o.metadata) <= maxNews {
		return 0
	}
	before := len(o.metadata)
	maps.DeleteFunc(o.metadata, func(_ cluster.TopicPartition, n news) bool { return n.state.Leader == leaderOfDeletion })
	return before - len(o.metadata)
}

// giveBack puts orders that were taken and did not arrive under those that have
// come since.
func (o *orders) giveBack(older *orders) {
	for tp, order := range older.replicas {
		if newer, ok := o.replicas[tp]; ok {
			order = newer.after(order, true)
		}
		o.replicas[tp] = order
	}
	for tp, n := range older.metadata {
		if _, ok := o.metadata[tp]; !ok {
			o.metadata[tp] = n
		}
	}
	if o.live == nil {
		o.live = older.live
	}
	o.first = o.first || older.first
}

// after is an order that takes the place of an older one: what that one alone says
// is not lost.
func (r replicaOrder) after(old replicaOrder, ok bool) replicaOrder {
	if ok && old.stop == r.stop {
		r.isNew = r.isNew || old.isNew
		r.delete = r.delete || old.delete
	}
	return r
}

// take removes at most limit orders of each kind. A broker that is new is told all
// that there is of who leads what before it is told what to do.
func (o *orders) take(limit int) *orders {
	taken := newOrders()
	taken.live, o.live = o.live, nil
	take(o.metadata, taken.metadata, limit)
	if o.first {
		taken.first, o.first = true, len(o.metadata) > 0
		return taken
	}
	take(o.replicas, taken.replicas, limit)
	return taken
}

func take[V any](from, to map[cluster.TopicPartition]V, limit int) {
	for _, tp := range inOrder(from) {
		if len(to) == limit {
			return
		}
		to[tp] = from[tp]
		delete(from, tp)
	}
}

// inOrder returns the partitions of m by topic and index.
func inOrder[V any](m map[cluster.TopicPartition]V) []cluster.TopicPartition {
	return slices.SortedFunc(maps.Keys(m), func(a, b cluster.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
	})
}
