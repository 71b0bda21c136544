// Package replication keeps this broker's followers up with their leaders, and asks
// the controller for what this broker's leaders and producers need of it.
//
// Fetchers have one goroutine and one connection per leader, or a few. Each goes in
// rounds: it fetches for all the partitions that it follows there, appends what has
// come, and waits until that is as durable as the data directory promises. Only then
// does it ask for more, since a fetch at an offset tells the leader that all before
// it is safe here. One sync serves all partitions of a round.
//
// What a partition does with what was fetched is the partition's to decide; whether
// it still follows that leader, too: each call to it names the leader epoch in which
// the bytes were asked for. A partition that the leader or the local log refuses is
// left alone for a while, and holds up no other.
//
// Leaders must answer Fetch version 12, which tells where logs diverge: Kafka 2.7
// and later.
//
// Sizes are in bytes. End offsets are exclusive.
package replication

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/replica"
)

// Replicas are the partitions that this broker has.
type Replicas interface {
	Get(topic string, index int32) (Replica, error)
}

// Replica is a partition that follows. Every method that changes it names the leader
// epoch that the change is from, and refuses one that is not the partition's own.
type Replica interface {
	// Position returns where the log ends, the leader epoch of its last batch (-1 when
	// there is none), and where it starts.
	Position() (logEndOffset int64, lastEpoch int32, logStartOffset int64)
	// AppendFetched takes whole batches, none of them kept, and what the leader said
	// beside them.
	AppendFetched(leaderEpoch int32, records []byte, leaderHighWatermark, leaderLogStartOffset int64) error
	// Diverged removes what the leader does not have, who says where the last epoch, or
	// the latest before it, ends in its log.
	Diverged(leaderEpoch int32, end replica.EpochEnd) error
	// Restart empties the log, to go on at startOffset.
	Restart(leaderEpoch int32, startOffset int64) error
	// Await calls done once all below nextOffset is durable, or never will be.
	Await(nextOffset int64, done func(error))
}

// Hosted makes Replicas of a function that finds one of a kind.
func Hosted[R Replica](get func(topic string, index int32) (R, error)) Replicas {
	return hosted[R](get)
}

type hosted[R Replica] func(topic string, index int32) (R, error)

func (h hosted[R]) Get(topic string, index int32) (Replica, error) { return h(topic, index) }

// Caller is a connection to a broker; *peer.Conn is one.
type Caller interface {
	Call(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	MaxVersion(ctx context.Context, key int16) (int16, error)
	Close()
}
