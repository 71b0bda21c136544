// Package replica is the rules by which the replicas of one partition stay the same:
// what a leader knows of its followers, where the high watermark is and who is in
// the ISR, and what a follower removes to be like its leader. They are Kafka's
// (2.8 to 3.9), with two differences that make them stricter:
//
//   - An end offset counts as far as it is on stable storage, the leader's own too.
//     What a power cut could take is neither committed nor given to a follower.
//   - A leader that begins an epoch knows nothing of its followers' ends, though it
//     led the epoch before: another may have led between, and a follower may have
//     truncated since.
//
// The package does no I/O, takes no locks and starts no goroutines; the time is
// handed in. A Leader may be used by one goroutine at a time. End offsets and high
// watermarks are exclusive, start offsets inclusive; unknown is -1.
package replica

import "errors"

var (
	// ErrNotReplica is returned for a fetch of a broker that is no replica.
	ErrNotReplica = errors.New("not a replica of the partition")
	// ErrStaleBrokerEpoch is returned for a fetch that was sent before its broker
	// registered again.
	ErrStaleBrokerEpoch = errors.New("the replica has registered again since")
)

// Unknown is an offset, and an epoch, that nobody knows.
const Unknown = -1

// EpochEnd is where a leader epoch ends in a log: the latest epoch up to the one that
// was asked for, and the offset that follows its last record. Both are Unknown for an
// epoch later than all of the log's.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}

// unknown reports whether the log that was asked does not have the epoch.
func (e EpochEnd) unknown() bool { return e.EndOffset == Unknown }

// Order is what the controller decided of a partition.
type Order struct {
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []int32 // the leader among them
	ISR            []int32
	Pinned         bool // the leader lets nobody else into the ISR
}
