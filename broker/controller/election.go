package controller

import (
	"slices"

	"github.com/headwater/headwater/broker/cluster"
)

// noLeader is a partition's leader when it has none.
const noLeader int32 = -1

// Every rule below returns the state that follows s, with a leader epoch that is
// one higher, and whether there is one. None of them puts a replica into the ISR
// that was not in it, but for an unclean election: what was acknowledged by all of
// the ISR is on all of it. So a partition whose ISR is one replica waits for that
// one, however many others there are.

// roll says which brokers can serve a partition. Those that are online may begin
// to lead it or be in its ISR; those that are alive may go on: online, or on
// their way out.
type roll struct {
	online, alive func(broker int32) bool
}

// firstState is the state that a new partition begins with: its first replica that
// is online leads, and all that are online are in the ISR. There is none while
// nobody is.
func firstState(a cluster.Assignment, r roll) (cluster.PartitionState, bool) {
	isr := keep(a.Replicas, r.online)
	if len(isr) == 0 {
		return cluster.PartitionState{}, false
	}
	return cluster.PartitionState{Leader: isr[0], ISR: isr}, true
}

// afterChange is what becomes of a partition once brokers have come or gone: a
// leader that is gone is replaced, and who is gone leaves the ISR. The last of an
// ISR stays in it, gone or not: it has what the others may lack. With unclean,
// when all of the ISR are gone, whoever is online leads, and what it lacks is lost.
func afterChange(a cluster.Assignment, s cluster.PartitionState, r roll, unclean bool) (cluster.PartitionState, bool) {
	leads := s.Leader != noLeader && r.alive(s.Leader)
	next := s
	switch successor, found := candidate(a.Replicas, s.ISR, r.online); {
	case leads && r.online(s.Leader):
		next.ISR = orAll(keep(s.ISR, r.alive), s.ISR)
	case found:
		next.Leader, next.ISR = successor, keep(s.ISR, r.online)
	case leads: // it is on its way out, and there is nobody to follow it
		next.ISR = orAll(keep(s.ISR, r.alive), s.ISR)
	case unclean && !slices.ContainsFunc(s.ISR, r.alive) && slices.ContainsFunc(a.Replicas, r.online):
		next.Leader = a.Replicas[slices.IndexFunc(a.Replicas, r.online)]
		next.ISR, next.Recovering = []int32{next.Leader}, true
	default:
		next.Leader, next.ISR = noLeader, orAll(keep(s.ISR, r.alive), s.ISR)
	}
	return changed(s, next)
}

// preferred has the first replica lead. It cannot when it is not online or not in
// the ISR.
func preferred(a cluster.Assignment, s cluster.PartitionState, r roll) (cluster.PartitionState, error) {
	switch first := a.Replicas[0]; {
	case s.Leader == first:
		return s, cluster.ErrElectionNotNeeded
	case !r.online(first) || !slices.Contains(s.ISR, first):
		return s, cluster.ErrPreferredNotAvailable
	default:
		s.Leader = first
		s.LeaderEpoch++
		return s, nil
	}
}

// handOver takes a broker that wants to leave out of a partition: another leads,
// and it is not in the ISR. It stays the leader when there is no other.
func handOver(a cluster.Assignment, s cluster.PartitionState, leaving int32, r roll) (cluster.PartitionState, bool) {
	stays := func(id int32) bool { return id != leaving && r.online(id) }
	next := s
	if s.Leader == leaving {
		successor, found := candidate(a.Replicas, s.ISR, stays)
		if !found {
			return s, false
		}
		next.Leader, next.ISR = successor, keep(s.ISR, stays)
		return changed(s, next)
	}
	if s.Leader != noLeader {
		next.ISR = orAll(keep(s.ISR, func(id int32) bool { return id != leaving }), s.ISR)
	}
	return changed(s, next)
}

// candidate is the first of replicas that is in the ISR and allowed.
func candidate(replicas, isr []int32, allowed func(int32) bool) (int32, bool) {
	i := slices.IndexFunc(replicas, func(id int32) bool { return slices.Contains(isr, id) && allowed(id) })
	if i < 0 {
		return noLeader, false
	}
	return replicas[i], true
}

// changed returns next with the leader epoch that it needs, if it is another state
// than s.
func changed(s, next cluster.PartitionState) (cluster.PartitionState, bool) {
	if next.Leader == s.Leader && slices.Equal(next.ISR, s.ISR) {
		return s, false
	}
	next.LeaderEpoch = s.LeaderEpoch + 1
	return next, true
}

// keep returns those of ids that are allowed, in their order.
func keep(ids []int32, allowed func(int32) bool) []int32 {
	out := make([]int32, 0, len(ids))
	for _, id := range ids {
		if allowed(id) {
			out = append(out, id)
		}
	}
	return out
}

// orAll returns kept, or all when nothing was kept.
func orAll(kept, all []int32) []int32 {
	if len(kept) == 0 {
		return all
	}
	return kept
}
