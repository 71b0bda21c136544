package api

import (
	"fmt"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
)

// What a memPartition has for followers, and for clients of a region: a test sets
// what it asks for. By itself it leads, alone.

// replicas is the part of a memPartition that other brokers see.
type replicas struct {
	follows   bool  // another broker leads, in leaderEpoch
	minISR    error // what AppendAll refuses
	heard     []partition.ReplicaFetch
	diverging *partition.EpochEnd
	nearest   map[int32]int64 // ends of followers that are in sync
	keep      int64           // records before the leader's first that a follower still has
	latest    error           // that the latest offset is not known yet
}

func (p *memPartition) Role() (leader, leaderEpoch int32, leads bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 7, p.leaderEpoch, !p.others.follows
}

func (p *memPartition) AppendThen(b record.Batch, all bool, done func(baseOffset int64, err error)) {
	put, await := p.Append, p.Await
	if all {
		put, await = p.AppendAll, p.AwaitAll
	}
	baseOffset, nextOffset, err := put(b)
	if err != nil {
		done(-1, err)
		return
	}
	await(nextOffset, func(err error) { done(baseOffset, err) })
}

func (p *memPartition) AppendAll(b record.Batch) (baseOffset, nextOffset int64, err error) {
	if p.others.minISR != nil {
		return 0, 0, p.others.minISR
	}
	return p.Append(b)
}

func (p *memPartition) AwaitAll(nextOffset int64, done func(error)) { p.Await(nextOffset, done) }

func (p *memPartition) ReadReplica(r partition.ReplicaFetch) (partition.Fetched, *partition.EpochEnd, error) {
	p.mu.Lock()
	p.others.heard = append(p.others.heard, r)
	diverging := p.others.diverging
	p.mu.Unlock()
	if diverging != nil {
		return partition.Fetched{}, diverging, nil
	}
	f, err := p.Read(r.Offset, r.MaxBytes, r.AtLeastOne)
	return f, nil, err
}

func (p *memPartition) WatchEnd(wake chan<- struct{}) (stop func()) { return p.Watch(wake) }

func (p *memPartition) Durable() int64 {
	_, durable := p.Offsets()
	return durable
}

func (p *memPartition) LatestOffset() (int64, error) {
	if p.others.latest != nil {
		return 0, fmt.Errorf("press-0: %w", p.others.latest)
	}
	return p.Durable(), nil
}

func (p *memPartition) NearestReplica(fromOffset int64, near func(brokerID int32) bool) (brokerID int32, ok bool) {
	for id, end := range p.others.nearest {
		if near(id) && end >= fromOffset {
			return id, true
		}
	}
	return 0, false
}
