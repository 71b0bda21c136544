package natsd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// serveLeaf returns an open server with a Leaf that is connected to it.
func serveLeaf(t *testing.T) (*Server, *Leaf) {
	t.Helper()
	s := listen(t)
	if err := errors.Join(s.Start(), s.Accept()); err != nil {
		t.Fatal(err)
	}
	l := NewLeaf(s.LeafConfig())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-l.Up()
	return s, l
}

func connect(t *testing.T, s *Server, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

const (
	ackReply = "$JS.ACK.telemetry-0.c1.1.7.3.1700000000000000000.0" // nine tokens
	patience = 10 * time.Second                                     // longer than anything here takes
)

// What is delivered to an inbox arrives as a JetStream message: on its own subject,
// with a reply that says which it is. A client connection may not do that.
func TestDeliver(t *testing.T) {
	s, l := serveLeaf(t)
	nc := connect(t, s)
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	deliver := func(headers, payload string) *nats.Msg {
		t.Helper()
		if err := l.Deliver([]byte(inbox), []byte(ackReply), []byte("plant7.press3.temp"), []byte(headers), []byte(payload)); err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, m := range []*nats.Msg{deliver("", "20.5"), deliver("NATS/1.0\r\nUnit: C\r\n\r\n", "20.5")} {
		if m.Subject != "plant7.press3.temp" || m.Reply != ackReply || string(m.Data) != "20.5" {
			t.Errorf("got %q with reply %q and payload %q", m.Subject, m.Reply, m.Data)
		}
		meta, err := m.Metadata()
		if err != nil || meta.Stream != "telemetry-0" || meta.Sequence.Stream != 7 || meta.Sequence.Consumer != 3 {
			t.Errorf("metadata %+v, %v", meta, err)
		}
	}
	if m := deliver("NATS/1.0\r\nUnit: C\r\n\r\n", ""); m.Header.Get("Unit") != "C" || len(m.Data) != 0 {
		t.Errorf("headers %v, payload %q", m.Header, m.Data)
	}

	if err := l.Status([]byte(inbox), []byte("NATS/1.0 404 No Messages\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(patience); err != nil || m.Header.Get("Status") != "404" || m.Header.Get("Description") != "No Messages" || m.Reply != "" || m.Subject != inbox {
		t.Errorf("status %+v, %v", m, err)
	}
	if !s.Interest(inbox) || s.Interest(inbox+"x") {
		t.Error("the server does not tell who listens")
	}

	refused := make(chan error, 1)
	nc = connect(t, s, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err := errors.Join(nc.PublishRequest(inbox, ackReply, nil), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if !strings.Contains(err.Error(), "Permissions Violation") {
			t.Errorf("a client was told %v", err)
		}
	case <-time.After(patience):
		t.Error("a client may deliver as we do: the leaf connection is not needed")
	}
}

// One that does not read holds nobody else up, and is the only one thrown out.
func TestSlowInboxHoldsUpNobody(t *testing.T) {
	s, l := serveLeaf(t)
	slow, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.WriteString(slow, "CONNECT {\"verbose\":true}\r\nSUB slow 1\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(slow)
	for line := ""; line != "PONG\r\n"; { // then it reads no more
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	nc := connect(t, s)
	sub, err := nc.SubscribeSync("quick")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 60<<10)
	var slowest time.Duration
	for i := 0; s.nats.NumSlowConsumers() == 0; i++ {
		if i == 10_000 {
			t.Fatal("600 MB were sent to one that does not read, and it is still there")
		}
		start := time.Now()
		if err := errors.Join(
			l.Deliver([]byte("slow"), []byte(ackReply), []byte("a.b"), nil, payload),
			l.Deliver([]byte("quick"), []byte(ackReply), []byte("a.b"), nil, []byte("x")),
		); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.NextMsg(patience); err != nil {
			t.Fatalf("after %d messages to the slow one: %v", i, err)
		}
		slowest = max(slowest, time.Since(start))
	}
	if slowest > time.Second {
		t.Errorf("a message beside the slow ones took %v", slowest)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("the leaf connection was lost: %v", err)
	}
}

// The leaf nodes' port is for the bridge alone.
func TestLeafPortIsOurs(t *testing.T) {
	s, _ := serveLeaf(t)
	for name, connect := range map[string]string{
		"nobody":        `{"name":"x"}`,
		"wrongPassword": fmt.Sprintf(`{"user":%q,"pass":"x","name":"x"}`, s.leafUser),
		"wrongUser":     fmt.Sprintf(`{"user":"x","pass":%q,"name":"x"}`, s.leafPassword),
		"device":        `{"lang":"go","name":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := s.dialLeaf()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, "CONNECT %s\r\nPING\r\n", connect)
			said, err := io.ReadAll(conn)
			if err != nil || strings.Contains(string(said), "PONG") || !strings.Contains(string(said), "-ERR") {
				t.Errorf("the server said %.300q (%v), want an error and the end", said, err)
			}
		})
	}
	if host, _, err := net.SplitHostPort(s.LeafConfig().mustDial(t).RemoteAddr().String()); err != nil || host != "127.0.0.1" {
		t.Errorf("leaf nodes are awaited at %s (%v)", host, err)
	}
}

func (c LeafConfig) mustDial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := c.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A leaf connection that the server cuts is made again; when the server ends, so does
// Run.
func TestServerCutsLeaf(t *testing.T) {
	s := listen(t)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	l := NewLeaf(s.LeafConfig())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(context.Background()) }()
	<-l.Up()
	first, err := l.session()
	if err != nil {
		t.Fatal(err)
	}
	first.conn.Close()
	for again := first; again == first || err != nil; {
		if again, err = l.session(); err == nil && again != first {
			err = l.Flush(t.Context())
		}
	}
	s.Shutdown()
	if err := <-ended; !errors.Is(err, errNoServer) {
		t.Errorf("Run: %v", err)
	}
}

// Other people's interest is passed over, a PING is answered, and what a leaf that
// subscribes to nothing cannot get is the end of the connection.
func TestLeafReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := make(chan *peer, 10)
		l := NewLeaf(LeafConfig{
			Dial: func() (net.Conn, error) {
				ours, theirs := net.Pipe()
				peers <- &peer{theirs, t, bufio.NewReader(theirs)}
				return ours, nil
			},
			User: "u", Password: "p", MaxPayload: 10,
			Log: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		hello := func() *peer {
			p := <-peers
			p.send("INFO {\"client_id\":3}\r\n")
			p.expect(`CONNECT {"headers":true,"name":"headwater-deliveries","pass":"p","protocol":1,"user":"u","version":"1.0.0"}`)
			p.expect("PING")
			p.send("INFO {}\r\nLS+ $LDS.x\r\nLS+ a.b q 2\r\nLS- a.b q\r\nPONG\r\nPING\r\n")
			p.expect("PONG")
			return p
		}
		p := hello()
		if err := l.Deliver([]byte("in"), []byte("$JS.ACK.x"), []byte("s.t"), []byte("hdr"), []byte("pay")); err != nil {
			t.Fatal(err)
		}
		p.expect("HMSG in $JS.ACK.x@s.t 3 6")
		p.expect("hdrpay")
		for name, tc := range map[string][4]string{
			"large":     {"in", "r", "s", "12345678901"},
			"noInbox":   {"", "r", "s", ""},
			"noReply":   {"in", "", "s", ""},
			"noSubject": {"in", "r", "", ""},
			"injection": {"in", "r", "s 0\r\n\r\nPUB", ""},
			"blank":     {"in box", "r", "s", ""},
			"long":      {"in", "r", strings.Repeat("s", maxSubjects), ""},
		} {
			if err := l.Deliver([]byte(tc[0]), []byte(tc[1]), []byte(tc[2]), nil, []byte(tc[3])); !errors.Is(err, ErrUnsendable) {
				t.Errorf("%s: %v", name, err)
			}
		}
		p.send("LMSG a 1\r\n")
		if err := l.Deliver([]byte("in"), []byte("r"), []byte("s"), nil, nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("without a connection: %v", err)
		}
		hello()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
