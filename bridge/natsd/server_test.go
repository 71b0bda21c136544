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

// events is a Handler that hands on what it takes while there is room.
type events struct{ taken chan string }

func (e *events) Take(m *Message) {
	select {
	case e.taken <- string(m.Subject) + " " + string(m.Payload):
	default:
	}
}
func (e *events) Idle() {}

// stuck is a Handler that takes nothing until it is closed.
type stuck chan struct{}

func (s stuck) Take(*Message) { <-s }
func (s stuck) Idle()         {}

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
	nc, err := nats.Connect("nats://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("a.first", nil); err != nil {
		t.Fatal(err)
	}
	<-e.taken
	if err := s.nats.DisconnectClientByID(first.client); err != nil {
		t.Fatal(err)
	}
	<-first.out.closed

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
	for {
		if sent, ok := s.Sent(first.client); ok {
			if sent != 1 {
				t.Errorf("the server sent the first connection %d messages, want 1", sent)
			}
			break
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	s.Shutdown()
	if err := <-ended; !errors.Is(err, errNoServer) {
		t.Errorf("Run: %v", err)
	}
}

// What a client does not read is pending.
func TestPending(t *testing.T) {
	s := listen(t)
	if err := errors.Join(s.Start(), s.Accept()); err != nil {
		t.Fatal(err)
	}
	handler := make(stuck)
	c := NewConn(ConnConfig{Dial: s.Dial, Subjects: []string{"a.>"}, MaxPayload: 64 << 10, Handler: handler, Log: slog.New(slog.DiscardHandler)})
	ended := make(chan error, 1)
	go func() { ended <- c.Run(context.Background()) }()
	<-c.Up()
	ours, err := c.session()
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const n, size = 100, 50_000
	for range n {
		if err := nc.Publish("a.x", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := s.Pending(ours.client); got < (n-5)*size || got > (n+1)*size {
		t.Errorf("%d bytes are pending of %d", got, n*size)
	}
	close(handler)
	s.Shutdown()
	<-ended
}
