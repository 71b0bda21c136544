package region

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/headwater/headwater/broker/cluster"
)

// Why this broker does not know what it has to catch up. They are told to people alone.
var (
	errNotRegistered = errors.New("not registered with ZooKeeper: it cannot be reached, or refuses, or this broker still joins")
	errNotTold       = errors.New("registered with ZooKeeper, and no controller has told who leads since")
)

// Behind lists the replicas on this broker that follow and are not in the ISR of their
// partition, as far as the controller has told, by topic and index. An error says why
// nobody knows. It looks at this broker's replicas, not at all of the region's.
func (r *Region) Behind() ([]cluster.TopicPartition, error) {
	m := r.joined.Load()
	if m == nil {
		return nil, errNotRegistered
	}
	behind, told := r.behind(m.brokerEpoch)
	if !told {
		return nil, errNotTold
	}
	slices.SortFunc(behind, func(a, b cluster.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
	})
	return behind, nil
}

// behind is Behind without an order. told is false until the controller has spoken to
// the registration: what was known before it may be old.
func (r *Region) behind(brokerEpoch int64) (behind []cluster.TopicPartition, told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.toldIn < brokerEpoch {
		return nil, false
	}
	for tp, known := range r.replicas {
		var p *cluster.Partition
		if t, ok := r.image.Topics[tp.Topic]; ok {
			if found, ok := t.Partitions[tp.Index]; ok {
				p = &found
			}
		}
		if isBehind(known.order, known.restored, p, r.cfg.Self.ID) {
			behind = append(behind, tp)
		}
	}
	return behind, true
}

// isBehind reports whether self's replica has to catch up: o is the last order for it,
// restored one from before the start; told is what the controller told everyone of the
// partition, nil where it told nothing. An ISR grows without a new order, so what was
// told counts, unless the order is newer.
func isBehind(o Order, restored bool, told *cluster.Partition, self int32) bool {
	leader, replicas, isr := o.Leader, o.Replicas, o.ISR
	if told != nil && told.LeaderEpoch >= o.LeaderEpoch {
		leader, replicas, isr = told.Leader, told.Replicas, told.ISR
	}
	switch {
	case restored && told == nil: // the region has not got it any more
		return false
	case !slices.Contains(replicas, self): // moved to others
		return false
	case len(replicas) == 1: // nobody has what it could lack
		return false
	case restored: // it follows nobody before the controller says whom
		return true
	case leader == self:
		return false
	}
	return !slices.Contains(isr, self)
}
