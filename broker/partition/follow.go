package partition

import (
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/replica"
)

// EpochEnd is where a leader epoch ends in a log; -1, -1 when that does not know it.
type EpochEnd = replica.EpochEnd

// Position is what a follower asks its leader with: where its log ends, of which leader
// epoch its last batch is, -1 for none, and where it starts. What it may ask for is
// from Durable on, where that is before the end.
func (p *Partition) Position() (logEndOffset int64, lastEpoch int32, logStartOffset int64) {
	p.role.RLock()
	defer p.role.RUnlock()
	return p.log.EndOffset(), p.lastEpoch, p.log.StartOffset()
}

// Durable is up to where the log is durable.
func (p *Partition) Durable() int64 { return p.log.DurableEnd() }

// following reports why this broker does not follow in an epoch. role is held.
func (p *Partition) following(leaderEpoch int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failed != nil:
		return p.failed
	case leaderEpoch > p.order.LeaderEpoch:
		return fmt.Errorf("%s: leader epoch %d, ours is %d: %w", p.name, leaderEpoch, p.order.LeaderEpoch, ErrUnknownLeaderEpoch)
	case leaderEpoch < p.order.LeaderEpoch, p.leading != nil, p.order.Leader < 0:
		return fmt.Errorf("%s: follows nobody in leader epoch %d: %w", p.name, leaderEpoch, ErrFencedLeaderEpoch)
	}
	return nil
}

// AppendFetched takes what the leader of an epoch answered: whole batches, each held
// against its checksum, from the end of this log on, and where the leader's log starts
// and is committed. In another epoch than this partition's it does nothing. After an
// error the batches before the one that it is about are appended.
func (p *Partition) AppendFetched(leaderEpoch int32, records []byte, leaderHighWatermark, leaderLogStartOffset int64) error {
	var n news
	defer func() { n.tell() }()
	p.role.Lock()
	defer p.role.Unlock()
	if err := p.following(leaderEpoch); err != nil {
		return err
	}
	if err := p.leaveBehind(leaderHighWatermark, leaderLogStartOffset); err != nil {
		return fmt.Errorf("%s: delete what the leader has deleted: %w", p.name, err)
	}
	lastEpoch, err := p.producers.replicate(records)
	p.lastEpoch = max(p.lastEpoch, lastEpoch)
	p.mu.Lock()
	p.leaderHighWatermark, p.leaderLogStart = leaderHighWatermark, leaderLogStartOffset
	durableEnd := p.log.DurableEnd()
	ended := durableEnd > p.durableEnd
	p.durableEnd = durableEnd
	n = p.settle(ended)
	start := p.wantedStart()
	p.mu.Unlock()
	if err == nil && start > p.log.StartOffset() && p.set.mayMoveStart(time.Now()) {
		_, err = p.deleteBefore(start)
	}
	if err != nil {
		return fmt.Errorf("%s: take what the leader has: %w", p.name, err)
	}
	return nil
}

// leaveBehind deletes all of a log that ends where its leader's starts, before anything
// is appended or the high watermark moves. The leader knows no epochs from before its
// start, and could not tell whether it had the same there; so nobody may read it. role
// is held alone.
func (p *Partition) leaveBehind(leaderHighWatermark, leaderLogStartOffset int64) error {
	own, end := p.log.StartOffset(), p.log.EndOffset()
	if own == end || end > leaderLogStartOffset {
		return nil
	}
	highWatermark := replica.FollowerHighWatermark(p.highWatermarkNow(), leaderHighWatermark, p.log.DurableEnd())
	start := replica.FollowerLogStart(own, leaderLogStartOffset, highWatermark)
	if start <= own {
		return nil
	}
	_, err := p.deleteBefore(start)
	return err
}

// wantedStart is where a follower's log is to start. mu is held.
func (p *Partition) wantedStart() int64 {
	own := p.log.StartOffset()
	if p.leading != nil {
		return own
	}
	return replica.FollowerLogStart(own, p.leaderLogStart, p.highWatermark)
}

// followStart has a follower's log start where its leader's does.
func (p *Partition) followStart() error {
	p.role.RLock()
	defer p.role.RUnlock()
	p.mu.Lock()
	start := p.wantedStart()
	p.mu.Unlock()
	if start <= p.log.StartOffset() {
		return nil
	}
	_, err := p.deleteBefore(start)
	return err
}

// Diverged removes what this log has and the leader's has not, by what the leader of an
// epoch said about the last epoch of this log: the diverging epoch of a fetch, or an
// OffsetForLeaderEpoch. There may be more to remove: the next fetch, which asks with
// what is the last epoch then, tells. An end of no epoch, -1, is where the log is to
// end.
func (p *Partition) Diverged(leaderEpoch int32, end EpochEnd) error {
	p.role.Lock()
	defer p.role.Unlock()
	if err := p.following(leaderEpoch); err != nil {
		return err
	}
	var own EpochEnd
	var err error
	if own.Epoch, own.EndOffset, err = p.log.EndOffsetForEpoch(end.Epoch); err == nil {
		log := replica.Log{EndOffset: p.log.EndOffset(), HighWatermark: p.highWatermarkNow()}
		err = p.truncate(replica.Truncate(end, own, log).EndOffset)
	}
	if err != nil {
		return fmt.Errorf("%s: truncate to what the leader has: %w", p.name, err)
	}
	return nil
}

// OutOfRange makes the log one that its leader can continue, which has said
// OFFSET_OUT_OF_RANGE and where its own log starts and ends.
func (p *Partition) OutOfRange(leaderEpoch int32, leaderStart, leaderEnd int64) error {
	logEnd, _, _ := p.Position()
	r := replica.Recover(leaderStart, leaderEnd, logEnd)
	if r.Restart {
		return p.Restart(leaderEpoch, r.FetchOffset)
	}
	return p.Diverged(leaderEpoch, EpochEnd{Epoch: replica.Unknown, EndOffset: r.FetchOffset})
}

// Restart empties the log, which starts and ends at startOffset then: the leader of the
// epoch has nothing earlier.
func (p *Partition) Restart(leaderEpoch int32, startOffset int64) error {
	p.role.Lock()
	defer p.role.Unlock()
	if err := p.following(leaderEpoch); err != nil {
		return err
	}
	before := p.log.EndOffset()
	err := p.producers.reset()
	if err == nil {
		err = p.log.Reset(startOffset)
	}
	if err != nil {
		return fmt.Errorf("%s: start again at offset %d: %w", p.name, startOffset, err)
	}
	p.lastEpoch = replica.Unknown
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost(min(before, p.highWatermark), before)
	p.durableEnd, p.highWatermark = p.log.DurableEnd(), startOffset
	return nil
}

// truncate removes what lies at and behind endOffset, here and from what is known of
// producers, and a leader epoch that begins there: one that this broker began as the
// leader, and has no batch of. role is held alone.
func (p *Partition) truncate(endOffset int64) (err error) {
	before := p.log.EndOffset()
	if endOffset < before {
		p.lower(endOffset) // first: nobody reads what goes
	}
	if err = p.log.Truncate(min(endOffset, before)); err != nil {
		return err
	}
	if end := p.log.EndOffset(); end < before {
		p.lower(end)
		p.mu.Lock()
		p.lost(end, before)
		p.mu.Unlock()
		if err := p.producers.truncated(); err != nil {
			p.offline(fmt.Errorf("%s: %w", p.name, err)) // snapshots could speak of other records soon
			return err
		}
	}
	p.lastEpoch, err = p.log.LastEpoch()
	return err
}

// lower takes what is known of the log's end back.
func (p *Partition) lower(endOffset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if endOffset < p.highWatermark {
		p.set.log.Error("records below the high watermark are truncated: a leader was elected that has not got them",
			"partition", p.name, "endOffset", endOffset, "highWatermark", p.highWatermark)
	}
	p.durableEnd, p.highWatermark = min(p.durableEnd, endOffset), min(p.highWatermark, endOffset)
}

func (p *Partition) highWatermarkNow() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.highWatermark
}

// offline is for what fails outside the log.
func (p *Partition) offline(err error) {
	p.mu.Lock()
	n := p.fail(err)
	p.mu.Unlock()
	n.tell()
}
