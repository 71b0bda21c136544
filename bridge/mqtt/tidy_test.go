package mqtt

import (
	"net"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
)

// Clients that mochi forgot to end are ended, with their sessions; those that have a
// connection, or whose session goes on, are not.
func TestTidySessions(t *testing.T) {
	s, _ := start(t, Config{})
	leave := func(id string, version byte, clean bool, expiry uint32) *mochi.Client {
		near, far := net.Pipe()
		far.Close()
		c := &conn{Conn: near}
		c.changed.L = &c.mu
		cl := s.mochi.NewClient(c, listenerID, id, false)
		cl.Properties.ProtocolVersion, cl.Properties.Clean, cl.Properties.Props.SessionExpiryInterval = version, clean, expiry
		s.mochi.Clients.Add(cl)
		s.mu.Lock()
		s.sessions[id] = newSession()
		s.mu.Unlock()
		cl.Stop(nil)
		return cl
	}
	leave("clean4", 4, true, 0)
	leave("clean5", 5, true, 0)
	leave("kept4", 4, false, 0)
	leave("kept5", 5, true, 60)
	dial(t, s, connectOptions{id: "there"})
	s.mochi.Clients.Add(leave("there", 4, true, 0)) // while the next of its name joins
	s.tidy()
	for id, want := range map[string]bool{"clean4": false, "clean5": false, "kept4": true, "kept5": true, "there": true} {
		if s.knows(id) != want || (s.sessions[id] != nil) != want {
			t.Errorf("%s: known %v, a session %v, want %v", id, s.knows(id), s.sessions[id] != nil, want)
		}
	}
}
