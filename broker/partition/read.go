package partition

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/replica"
)

// Fetched is what Read found. The offsets are set also beside an error.
type Fetched struct {
	Records        buffer.Buffer // whole batches, none when there is nothing new; the caller releases it
	LogStartOffset int64         // inclusive
	HighWatermark  int64         // exclusive
}

// Read returns batches from the one that holds fromOffset up to the high
// watermark, at most maxBytes of them; with atLeastOne the first comes whole
// whatever its size (KIP-74). An offset outside the log is
// commitlog.ErrOffsetOutOfRange, but one that a follower has not yet is
// ErrOffsetNotAvailable; one that is written and not committed reads as nothing new.
func (p *Partition) Read(fromOffset int64, maxBytes int, atLeastOne bool) (Fetched, error) {
	var f Fetched
	f.LogStartOffset, f.HighWatermark = p.Offsets()
	if err := p.Err(); err != nil {
		return f, err
	}
	if fromOffset < f.LogStartOffset || fromOffset > p.log.EndOffset() {
		reason := commitlog.ErrOffsetOutOfRange
		if leader, _, leads := p.Role(); fromOffset >= f.LogStartOffset && leader >= 0 && !leads {
			reason = ErrOffsetNotAvailable
		}
		return f, fmt.Errorf("%s: offset %d is outside %d to %d: %w", p.name, fromOffset, f.LogStartOffset, f.HighWatermark, reason)
	}
	return f, p.read(&f, fromOffset, f.HighWatermark, maxBytes, atLeastOne)
}

func (p *Partition) read(f *Fetched, fromOffset, endOffset int64, maxBytes int, atLeastOne bool) error {
	if fromOffset >= endOffset {
		return nil
	}
	if err := p.log.ReadInto(&f.Records, fromOffset, endOffset, maxBytes, atLeastOne); err != nil {
		f.Records.Release()
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// LatestOffset is the one that readers stop before, for who asks for the latest. A new
// leader that has not committed all that it found does not know it: a client may have
// read further at the leader before. Then it is ErrOffsetNotAvailable.
func (p *Partition) LatestOffset() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.leading; l != nil && p.highWatermark < l.EpochStart() && !l.Alone() {
		return 0, fmt.Errorf("%s: committed up to %d, of %d that were there: %w", p.name, p.highWatermark, l.EpochStart(), ErrOffsetNotAvailable)
	}
	return p.highWatermark, nil
}

// ReplicaFetch is what a follower asks for.
type ReplicaFetch struct {
	Replica            int32
	BrokerEpoch        int64 // -1: not told
	CurrentLeaderEpoch int32 // -1: not told
	Offset             int64 // where the follower's log ends, durably
	LastFetchedEpoch   int32 // of the batch before it; -1: not told
	LogStartOffset     int64
	MaxBytes           int
	AtLeastOne         bool
	Throttled          bool // a replica that is not in sync gets at most Allowance bytes
	Allowance          int
}

// ReadReplica is a follower's read. It tells the leader where the follower is, and
// reads up to what is durable here: never what a power cut could take. When the
// follower has something that this log has not, diverging says where, nothing is read,
// and nothing counts as told.
func (p *Partition) ReadReplica(r ReplicaFetch) (f Fetched, diverging *EpochEnd, err error) {
	leading, err := p.ledIn(r.CurrentLeaderEpoch)
	if err != nil {
		return f, nil, err
	}
	f.LogStartOffset, f.HighWatermark = p.Offsets()
	if diverging, err = p.compare(r, f.LogStartOffset); err != nil || diverging != nil {
		return f, diverging, err
	}
	durableEnd, inSync, err := p.heard(leading, r)
	if err != nil {
		return f, nil, err
	}
	f.LogStartOffset, f.HighWatermark = p.Offsets()
	if r.Throttled && !inSync { // one that is in sync stays it
		if r.Allowance <= 0 {
			return f, nil, nil
		}
		r.MaxBytes = min(r.MaxBytes, r.Allowance)
	}
	return f, nil, p.read(&f, r.Offset, durableEnd, r.MaxBytes, r.AtLeastOne)
}

// ledIn returns the leader that this broker is, if it is that in the epoch that a
// follower goes by.
func (p *Partition) ledIn(leaderEpoch int32) (*replica.Leader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ours := p.order.LeaderEpoch
	switch {
	case p.failed != nil:
		return nil, p.failed
	case leaderEpoch >= 0 && leaderEpoch < ours:
		return nil, fmt.Errorf("%s: leader epoch %d, ours is %d: %w", p.name, leaderEpoch, ours, ErrFencedLeaderEpoch)
	case leaderEpoch > ours:
		return nil, fmt.Errorf("%s: leader epoch %d, ours is %d: %w", p.name, leaderEpoch, ours, ErrUnknownLeaderEpoch)
	case p.leading == nil:
		return nil, fmt.Errorf("%s: %w", p.name, ErrNotLeader)
	}
	return p.leading, nil
}

// compare holds a follower's end against the log.
func (p *Partition) compare(r ReplicaFetch, logStartOffset int64) (diverging *EpochEnd, err error) {
	if r.LastFetchedEpoch >= 0 {
		var end EpochEnd
		if end.Epoch, end.EndOffset, err = p.log.EndOffsetForEpoch(r.LastFetchedEpoch); err != nil {
			return nil, err
		}
		diverged, known := replica.Diverged(r.LastFetchedEpoch, r.Offset, end)
		switch {
		case !known || r.Offset < logStartOffset:
			return nil, fmt.Errorf("%s: a replica is at offset %d of leader epoch %d: %w", p.name, r.Offset, r.LastFetchedEpoch, commitlog.ErrOffsetOutOfRange)
		case diverged:
			return &end, nil
		}
	}
	if logEnd := p.log.EndOffset(); r.Offset < logStartOffset || r.Offset > logEnd {
		return nil, fmt.Errorf("%s: a replica is at offset %d, the log is %d to %d: %w", p.name, r.Offset, logStartOffset, logEnd, commitlog.ErrOffsetOutOfRange)
	}
	return nil, nil
}

// heard notes where a follower is, while this broker is still the same leader, and
// returns up to where the follower may read, and whether it is in sync.
func (p *Partition) heard(leading *replica.Leader, r ReplicaFetch) (durableEnd int64, inSync bool, err error) {
	p.mu.Lock()
	var n news
	switch {
	case p.leading != leading:
		err = ErrNotLeader
	default:
		err = leading.Fetched(replica.Fetch{Replica: r.Replica, BrokerEpoch: r.BrokerEpoch, Offset: r.Offset, LogStartOffset: r.LogStartOffset}, time.Now())
		n, durableEnd = p.settle(false), p.durableEnd
		inSync = slices.Contains(leading.ISR(), r.Replica)
	}
	p.mu.Unlock()
	n.tell()
	if errors.Is(err, replica.ErrNotReplica) {
		err = fmt.Errorf("%w: %w", ErrUnknownLeaderEpoch, err)
	}
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", p.name, err)
	}
	return durableEnd, inSync, nil
}

// OffsetForTime returns the first readable record whose timestamp is at or after
// the given one (Unix milliseconds), looking into compressed batches. found is
// false when there is none.
func (p *Partition) OffsetForTime(timestamp int64) (offset, at int64, found bool, err error) {
	fromOffset, highWatermark := p.Offsets()
	for {
		b, found, err := p.log.BatchForTime(timestamp, fromOffset, highWatermark)
		if err != nil || !found {
			return 0, 0, false, err
		}
		offset, at, found, err = recordForTime(b, timestamp, fromOffset)
		if err != nil {
			return 0, 0, false, fmt.Errorf("%s: look into the batch at offset %d: %w", p.name, b.BaseOffset(), err)
		}
		if found || fromOffset >= b.NextOffset() {
			return offset, at, found, nil
		}
		fromOffset = b.NextOffset() // the log starts in b, behind the record that reached the time
	}
}

// recordForTime returns the first record of b at or after the timestamp, of those
// from fromOffset on. When b only says that it has one, and starts no earlier, it
// returns what b says.
func recordForTime(b record.Batch, timestamp, fromOffset int64) (offset, at int64, found bool, err error) {
	offset, at, found = b.BaseOffset(), b.MaxTimestamp(), b.BaseOffset() >= fromOffset
	err = codec.Records(b, maxInspectedBytes, func(r record.Record) bool {
		recordOffset, recordTime := b.BaseOffset()+int64(r.OffsetDelta), b.BaseTimestamp()+r.TimestampDelta
		if recordTime < timestamp || recordOffset < fromOffset {
			return true
		}
		offset, at, found = recordOffset, recordTime, true
		return false
	})
	return offset, at, found, err
}
