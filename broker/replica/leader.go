package replica

import (
	"fmt"
	"slices"
	"time"
)

// Config is what a leader goes by.
type Config struct {
	Self   int32
	MaxLag time.Duration // replica.lag.time.max.ms: who has not been caught up for longer leaves the ISR
	MinISR int           // min.insync.replicas; of fewer replicas, all
	// Live reports whether a broker is alive, as the controller says. Nil: all are.
	// It is called in the middle of everything: it must not block.
	Live func(brokerID int32) bool
}

// DefaultMaxLag is Kafka's.
const DefaultMaxLag = 30 * time.Second

// Leader is one partition's leader in one leader epoch.
type Leader struct {
	cfg            Config
	leaderEpoch    int32
	partitionEpoch int32
	epochStart     int64 // where the log ended when the epoch began
	pinned         bool

	endOffset     int64 // of this replica, durable
	highWatermark int64
	remotes       []remote  // the other replicas
	isr           []int32   // as the controller has confirmed it
	pending       *pending  // the change of it that was proposed, nil for none
	restUntil     time.Time // nothing is proposed before
}

// NewLeader begins an epoch. epochStart is where the log ends, durable or not;
// endOffset what is durable of it, and highWatermark as far as this replica knows it.
func NewLeader(cfg Config, o Order, epochStart, endOffset, highWatermark int64, now time.Time) *Leader {
	l := &Leader{cfg: cfg, leaderEpoch: o.LeaderEpoch, epochStart: epochStart, endOffset: endOffset, highWatermark: min(highWatermark, endOffset)}
	l.take(o, now)
	return l
}

// Reorder takes a later order of the same leader epoch. What was proposed is no more:
// the order says what has come of it. One of a partition epoch that is known already
// changes nothing: a proposal for that may yet be applied.
func (l *Leader) Reorder(o Order, now time.Time) (changed bool) {
	if o.PartitionEpoch <= l.partitionEpoch {
		return false
	}
	l.take(o, now)
	return true
}

func (l *Leader) take(o Order, now time.Time) {
	l.partitionEpoch, l.pinned = o.PartitionEpoch, o.Pinned
	l.isr, l.pending = slices.Clone(o.ISR), nil
	known := l.remotes
	l.remotes = make([]remote, 0, len(o.Replicas))
	for _, id := range o.Replicas {
		if id == l.cfg.Self {
			continue
		}
		r := newRemote(id, slices.Contains(l.isr, id), now)
		if i := slices.IndexFunc(known, func(r remote) bool { return r.id == id }); i >= 0 {
			r = known[i]
		}
		l.remotes = append(l.remotes, r)
	}
	l.advance(now)
}

// SetMinISR changes min.insync.replicas.
func (l *Leader) SetMinISR(n int, now time.Time) {
	l.cfg.MinISR = n
	l.advance(now)
}

// Durable notes that this replica's log is durable up to endOffset.
func (l *Leader) Durable(endOffset int64, now time.Time) {
	l.endOffset = max(l.endOffset, endOffset)
	l.advance(now)
}

// Fetched notes a follower's fetch, which must be of this leader epoch, and of a log
// that does not diverge from this one.
func (l *Leader) Fetched(f Fetch, now time.Time) error {
	r := l.remote(f.Replica)
	if r == nil {
		return fmt.Errorf("broker %d: %w", f.Replica, ErrNotReplica)
	}
	if f.BrokerEpoch >= 0 && f.BrokerEpoch < r.brokerEpoch {
		return fmt.Errorf("broker %d fetches with epoch %d, the last one was %d: %w", f.Replica, f.BrokerEpoch, r.brokerEpoch, ErrStaleBrokerEpoch)
	}
	r.fetched(f, l.endOffset, now)
	l.advance(now)
	return nil
}

func (l *Leader) remote(id int32) *remote {
	for i := range l.remotes {
		if l.remotes[i].id == id {
			return &l.remotes[i]
		}
	}
	return nil
}

// Alone reports whether there is no other replica. Then no time matters.
func (l *Leader) Alone() bool { return len(l.remotes) == 0 }

// LeaderEpoch is the epoch.
func (l *Leader) LeaderEpoch() int32 { return l.leaderEpoch }

// PartitionEpoch is that of the last order or confirmed change of the ISR.
func (l *Leader) PartitionEpoch() int32 { return l.partitionEpoch }

// EpochStart is where the log ended when the epoch began.
func (l *Leader) EpochStart() int64 { return l.epochStart }

// ISR is the in-sync replicas as the controller has confirmed them. It never changes;
// a later one takes its place.
func (l *Leader) ISR() []int32 { return l.isr }

// FollowerEnd is where a follower's log ends durably, as far as it has told in this
// epoch.
func (l *Leader) FollowerEnd(id int32) int64 {
	if r := l.remote(id); r != nil {
		return r.endOffset
	}
	return Unknown
}

// LowWatermark is where the replicas that are alive start, at the latest: what is
// before it is gone from all of them. It is Unknown until each of them has said so.
func (l *Leader) LowWatermark(logStartOffset int64) int64 {
	low := logStartOffset
	for i := range l.remotes {
		if l.live(l.remotes[i].id) {
			low = min(low, l.remotes[i].logStartOffset)
		}
	}
	return low
}

func (l *Leader) live(id int32) bool { return l.cfg.Live == nil || l.cfg.Live(id) }
