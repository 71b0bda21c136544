package replication

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

// Proposals are the changes of ISRs that this broker's leaders want.
type Proposals interface {
	// ISRProposals returns those to ask for now. Each is answered once.
	ISRProposals(now time.Time) []partition.Proposal
	ISRAnswered(partition.Proposal, partition.ISRAnswer)
	// ISRWanted is sent to when there may be something to propose.
	ISRWanted() <-chan struct{}
}

// The pauses after requests that came to nothing.
const (
	minISRPause = 100 * time.Millisecond
	maxISRPause = 2 * time.Second
	findPause   = 250 * time.Millisecond // while no controller is known
)

// ISRSender asks the controller for changes of ISRs, one request at a time.
type ISRSender struct {
	controller Controller
	set        Proposals
	every      time.Duration
	log        *slog.Logger
	failures   int // of requests, in a row
}

// NewISRSender returns an ISRSender that does nothing until Run. It looks for
// proposals every so often too, since replicas fall behind without a sign: that
// should be half of replica.lag.time.max.ms, or less.
func NewISRSender(c Controller, set Proposals, every time.Duration, log *slog.Logger) *ISRSender {
	return &ISRSender{controller: c, set: set, every: every, log: log}
}

// Run asks until ctx is done. While no controller is known, proposals stay where
// they are.
func (s *ISRSender) Run(ctx context.Context) error {
	l := link{Controller: s.controller}
	defer l.close()
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		wanted := s.set.ISRWanted()
		if s.failures > 0 {
			wanted = nil // not before the pause is over
		}
		select {
		case <-wanted:
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
		look.Reset(s.look(ctx, &l))
	}
}

// look asks for what is proposed now, and returns when to look again.
func (s *ISRSender) look(ctx context.Context, l *link) time.Duration {
	err := s.send(ctx, l)
	if err == nil {
		if s.failures > 1 {
			s.log.Info("controller answers about the isr again", "controller", l.address, "failures", s.failures)
		}
		s.failures = 0
		return s.every
	}
	if errors.Is(err, errNoController) { // whoever looks for one says so
		return min(findPause, s.every)
	}
	if s.failures++; s.failures == 2 && ctx.Err() == nil { // while the controller moves, one failure is no news
		s.log.Warn("controller does not answer about the isr", "controller", l.address, "err", err)
	}
	return min(minISRPause<<min(s.failures-1, 10), maxISRPause, s.every)
}

// send asks for all that is proposed. Every proposal is answered, if only with the
// error, and is made again then.
func (s *ISRSender) send(ctx context.Context, l *link) error {
	conn, brokerEpoch, err := l.open()
	if err != nil {
		return err
	}
	proposals := s.set.ISRProposals(time.Now())
	if len(proposals) == 0 {
		return nil
	}
	resp, err := s.alter(ctx, conn, brokerEpoch, proposals)
	if err != nil {
		for _, p := range proposals {
			s.set.ISRAnswered(p, partition.ISRAnswer{Err: err})
		}
		return err
	}
	return s.answered(proposals, answersTo(proposals, resp))
}

func (s *ISRSender) alter(ctx context.Context, conn Caller, brokerEpoch int64, proposals []partition.Proposal) (*kmsg.AlterPartitionResponse, error) {
	offered, err := version(ctx, conn, wire.AlterPartition)
	if err != nil {
		return nil, err
	}
	resp, err := conn.Call(ctx, alterRequest(s.controller.Self, brokerEpoch, alterVersion(offered, proposals), proposals))
	if err != nil {
		return nil, err
	}
	r := resp.(*kmsg.AlterPartitionResponse)
	return r, codeError(r.ErrorCode)
}

// answered hands the answers out, and returns an error if there are proposals that
// will be made again.
func (s *ISRSender) answered(proposals []partition.Proposal, answers []partition.ISRAnswer) (again error) {
	for i, p := range proposals {
		a := answers[i]
		s.set.ISRAnswered(p, a)
		name := cluster.TopicPartition{Topic: p.Topic, Index: p.Index}.String()
		switch {
		case a.Err == nil:
		case errors.Is(a.Err, partition.ErrISRRefused), errors.Is(a.Err, partition.ErrISRSuperseded):
			s.log.Info("isr not changed", "partition", name, "proposed", p.ISR, "partitionEpoch", p.PartitionEpoch, "err", a.Err)
		default:
			again = a.Err
		}
	}
	return again
}
