package controller

import (
	"fmt"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
)

// A partition moves in two steps (KIP-455). First it has the brokers of before and
// those that it is to have; once all of the latter are in the ISR, those that are
// left over go. Where it moves to stands in its assignment from the start, so any
// controller can go on from there. A replica that was to be added, and is not
// wanted any more, stands with those that are removed too: it goes as soon as
// there is another that can lead.

// moving reports whether a partition is on its way.
func moving(a cluster.Assignment) bool { return len(a.Adding) > 0 || len(a.Removing) > 0 }

func same(a, b cluster.Assignment) bool {
	return slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Adding, b.Adding) && slices.Equal(a.Removing, b.Removing)
}

// origin returns the replicas that a partition had before it began to move.
func origin(a cluster.Assignment) []int32 { return without(a.Replicas, a.Adding) }

// target returns the replicas that a partition will have.
func target(a cluster.Assignment) []int32 { return without(a.Replicas, a.Removing) }

// moveTo is the assignment of a partition that begins to move, or that is on its
// way and turns elsewhere.
func moveTo(a cluster.Assignment, to []int32) cluster.Assignment {
	all := slices.Concat(to, without(a.Replicas, to))
	return cluster.Assignment{Replicas: all, Adding: without(all, origin(a)), Removing: without(all, to)}
}

// step is what a partition that moves can do now: go on to an assignment, without
// those that leave it.
func step(a cluster.Assignment, s cluster.PartitionState) (next cluster.Assignment, leaving []int32, ok bool) {
	if arrived(a, s) {
		return cluster.Assignment{Replicas: target(a)}, a.Removing, true
	}
	unwanted := keep(a.Adding, func(id int32) bool { return slices.Contains(a.Removing, id) })
	return cluster.Assignment{
		Replicas: without(a.Replicas, unwanted), Adding: without(a.Adding, unwanted), Removing: without(a.Removing, unwanted),
	}, unwanted, len(unwanted) > 0
}

// arrived reports whether all that a partition moves to have its records.
func arrived(a cluster.Assignment, s cluster.PartitionState) bool {
	return len(without(target(a), s.ISR)) == 0
}

// confine is the state of a partition that is left to replicas: one of them leads,
// and nobody else is in the ISR. There is none when nobody of them could lead. The
// leader epoch is a new one also when nothing else is: it tells those that leave.
func confine(replicas []int32, s cluster.PartitionState, r roll) (cluster.PartitionState, bool) {
	stays := func(id int32) bool { return slices.Contains(replicas, id) }
	next := s
	next.ISR = keep(s.ISR, stays)
	if !stays(s.Leader) || !r.alive(s.Leader) {
		successor, found := candidate(replicas, s.ISR, r.online)
		if !found {
			return s, false
		}
		next.Leader = successor
	}
	next.LeaderEpoch = s.LeaderEpoch + 1
	return next, true
}

// checkMove says what is wrong with a list of replicas to move to.
func checkMove(to []int32, live func(int32) bool) error {
	if len(to) == 0 {
		return fmt.Errorf("%w: no replicas", cluster.ErrInvalidAssignment)
	}
	for i, id := range to {
		switch {
		case id < 0:
			return fmt.Errorf("%w: broker %d", cluster.ErrInvalidAssignment, id)
		case slices.Contains(to[:i], id):
			return fmt.Errorf("%w: broker %d stands twice in %v", cluster.ErrInvalidAssignment, id, to)
		case !live(id):
			return fmt.Errorf("%w: broker %d of %v is not alive", cluster.ErrInvalidAssignment, id, to)
		}
	}
	return nil
}

// without returns those of ids that are not in others, in their order.
func without(ids, others []int32) []int32 {
	return keep(ids, func(id int32) bool { return !slices.Contains(others, id) })
}
