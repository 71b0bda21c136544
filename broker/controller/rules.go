package controller

import "github.com/headwater/headwater/broker/cluster"

// The rules of this room for one partition, for who checks them together with those
// of the replicas. A term goes by the same functions.

// Roll says which brokers can serve a partition: those that are online may begin to,
// those that are alive may go on.
type Roll struct{ Online, Alive func(broker int32) bool }

func (r Roll) rules() roll { return roll{online: r.Online, alive: r.Alive} }

// FirstState is the state that a new partition begins with, if somebody is online.
func FirstState(a cluster.Assignment, r Roll) (cluster.PartitionState, bool) {
	return firstState(a, r.rules())
}

// AfterChange is what becomes of a partition once brokers have come or gone.
func AfterChange(a cluster.Assignment, s cluster.PartitionState, r Roll, unclean bool) (cluster.PartitionState, bool) {
	return afterChange(a, s, r.rules(), unclean)
}

// Preferred has the first replica lead.
func Preferred(a cluster.Assignment, s cluster.PartitionState, r Roll) (cluster.PartitionState, error) {
	return preferred(a, s, r.rules())
}

// HandOver takes a broker that wants to leave out of a partition.
func HandOver(a cluster.Assignment, s cluster.PartitionState, leaving int32, r Roll) (cluster.PartitionState, bool) {
	return handOver(a, s, leaving, r.rules())
}

// Judge says what a leader's wish makes of the state s.
func Judge(s cluster.PartitionState, a cluster.Assignment, leader int32, w ISRChange, eligible func(ISRMember) bool) (cluster.PartitionState, error) {
	return judge(s, a, leader, w, eligible)
}
