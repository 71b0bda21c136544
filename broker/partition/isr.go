package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/replica"
	"github.com/headwater/headwater/broker/topic"
)

// What a controller may have against a change of the ISR. Any other error of an
// ISRAnswer is one after which nobody knows: the change is proposed again.
var (
	// ErrISRRefused says that it was not applied, and never will be
	// (INELIGIBLE_REPLICA, OPERATION_NOT_ATTEMPTED).
	ErrISRRefused = errors.New("the controller does not take these replicas into the ISR")
	// ErrISRSuperseded says that the controller knows better, and is about to tell
	// (FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, UNKNOWN_TOPIC_OR_PARTITION,
	// UNKNOWN_TOPIC_ID, INVALID_REQUEST, NEW_LEADER_ELECTED).
	ErrISRSuperseded = errors.New("the controller has decided about the partition since")
)

// Proposal is a change of a partition's ISR that the controller is asked for.
type Proposal struct {
	Topic          string
	Index          int32
	TopicID        topic.ID
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []int32
	Recovering     bool // never: a leader that may propose has recovered
}

// ISRAnswer is the controller's. Beside an error the rest does not count.
type ISRAnswer struct {
	Err                                 error
	Leader, LeaderEpoch, PartitionEpoch int32
	ISR                                 []int32
	Recovering                          bool
}

func (a ISRAnswer) rules() replica.Answer {
	switch {
	case a.Err == nil:
		return replica.Answer{Outcome: replica.Accepted, LeaderEpoch: a.LeaderEpoch, PartitionEpoch: a.PartitionEpoch, ISR: a.ISR}
	case errors.Is(a.Err, ErrISRRefused):
		return replica.Answer{Outcome: replica.Refused}
	case errors.Is(a.Err, ErrISRSuperseded), errors.Is(a.Err, ErrFencedLeaderEpoch), errors.Is(a.Err, ErrUnknown):
		return replica.Answer{Outcome: replica.Superseded}
	default:
		return replica.Answer{Outcome: replica.Failed}
	}
}

// SetMaxLag sets for how long a replica may not be caught up before it leaves the ISR
// (replica.lag.time.max.ms), for partitions that are led from now on.
func (s *Set) SetMaxLag(d time.Duration) { s.maxLag = d }

// SetLive says who is alive as far as the controller has told: only they enter the ISR.
// Without it all are. live must not block, nor call anything here.
func (s *Set) SetLive(live func(brokerID int32) bool) { s.live.Store(&live) }

func (s *Set) isLive(id int32) bool {
	live := s.live.Load()
	return live == nil || *live == nil || (*live)(id)
}

// ISRWanted is sent to when there may be something to propose. What time alone brings
// about is found by who looks now and then.
func (s *Set) ISRWanted() <-chan struct{} { return s.wanted }

func (s *Set) wantISR() {
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// ISRProposals returns the changes that the controller is to be asked for now, one at a
// time for a partition. Each must be answered once: until it is, there is no other. One
// whose answer was a failure is among them again after a while.
func (s *Set) ISRProposals(now time.Time) []Proposal {
	var all []Proposal
	for _, p := range s.All() {
		if proposal, ok := p.propose(now); ok {
			all = append(all, proposal)
		}
	}
	return all
}

func (p *Partition) propose(now time.Time) (out Proposal, ok bool) {
	p.mu.Lock()
	if p.leading == nil || p.failed != nil || p.leading.Alone() {
		p.mu.Unlock()
		return out, false
	}
	proposed, ok := p.leading.Propose(now)
	n := p.settle(false) // time may have moved the high watermark
	p.mu.Unlock()
	n.tell()
	if !ok {
		return out, false
	}
	return Proposal{
		Topic: p.topic, Index: p.index, TopicID: p.id,
		LeaderEpoch: proposed.LeaderEpoch, PartitionEpoch: proposed.PartitionEpoch, ISR: proposed.ISR,
	}, true
}

// ISRAnswered takes the controller's answer to a proposal.
func (s *Set) ISRAnswered(proposal Proposal, a ISRAnswer) {
	if p, err := s.Get(proposal.Topic, proposal.Index); err == nil {
		p.answered(proposal, a)
	}
}

func (p *Partition) answered(proposal Proposal, a ISRAnswer) {
	p.mu.Lock()
	var n news
	if l := p.leading; l != nil {
		before := fmt.Sprint(l.ISR())
		asked := replica.Proposal{LeaderEpoch: proposal.LeaderEpoch, PartitionEpoch: proposal.PartitionEpoch, ISR: proposal.ISR}
		l.Answered(asked, a.rules(), time.Now())
		n = p.settle(false)
		if after := fmt.Sprint(l.ISR()); after != before {
			p.set.log.Info("isr changed", "partition", p.name, "leaderEpoch", l.LeaderEpoch(), "partitionEpoch", l.PartitionEpoch(), "was", before, "isr", after)
		}
	}
	p.mu.Unlock()
	n.tell()
}
