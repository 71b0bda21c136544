package controller

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

// Caller is a connection to a broker. It makes one call at a time, and dials when
// it must.
type Caller interface {
	Call(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	Close()
}

const (
	// maxPerPush bounds the partitions of one request, which so stays below some
	// hundred KiB.
	maxPerPush = 4000
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// sender tells one registration of a broker what the controller decides, one
// request after the other, and tries each until it is answered or the broker is
// gone. A slow broker holds up nobody else.
type sender struct {
	id      int32
	epoch   int64 // of the registration
	dial    func(cluster.Registration) Caller
	answers chan<- answer
	log     *slog.Logger
	stop    context.CancelFunc
	kick    chan struct{} // cap 1: there may be something to send

	mu      sync.Mutex // guards all below
	to      cluster.Registration
	sealed  sealed
	pending *orders
	redial  context.CancelFunc // ends a call to where the broker was before
}

func newSender(to cluster.Registration, s sealed, dial func(cluster.Registration) Caller, answers chan<- answer, log *slog.Logger) *sender {
	s.brokerEpoch = to.Epoch
	return &sender{
		id: to.ID, epoch: to.Epoch,
		dial: dial, answers: answers, log: log.With("broker", to.ID, "brokerEpoch", to.Epoch),
		stop: func() {}, kick: make(chan struct{}, 1),
		to: to, sealed: s, pending: newOrders(), redial: func() {},
	}
}

// add gives the broker more orders. It never waits.
func (s *sender) add(o *orders) {
	s.mu.Lock()
	s.pending.add(o)
	if dropped := s.pending.forgetDeleted(); dropped > 0 {
		s.log.Warn("broker will not hear that topics are deleted", "partitions", dropped)
	}
	if o.live != nil {
		s.sealed.live = o.live
	}
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default: // it has been told, and will see these too
	}
}

// move is for a broker that listens elsewhere now.
func (s *sender) move(to cluster.Registration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
	s.redial()
}

// run sends until ctx is done.
func (s *sender) run(ctx context.Context) {
	var failing bool
	retry := firstRetry
	for ctx.Err() == nil {
		err := s.connected(ctx, func() { // it got through
			if failing {
				s.log.Info("broker takes orders again")
			}
			failing, retry = false, firstRetry
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // it moved
		}
		if !failing {
			s.log.Warn("broker cannot be told; tried again until it is gone", "err", err)
		}
		failing = true
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, lastRetry)
	}
}

// connected sends to where the broker is now, until a call fails or it moves.
func (s *sender) connected(ctx context.Context, through func()) error {
	here, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	to := s.to
	s.redial = cancel
	s.mu.Unlock()

	caller := s.dial(to)
	defer caller.Close()
	for here.Err() == nil {
		pushes := s.take()
		if len(pushes) == 0 {
			select {
			case <-here.Done():
			case <-s.kick:
			}
			continue
		}
		for i, p := range pushes {
			resp, err := caller.Call(here, p.request)
			var a answer
			if err == nil {
				a, err = p.read(resp)
			}
			if err != nil {
				s.giveBack(pushes[i:])
				if here.Err() != nil {
					return nil
				}
				return err
			}
			through()
			s.report(ctx, p, a)
		}
	}
	return nil
}

func (s *sender) take() []push {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending.empty() {
		return nil
	}
	return s.sealed.pushes(s.pending.take(maxPerPush))
}

func (s *sender) giveBack(unsent []push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range unsent {
		s.pending.giveBack(p.orders)
	}
}

// report tells the controller what the broker said, and logs what was refused: the
// broker is told again when there is something newer.
func (s *sender) report(ctx context.Context, p push, a answer) {
	a.broker, a.epoch = s.id, s.epoch
	if a.refused != wire.None {
		s.log.Warn("broker refused orders", "request", kmsg.NameForKey(p.request.Key()), "error", a.refused.String())
	}
	refused := map[wire.ErrorCode]int{}
	for _, code := range a.codes {
		// What a broker does already, a new controller tells it again; it is late for that.
		if code != wire.None && code != wire.StaleControllerEpoch {
			refused[code]++
		}
	}
	for code, partitions := range refused {
		s.log.Warn("broker refused orders for partitions", "partitions", partitions, "error", code.String())
	}
	if len(a.codes)+len(a.stopped)+len(a.gone) == 0 {
		return
	}
	select {
	case s.answers <- a:
	case <-ctx.Done():
	}
}
