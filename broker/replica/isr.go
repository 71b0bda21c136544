package replica

import (
	"slices"
	"time"
)

// Proposal is a change of the ISR that a leader asks the controller for.
type Proposal struct {
	LeaderEpoch    int32
	PartitionEpoch int32 // of the state that it changes
	ISR            []int32
}

func (p Proposal) equal(q Proposal) bool {
	return p.LeaderEpoch == q.LeaderEpoch && p.PartitionEpoch == q.PartitionEpoch && slices.Equal(p.ISR, q.ISR)
}

// Outcome is what has come of a proposal.
type Outcome int8

// The outcomes.
const (
	// Accepted: the partition is as the answer says.
	Accepted Outcome = iota
	// Refused: it was not applied, and never will be (INELIGIBLE_REPLICA,
	// OPERATION_NOT_ATTEMPTED).
	Refused
	// Superseded: the controller knows better, and will say so with its next order
	// (FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, UNKNOWN_TOPIC_OR_PARTITION and the
	// like). Until then either ISR may be the one that counts.
	Superseded
	// Failed: nobody knows whether it was applied; it is proposed again.
	Failed
)

// Answer is the controller's to a proposal. Beside Outcome, all is of Accepted.
type Answer struct {
	Outcome        Outcome
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []int32
}

// pending is a proposal that is not settled: one at a time.
type pending struct {
	proposal Proposal
	failures int
	failedAt time.Time // the last time
	sent     bool      // an answer is to come
	retryAt  time.Time // when it is proposed again; zero: not before the next order
}

// again lets the proposal be made again in a while.
func (p *pending) again(now time.Time) {
	p.retryAt = now.Add(min(firstRetry<<min(p.failures, 10), lastRetry))
	p.failures++
}

const (
	firstRetry   = 100 * time.Millisecond
	lastRetry    = 5 * time.Second
	afterRefusal = time.Second // before anything else is proposed: it would be refused as well
	// lateCopy is for how long a request that nobody answered may yet arrive. While one
	// may, to be told that another with the same content was refused settles nothing.
	lateCopy = time.Minute
)

// Propose returns the change of the ISR that the controller is to be asked for now.
// Each one must be answered; until it is, there is no other. Time alone may have
// moved the high watermark too: one who is out of sync is waited for no longer.
func (l *Leader) Propose(now time.Time) (Proposal, bool) {
	l.advance(now)
	if p := l.pending; p != nil {
		if p.sent || p.retryAt.IsZero() || now.Before(p.retryAt) {
			return Proposal{}, false
		}
		p.sent = true
		return p.proposal, true
	}
	isr := l.wantedISR(now)
	if slices.Equal(isr, l.isr) || now.Before(l.restUntil) {
		return Proposal{}, false
	}
	l.pending = &pending{proposal: Proposal{l.leaderEpoch, l.partitionEpoch, isr}, sent: true}
	return l.pending.proposal, true
}

// wantedISR is the ISR as it should be: without those that have not been caught up
// for too long, and with those that are in sync again.
func (l *Leader) wantedISR(now time.Time) []int32 {
	if l.pinned {
		return []int32{l.cfg.Self}
	}
	isr := make([]int32, 0, len(l.remotes)+1)
	for _, id := range l.isr {
		r := l.remote(id)
		if id == l.cfg.Self || r != nil && r.caughtUp(l.endOffset, l.cfg.MaxLag, now) {
			isr = append(isr, id)
		}
	}
	for i := range l.remotes {
		if l.mayJoin(&l.remotes[i]) {
			isr = append(isr, l.remotes[i].id)
		}
	}
	return isr
}

// mayJoin reports whether a replica outside the ISR can enter it: it has all that is
// committed, and all that this leader found when it began.
func (l *Leader) mayJoin(r *remote) bool {
	return !slices.Contains(l.isr, r.id) && r.endOffset >= max(l.highWatermark, l.epochStart) && l.eligible(r.id)
}

// Wants reports whether someone can be let into the ISR now, so that a proposal need
// not wait for the next look.
func (l *Leader) Wants(now time.Time) bool {
	if l.pending != nil || now.Before(l.restUntil) {
		return false
	}
	for i := range l.remotes {
		if l.mayJoin(&l.remotes[i]) {
			return true
		}
	}
	return l.pinned && len(l.isr) > 1
}

// Answered takes the controller's answer to a proposal. One that is not awaited any
// more, since an order has come meanwhile, changes nothing.
func (l *Leader) Answered(p Proposal, a Answer, now time.Time) {
	if l.pending == nil || !l.pending.sent || !l.pending.proposal.equal(p) {
		return
	}
	l.pending.sent = false
	switch a.Outcome {
	case Accepted:
		if a.LeaderEpoch == l.leaderEpoch && a.PartitionEpoch >= l.partitionEpoch {
			l.isr, l.partitionEpoch, l.pending = slices.Clone(a.ISR), a.PartitionEpoch, nil
		}
	case Refused:
		if l.pending.failures > 0 && now.Sub(l.pending.failedAt) <= lateCopy {
			l.pending.again(now)
		} else {
			l.pending, l.restUntil = nil, now.Add(afterRefusal)
		}
	case Superseded:
		l.pending.retryAt = time.Time{}
	case Failed:
		l.pending.failedAt = now
		l.pending.again(now)
	}
	l.advance(now)
}
