package natsd

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Delivered is how many messages the server had for a client, those included that it
// then let go because too much was waiting for the client already.
type Delivered struct {
	Messages       int64         // of all subscriptions, ended ones too
	BySubscription map[int]int64 // of those that stand, or stood at the connection's end
	Ended          bool          // the connection has, and these are the last figures
}

// tally is what a session took, by fixed subscription; the last is of all others.
// The reader counts, others look.
type tally []atomic.Int64

func newTally(fixed int) tally { return make(tally, fixed+1) }

func (t tally) took(sid int) { t[min(sid, len(t)-1)].Add(1) }

func (t tally) sum() (sum int64) {
	for i := range t {
		sum += t[i].Load()
	}
	return sum
}

// losses counts what the server let go of one session's messages. It is used by one
// goroutine at a time.
type losses struct {
	counters []prometheus.Counter // as tally has them
	log      *slog.Logger
	counted  []int64
	total    int64 // of counted
	losing   bool  // the last look found some, and that was logged
}

func (c *Conn) newLosses() *losses {
	return &losses{counters: c.lost, log: c.cfg.Log, counted: make([]int64, len(c.lost))}
}

// clear reports whether nothing is lost and nothing on its way.
func (l *losses) clear(d Delivered, taken tally) bool {
	return d.Messages == taken.sum()+l.total && !l.losing
}

// settle counts what d has and was not taken. It is right, or counts too little for
// the time being, when all that d has was taken before or let go. A subscription that
// has ended is not in d by itself: what is missing of those is counted as of others.
func (l *losses) settle(d Delivered, taken tally) {
	others := len(l.counted) - 1
	ofOthers, ended := d.Messages, false
	before := l.total
	for sid := range others {
		n, ok := d.BySubscription[sid]
		if !ok {
			ended = true
			continue
		}
		ofOthers -= n
		l.count(sid, n-taken[sid].Load())
	}
	if ended {
		l.count(others, d.Messages-taken.sum()-(l.total-l.counted[others]))
	} else {
		l.count(others, ofOthers-taken[others].Load())
	}
	if losing := l.total > before; losing != l.losing {
		l.losing = losing
		if losing {
			l.log.Warn("messages come faster than they can be taken; some are let go")
		} else {
			l.log.Info("messages are all taken again", "lost", l.total)
		}
	}
}

// count counts what lost, which is of all the session's time, has over what was counted.
func (l *losses) count(i int, lost int64) {
	if more := lost - l.counted[i]; more > 0 {
		l.counters[i].Add(float64(more))
		l.counted[i] += more
		l.total += more
	}
}

// lookEvery is how long what is lost stays uncounted.
const lookEvery = time.Second

// watch settles s's losses until s or ctx ends.
func (c *Conn) watch(ctx context.Context, s *session) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			c.look(ctx, s)
		case <-s.out.closed:
			return
		case <-ctx.Done():
			return
		}
	}
}

// look settles s's losses as of now. What the server has for us is either let go or
// before its next PONG.
func (c *Conn) look(ctx context.Context, s *session) {
	if c.cfg.Delivered == nil {
		return
	}
	s.looking.Lock()
	defer s.looking.Unlock()
	d, ok := c.cfg.Delivered(s.client)
	if !ok || s.losses.clear(d, s.taken) {
		return
	}
	if s.flush(ctx) == nil {
		s.losses.settle(d, s.taken)
	}
}

// The server writes a connection's last figures down a moment after it has cut it.
const (
	countTries = 100
	countPause = 10 * time.Millisecond
)

// countLost counts what the server had for a connection that has ended, and that
// never came.
func (c *Conn) countLost(ctx context.Context, s *session) {
	if c.cfg.Delivered == nil {
		return
	}
	s.looking.Lock()
	defer s.looking.Unlock()
	for range countTries {
		if d, ok := c.cfg.Delivered(s.client); ok && d.Ended {
			before := s.losses.total
			s.losses.settle(d, s.taken)
			if lost := s.losses.total - before; lost > 0 {
				c.cfg.Log.Error("messages lost with the connection to the embedded nats-server", "connection", c.cfg.Name, "messages", lost)
			}
			return
		}
		select {
		case <-time.After(countPause):
		case <-ctx.Done():
			return
		}
	}
	c.cfg.Log.Error("messages lost with the connection to the embedded nats-server; how many is not known", "connection", c.cfg.Name)
}
