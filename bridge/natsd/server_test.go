package natsd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A port in use is known at Listen, in words that say so.
func TestListenOnPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := Listen(ServerConfig{Listen: ln.Addr().String()}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v, want an error about the address", err)
	}
}

func listen(t *testing.T) *Server {
	t.Helper()
	s, err := Listen(ServerConfig{Listen: "127.0.0.1:0", MaxPayload: 64 << 10}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Whoever takes the port while it changes hands is the end of it, in words, and
// not of the process.
func TestPortTakenBeforeAccept(t *testing.T) {
	s := listen(t)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	s.held.Close()
	ln, err := net.Listen("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := s.Accept(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v, want an error about the address", err)
	}
}

// No device gets in between Listen and Accept; from then on they do, and after
// Shutdown the port is free.
func TestAccept(t *testing.T) {
	s := listen(t)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(50*time.Millisecond)); err == nil {
		nc.Close()
		t.Error("a device got in before Accept")
	}
	if err := s.Accept(); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.MaxPayload(); got != 64<<10 {
		t.Errorf("max payload %d, want 64 KiB", got)
	}
	s.Shutdown()
	ln, err := net.Listen("tcp", s.Addr().String())
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	ln.Close()
}

// events is a Handler that hands on what it takes.
type events struct{ taken chan string }

func (e *events) Take(m *Message) { e.taken <- string(m.Subject) + " " + string(m.Payload) }
func (e *events) Idle()           {}

// A connection that the server cuts is made again; when the server ends, so does
// Run.
func TestServerCutsConn(t *testing.T) {
	s := listen(t)
	if err := errors.Join(s.Start(), s.Accept()); err != nil {
		t.Fatal(err)
	}
	e := &events{make(chan string, 10)}
	c := NewConn(ConnConfig{Dial: s.Dial, Subjects: []string{"a.>"}, MaxPayload: 64 << 10, Handler: e, Log: slog.New(slog.DiscardHandler)})
	ended := make(chan error, 1)
	go func() { ended <- c.Run(context.Background()) }()
	<-c.Up()

	first, err := c.session()
	if err != nil {
		t.Fatal(err)
	}
	conns, err := s.nats.Connz(nil)
	if err != nil || len(conns.Conns) != 1 || conns.Conns[0].Name != "headwater-bridge" {
		t.Fatalf("connections %+v, %v", conns, err)
	}
	if err := s.nats.DisconnectClientByID(conns.Conns[0].Cid); err != nil {
		t.Fatal(err)
	}
	<-first.out.closed

	nc, err := nats.Connect("nats://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// Until the bridge is back nobody hears; each round is a round trip.
	for heard := ""; heard == ""; {
		if err := errors.Join(nc.Publish("a.x", []byte("v")), nc.Flush()); err != nil {
			t.Fatal(err)
		}
		select {
		case heard = <-e.taken:
			if heard != "a.x v" {
				t.Errorf("heard %q", heard)
			}
		default:
		}
	}
	for len(e.taken) > 0 {
		<-e.taken
	}
	s.Shutdown()
	if err := <-ended; !errors.Is(err, errNoServer) {
		t.Errorf("Run: %v", err)
	}
}
