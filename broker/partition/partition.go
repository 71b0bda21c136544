// Package partition is a partition's role on this broker: as the leader it takes
// records, knows the high watermark, and wakes those who wait for it to move; as a
// follower it takes what the leader has.
//
// The log below it owns the bytes and their durability, replica the rules; this room
// decides what may be read and when an append is acknowledged. All methods may be
// called from any goroutine; nothing here starts one.
//
// Locks of a Partition, in the order in which they are taken: role, those of its
// producers, those of its log, mu. Only mu is held for memory alone: role is held
// across an append, so that none is of a role that has ended.
package partition

import (
	"errors"
	"fmt"
	"sync"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/replica"
	"github.com/headwater/headwater/broker/topic"
)

var (
	// ErrUnknown is returned for a topic or partition that this broker has not.
	ErrUnknown = errors.New("unknown topic or partition")
	// ErrNotLeader is returned by a partition that this broker does not lead.
	ErrNotLeader = errors.New("not leader of the partition")
	// ErrNotEnoughReplicas is returned for records that all replicas are to have,
	// while fewer than min.insync.replicas are in sync. Nothing was appended.
	ErrNotEnoughReplicas = errors.New("fewer replicas in sync than min.insync.replicas")
	// ErrNotEnoughReplicasAfterAppend is returned for records that are on all replicas
	// that are in sync, which have become fewer than min.insync.replicas meanwhile.
	ErrNotEnoughReplicasAfterAppend = errors.New("fewer replicas in sync than min.insync.replicas, after the append")
	// ErrFencedLeaderEpoch is returned to who goes by an earlier leader epoch.
	ErrFencedLeaderEpoch = errors.New("the partition has a later leader epoch")
	// ErrUnknownLeaderEpoch is returned to who goes by a later leader epoch, or is no
	// replica as far as this broker knows.
	ErrUnknownLeaderEpoch = errors.New("the partition has an earlier leader epoch")
	// ErrOffsetNotAvailable is returned for an offset that is known to be there, and
	// not here yet.
	ErrOffsetNotAvailable = errors.New("the offset is not available yet")
)

// maxInspectedBytes bounds what one compressed batch may expand to when a reader
// asks for the offset of a timestamp.
const maxInspectedBytes = 64 << 20

// Partition is one that this broker hosts.
type Partition struct {
	key
	id        topic.ID
	name      string // "sensors-7", for errors and logs
	set       *Set
	log       *commitlog.Log
	producers *producers
	keys      keyCheck

	// role is held by appends, which share it, and alone by what changes the role or a
	// follower's log.
	role      sync.RWMutex
	lastEpoch int32 // of a follower's last batch; guarded by role

	mu                  sync.Mutex // guards all below
	order               Order      // the latest; its ISR is that of a follower's leader
	stopped             bool       // that order does not hold any more
	leading             *replica.Leader
	minISR              int   // min.insync.replicas
	durableEnd          int64 // as the log has told
	highWatermark       int64
	leaderHighWatermark int64 // as a follower's leader has told in this leader epoch
	leaderLogStart      int64 // the same
	ackedEnd            int64 // records below it may have been acknowledged when they were durable here
	failed              error // the partition is offline for this reason
	waiting             []waiter
	waitingAll          []waiter
	watchers            watchers // of the high watermark
	endWatchers         watchers // of the durable end, too
	lowWatchers         watchers // of the low watermark
}

// newPartition takes log over. What lies in it is durable: recovery has kept only
// what is on stable storage.
func newPartition(s *Set, k key, id topic.ID, log *commitlog.Log, producers *producers) *Partition {
	p := &Partition{
		key:           k,
		id:            id,
		name:          k.String(),
		set:           s,
		log:           log,
		producers:     producers,
		keys:          keyCheck{decompressing: &s.decompress},
		lastEpoch:     replica.Unknown,
		order:         Order{Leader: replica.Unknown, LeaderEpoch: replica.Unknown},
		minISR:        1,
		durableEnd:    log.DurableEnd(),
		highWatermark: s.checkpointed(k.String(), log),
		watchers:      watchers{},
		endWatchers:   watchers{},
		lowWatchers:   watchers{},
	}
	log.Notify(p.durable)
	return p
}

// Topic is the name of the partition's topic.
func (p *Partition) Topic() string { return p.topic }

// Index is the partition's number in its topic.
func (p *Partition) Index() int32 { return p.index }

// EndOffsetForEpoch returns where a leader epoch ends: the latest epoch up to the
// one that is asked for and the offset that follows its last record, -1 and -1 for
// an epoch that is not known. What a power cut could still take is no part of it.
func (p *Partition) EndOffsetForEpoch(leaderEpoch int32) (foundEpoch int32, endOffset int64, err error) {
	if err := p.Err(); err != nil {
		return -1, -1, err
	}
	durableEnd := p.log.DurableEnd()
	foundEpoch, endOffset, err = p.log.EndOffsetForEpoch(leaderEpoch)
	return foundEpoch, min(endOffset, durableEnd), err
}

// DeleteBefore gives up the records before offset and returns the log start offset:
// offset, or where the log starts already if that is later. No crash takes it back.
// An offset above the high watermark is commitlog.ErrOffsetOutOfRange.
func (p *Partition) DeleteBefore(offset int64) (logStartOffset int64, err error) {
	if err := p.Err(); err != nil {
		return 0, err
	}
	if _, highWatermark := p.Offsets(); offset > highWatermark {
		return 0, fmt.Errorf("%s: offset %d is above the high watermark %d: %w", p.name, offset, highWatermark, commitlog.ErrOffsetOutOfRange)
	}
	return p.deleteBefore(offset)
}

func (p *Partition) deleteBefore(offset int64) (logStartOffset int64, err error) {
	if err := p.producers.outlive(offset); err != nil {
		return 0, fmt.Errorf("%s: %w", p.name, err)
	}
	return p.log.DeleteBefore(offset)
}

// Err is why the partition is offline, nil while it serves.
func (p *Partition) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Offsets returns the first offset that can be read and the one that readers stop
// before.
func (p *Partition) Offsets() (logStartOffset, highWatermark int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.StartOffset(), p.highWatermark
}

// Size is what the partition's segments take on disk, in bytes.
func (p *Partition) Size() int64 { return p.log.Size() }
