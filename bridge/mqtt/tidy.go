package mqtt

import (
	"context"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
)

// tidyEvery is how often it is looked for what nobody needs any more.
const tidyEvery = 30 * time.Second

func (s *Server) tidyUp(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tidy()
		case <-ctx.Done():
			return
		}
	}
}

// tidy forgets sessions that mochi no longer has, and NATS subscriptions that no client
// wants.
func (s *Server) tidy() {
	s.tidySessions()
	s.hearing.Lock()
	defer s.hearing.Unlock()
	s.tidyFilters()
}

// tidySessions also ends what mochi forgets to end: clients whose connection broke before
// their CONNACK was written, though their session was to end with it. A client of ours
// joins before mochi knows it, so that none with a connection is taken for such.
func (s *Server) tidySessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	connected := map[string]bool{}
	for b := range s.clients {
		connected[b.client.ID] = true
	}
	for id, cl := range s.mochi.Clients.GetAll() {
		if cl.Net.Conn != nil && cl.Closed() && endsWithConnection(cl) && !connected[id] {
			cl.ClearInflights()
			s.mochi.UnsubscribeClient(cl)
			s.mochi.Clients.Delete(id)
		}
	}
	for id := range s.sessions {
		if _, kept := s.mochi.Clients.Get(id); !kept && !connected[id] {
			delete(s.sessions, id)
		}
	}
}

// endsWithConnection reports whether a client's session is over with its connection.
func endsWithConnection(cl *mochi.Client) bool {
	if cl.Properties.ProtocolVersion < 5 {
		return cl.Properties.Clean
	}
	return cl.Properties.Props.SessionExpiryInterval == 0
}
