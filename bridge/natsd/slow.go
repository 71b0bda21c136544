package natsd

import (
	"context"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// slowEvery is how often what waits for clients is added up, and slowOften how often
	// while it is a quarter of what it may be, or more.
	slowEvery = 250 * time.Millisecond
	slowOften = 50 * time.Millisecond
	// slowLogged is how often it is said that clients are let go.
	slowLogged = time.Minute
	// slowest is how many clients are looked at, those with most in front.
	slowest = 256
)

// newSlow counts clients that are let go because they do not read.
func newSlow(reg prometheus.Registerer) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "headwater_nats_slow_clients_total",
		Help: "NATS clients that were disconnected because what waited for all of them together passed its bound, and most of it for them.",
	})
	if reg != nil {
		reg.MustRegister(c)
	}
	return c
}

// GuardMemory holds what waits for all clients together to MaxPendingTotal until ctx is
// done: nats-server bounds what waits for one. Beyond it, those who have most waiting are
// disconnected, until the rest is half of it. From Start on.
func (s *Server) GuardMemory(ctx context.Context) error {
	timer := time.NewTimer(slowEvery)
	defer timer.Stop()
	var told time.Time
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		timer.Reset(slowEvery)
		if int64(s.nats.NumClients())*s.cfg.MaxPendingBytes <= s.cfg.MaxPendingTotal {
			continue
		}
		total, gone := s.disconnectSlowest()
		if total > s.cfg.MaxPendingTotal/4 {
			timer.Reset(slowOften)
		}
		if gone > 0 {
			s.slow.Add(float64(gone))
			if now := time.Now(); now.Sub(told) >= slowLogged {
				told = now
				s.log.Warn("NATS clients that read too slowly are disconnected: together they hold too much memory", "clients", gone, "bytes", s.cfg.MaxPendingTotal)
			}
		}
	}
}

// disconnectSlowest disconnects those who have most waiting while there is too much. It
// returns how many bytes waited, and how many clients are gone.
func (s *Server) disconnectSlowest() (waited int64, gone int) {
	conns, err := s.nats.Connz(&server.ConnzOptions{Sort: server.ByPending, Limit: slowest})
	if err != nil {
		return 0, 0
	}
	for _, c := range conns.Conns {
		waited += int64(c.Pending)
	}
	if waited <= s.cfg.MaxPendingTotal {
		return waited, 0
	}
	total := waited
	for _, c := range conns.Conns {
		if total <= s.cfg.MaxPendingTotal/2 {
			break
		}
		if c.IP == "" { // inside the process: it is ours
			continue
		}
		if s.nats.DisconnectClientByID(c.Cid) == nil {
			gone++
		}
		total -= int64(c.Pending)
	}
	return waited, gone
}
