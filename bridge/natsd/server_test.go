package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
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

func listen(t *testing.T, change ...func(*ServerConfig)) *Server {
	t.Helper()
	cfg := ServerConfig{Listen: "127.0.0.1:0", MaxPayload: 64 << 10}
	for _, f := range change {
		f(&cfg)
	}
	s, err := Listen(cfg, slog.New(slog.DiscardHandler))
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
		if d, ok := s.Delivered(first.client); ok && d.Ended {
			if d.Messages != 1 || d.BySubscription[0] != 1 {
				t.Errorf("the server had %+v for the first connection, want 1 message", d)
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

// A connection of ours whose handler takes nothing for a long time is not thrown out,
// whatever comes meanwhile: what there is no room for is let go and counted by its
// subscription, and whoever asks for an answer is told that nobody responds. It
// holds for the largest messages, of which few fit.
func TestSlowHandlerIsNotThrownOut(t *testing.T) {
	for _, size := range []int{10, 1000, 64 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := listen(t, func(cfg *ServerConfig) { cfg.MaxPendingBytes = 1 << 20 })
			if err := errors.Join(s.Start(), s.Accept()); err != nil {
				t.Fatal(err)
			}
			handler, reg := &slowly{free: make(chan struct{})}, prometheus.NewRegistry()
			c := NewConn(ConnConfig{
				Dial: s.Dial, Subjects: []string{"a.>", "b.>"}, MaxPayload: 64 << 10,
				Delivered: s.Delivered, Handler: handler, Log: slog.New(slog.DiscardHandler), Registerer: reg,
			})
			ended := make(chan error, 1)
			go func() { ended <- c.Run(context.Background()) }()
			<-c.Up()
			first, err := c.session()
			if err != nil {
				t.Fatal(err)
			}
			const publishers = 8
			each := 4 << 20 / (size + 50) / publishers
			var all sync.WaitGroup
			for range publishers {
				nc := connect(t, s)
				all.Go(func() {
					for range each {
						if err := errors.Join(nc.Publish("a.x", make([]byte, size)), nc.Publish("b.x", nil)); err != nil {
							t.Error(err)
						}
					}
					if err := nc.Flush(); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			nc := connect(t, s)
			if _, err := nc.Request("b.x", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("who asked for an answer was told %v", err)
			}
			close(handler.free)
			if err := c.Unsubscribe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now, err := c.session(); err != nil || now != first {
				t.Errorf("the connection was thrown out (%v)", err)
			}
			got := lost(t, reg)
			a, b := publishers*each, publishers*each+1
			if handler.a+int(got["a.>"]) != a || handler.b+int(got["b.>"]) != b || got["a.>"] == 0 || got["b.>"] == 0 || got[""] != 0 {
				t.Errorf("of %d and %d messages %d and %d were taken, and %v counted as lost", a, b, handler.a, handler.b, got)
			}
			s.Shutdown()
			<-ended
		})
	}
}

// slowly is a Handler that takes nothing before it is freed.
type slowly struct {
	free chan struct{}
	a, b int // messages taken, by subject
}

func (s *slowly) Take(m *Message) {
	<-s.free
	if m.Subject[0] == 'a' {
		s.a++
	} else {
		s.b++
	}
}
func (s *slowly) Idle() {}
