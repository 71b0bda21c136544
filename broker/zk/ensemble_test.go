package zk

import (
	"strconv"
	"testing"

	"github.com/headwater/headwater/broker/zk/zktest"
)

// A session outlives its server, killed and started again on its data: what is asked
// meanwhile waits, and what changed is told.
func TestServerRestart(t *testing.T) {
	server := zktest.Start(t)
	cfg := config(server.Address() + "/restart")
	cfg.SessionTimeout = 2 * patience
	s, _ := begin(t, cfg)
	id := s.ID()
	epoch := must[int64](t)(s.Register(t.Context(), broker(7, 1)))
	w, changed := NewWatch()
	must[node](t)(s.get(t.Context(), brokerPath(7), w))
	server.Kill()
	receive(t, lostConnection(s), "the connection to be lost")
	wrote := make(chan error, 1)
	go func() { wrote <- s.RequestDeletion(t.Context(), "t") }()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, wrote, "a write to be done"); err != nil {
		t.Error(err)
	}
	receive(t, changed, "the watch to be told that the connection was away")
	n := must[node](t)(s.get(t.Context(), brokerPath(7), w))
	if s.ID() != id || n.epoch != epoch || n.owner != id {
		t.Errorf("session %x, broker epoch %d of session %x; want session %x and epoch %d", s.ID(), n.epoch, n.owner, id, epoch)
	}
}

// lostConnection is closed once the session has no connection.
func lostConnection(s *Session) <-chan struct{} {
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for {
			s.mu.Lock()
			connected, changed := s.connected, s.changed
			s.mu.Unlock()
			if !connected {
				return
			}
			<-changed
		}
	}()
	return lost
}

// While the leader of an ensemble is killed, a session goes on with the others: each
// write that was answered is there, and once.
func TestEnsembleLeaderKilled(t *testing.T) {
	ensemble := zktest.StartEnsemble(t, 3)
	cfg := config(ensemble.Address())
	cfg.SessionTimeout = 2 * patience
	s, _ := begin(t, cfg)
	id := s.ID()
	if err := s.create(t.Context(), "/counter", []byte("0")); err != nil {
		t.Fatal(err)
	}
	leader, err := ensemble.Leader()
	if err != nil {
		t.Fatal(err)
	}
	const writes, killedAt = 200, 50
	for i := range int32(writes) {
		if i == killedAt {
			leader.Kill()
		}
		version, err := s.set(t.Context(), "/counter", []byte(strconv.Itoa(int(i)+1)), i)
		if err != nil || version != i+1 {
			t.Fatalf("write %d: version %d, %v", i, version, err)
		}
	}
	wantNode(t, s, "/counter", strconv.Itoa(writes))
	if s.ID() != id {
		t.Errorf("session %x, want %x", s.ID(), id)
	}
}
