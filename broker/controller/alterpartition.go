package controller

import (
	"fmt"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// ISRChange is an ISR that a leader wants for a partition that it leads.
type ISRChange struct {
	Topic          string   // or, empty:
	ID             topic.ID // of the topic
	Index          int32
	LeaderEpoch    int32
	PartitionEpoch int32 // that the leader believes the partition has
	ISR            []ISRMember
	Recovering     bool
}

// ISRMember is a broker in an ISR, and the registration of it that is meant; -1 is
// whichever is current.
type ISRMember struct {
	ID    int32
	Epoch int64
}

// ISRAnswer is what a leader is told: the state now or, with Err, why it did not
// change.
type ISRAnswer struct {
	Topic string
	ID    topic.ID
	Index int32
	Err   error
	State cluster.PartitionState
}

// judge says what a leader's wish makes of the state s. A wish that is the state
// already is granted once more, with s: its first answer may have been lost.
func judge(s cluster.PartitionState, a cluster.Assignment, leader int32, w ISRChange, eligible func(ISRMember) bool) (next cluster.PartitionState, err error) {
	isr := make([]int32, 0, len(w.ISR))
	for _, m := range w.ISR {
		isr = append(isr, m.ID)
	}
	switch {
	case w.LeaderEpoch > s.LeaderEpoch || w.PartitionEpoch > s.PartitionEpoch:
		// Only a controller after this one can have told the leader so.
		return s, fmt.Errorf("leader epoch %d and partition epoch %d, here %d and %d: %w", w.LeaderEpoch, w.PartitionEpoch, s.LeaderEpoch, s.PartitionEpoch, cluster.ErrNotController)
	case w.LeaderEpoch < s.LeaderEpoch:
		return s, fmt.Errorf("leader epoch %d, it is %d: %w", w.LeaderEpoch, s.LeaderEpoch, cluster.ErrFencedLeaderEpoch)
	case leader != s.Leader:
		return s, fmt.Errorf("%w: broker %d does not lead, %d does", cluster.ErrInvalidRequest, leader, s.Leader)
	case len(isr) == len(s.ISR) && len(without(isr, s.ISR)) == 0 && w.Recovering == s.Recovering:
		return s, nil
	case w.PartitionEpoch < s.PartitionEpoch:
		return s, fmt.Errorf("partition epoch %d, it is %d: %w", w.PartitionEpoch, s.PartitionEpoch, cluster.ErrVersion)
	}
	if err := checkISR(s, a, isr, w); err != nil {
		return s, err
	}
	for _, m := range w.ISR {
		if !slices.Contains(s.ISR, m.ID) && !eligible(m) {
			return s, fmt.Errorf("broker %d: %w", m.ID, cluster.ErrIneligibleReplica)
		}
	}
	next = s
	next.ISR, next.Recovering = isr, w.Recovering
	return next, nil
}

// checkISR refuses what no leader could mean.
func checkISR(s cluster.PartitionState, a cluster.Assignment, isr []int32, w ISRChange) error {
	for i, id := range isr {
		if slices.Contains(isr[:i], id) || !slices.Contains(a.Replicas, id) {
			return fmt.Errorf("%w: ISR %v of replicas %v", cluster.ErrInvalidRequest, isr, a.Replicas)
		}
	}
	switch {
	case !slices.Contains(isr, s.Leader):
		return fmt.Errorf("%w: ISR %v without the leader, %d", cluster.ErrInvalidRequest, isr, s.Leader)
	case w.Recovering && (!s.Recovering || len(isr) > 1):
		return fmt.Errorf("%w: ISR %v of a partition that recovers", cluster.ErrInvalidRequest, isr)
	}
	return nil
}
