package mqtt

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/ingest"
)

// Connections that break right behind their CONNECT leave nothing behind.
func TestResetConnections(t *testing.T) {
	s, l := start(t, Config{})
	for i := range 50 {
		conn, err := netDial(s)
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		pk := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
		pk.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: fmt.Sprint("reset", i)}
		if err := pk.ConnectEncode(&buf); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(buf.Bytes()); err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	l.await(t, "all is forgotten", func() bool {
		s.tidy()
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.clients) == 0 && len(s.sessions) == 0 && s.mochi.Clients.Len() == inlineClients
	})
}

const inlineClients = 1 // of mochi's own

// What was refused behind a publish without an answer keeps no memory.
func TestRefusedKeepNothing(t *testing.T) {
	s, l := start(t, Config{})
	l.held = true
	c := dial(t, s, connectOptions{id: "c"})
	c.publish("telemetry/c/x", "first", 1, 1)
	l.await(t, "it is taken", func() bool { return len(l.waiting) == 1 })
	l.set(func() { l.held, l.refuse = false, &ingest.Refusal{Temporary: true} })
	before := s.waitingBytes.Load()
	const count = 20
	for i := range count {
		c.publish("telemetry/c/x", strings.Repeat("x", 100<<10), 1, uint16(i+2))
	}
	c.nothingCame()
	l.await(t, "all are answered but the first", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.tokens) == 1
	})
	if after := s.waitingBytes.Load(); after != before {
		t.Errorf("%d bytes are kept, want the first's %d", after, before)
	}
	l.release()
	for i := range count + 1 {
		c.wants(packets.Puback, uint16(i+1))
	}
	if left := s.waitingBytes.Load(); left != 0 {
		t.Errorf("%d bytes are kept of nothing", left)
	}
}

// What waits without an answer is bounded, whoever sends it and wherever it goes.
func TestWaitingIsBounded(t *testing.T) {
	s, l := start(t, Config{})
	s.waitingBytes.Store(maxWaitingBytes - 100)
	c := dial(t, s, connectOptions{id: "c"})
	for id, topic := range []string{"telemetry/c/x", "Living Room/x"} {
		c.publish(topic, "x", 1, uint16(id+1))
		if pk := c.wants(packets.Puback, uint16(id+1)); pk.ReasonCode != packets.ErrQuotaExceeded.Code {
			t.Errorf("told %#x", pk.ReasonCode)
		}
	}
	s.waitingBytes.Store(0)
	c.publish("telemetry/c/x", "y", 1, 3)
	if pk := c.wants(packets.Puback, 3); pk.ReasonCode != 0 || len(l.stored) != 1 {
		t.Errorf("told %#x, stored %v", pk.ReasonCode, l.stored)
	}
}

// Sessions are bounded; those that are there can be gone on with.
func TestSessionsAreBounded(t *testing.T) {
	s, _ := start(t, Config{MaxConnections: 2})
	id := 0
	for ; s.mochi.Clients.Len() < 2*sessionsPerConnection; id++ {
		c := dial(t, s, connectOptions{id: fmt.Sprint(id), keep: true})
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		c.ended()
	}
	for version, want := range map[byte]byte{4: 3, 5: packets.ErrQuotaExceeded.Code} {
		c, code := tryDial(t, s, connectOptions{id: "more", version: version})
		if code != want {
			t.Errorf("version %d: CONNACK %#x, want %#x", version, code, want)
		}
		c.ended()
	}
	dial(t, s, connectOptions{id: "0", keep: true})
}

// Retained messages are bounded in number and bytes. What cannot be retained is refused
// where that can be said, and is a message all the same where it cannot.
func TestRetainedAreBounded(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "c"})
	old := dial(t, s, connectOptions{id: "old", version: 4})
	retain := func(c *client, topic string, id uint16, value string) byte {
		pk := publishPacket(topic, value, 1, id)
		pk.FixedHeader.Retain = true
		c.send(pk)
		return c.wants(packets.Puback, id).ReasonCode
	}
	if code := retain(c, "state/a", 1, "x"); code != 0 {
		t.Errorf("told %#x", code)
	}
	s.retained.mu.Lock()
	for i := range maxRetained - 1 {
		s.retained.sizes[fmt.Sprint(i)] = 1
	}
	s.retained.mu.Unlock()
	if code := retain(c, "state/b", 2, "x"); code != packets.ErrQuotaExceeded.Code {
		t.Errorf("one too many: %#x", code)
	}
	if code := retain(old, "state/b", 2, "y"); code != 0 || !slices.Contains(l.stored, "state.b y") {
		t.Errorf("told %#x, stored %v", code, l.stored)
	}
	if code := retain(c, "state/a", 3, "again"); code != 0 {
		t.Errorf("in place of another: %#x", code)
	}
	s.retained.mu.Lock()
	s.retained.bytes = maxRetainedBytes
	s.retained.mu.Unlock()
	if code := retain(c, "state/a", 4, strings.Repeat("x", 1000)); code != packets.ErrQuotaExceeded.Code {
		t.Errorf("too much: %#x", code)
	}
	if code := retain(c, "state/a", 5, ""); code != 0 {
		t.Errorf("taken away: %#x", code)
	}
	if code := retain(c, "state/b", 6, "x"); code != 0 {
		t.Errorf("in the room that this made: %#x", code)
	}
	if _, kept := s.mochi.Topics.Retained.Get("state/a"); kept {
		t.Error("what was taken away is there")
	}
}

// Subscriptions of a client are bounded.
func TestSubscriptionsAreBounded(t *testing.T) {
	s, _ := start(t, Config{})
	c := dial(t, s, connectOptions{id: "c"})
	for i := range maxSubscriptions {
		if code := c.subscribe(fmt.Sprint("x/", i), 0); code != 0 {
			t.Fatalf("subscription %d: %#x", i, code)
		}
	}
	if code := c.subscribe("one/more", 0); code < 0x80 {
		t.Error("one more")
	}
	if code := c.subscribe("x/7", 0); code != 0 {
		t.Errorf("one that it has: %#x", code)
	}
}

// A session that has expired leaves no subscriptions behind, with mochi or with NATS.
func TestExpiredSessionLeavesNothing(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "c", keep: true})
	c.subscribe("commands/c", 1)
	c.conn.Close()
	cl, _ := s.mochi.Clients.Get("c")
	l.await(t, "it has gone", cl.Closed)
	(&hook{server: s}).OnClientExpired(cl)
	s.mochi.Clients.Delete("c") // as mochi does next
	if left := s.mochi.Topics.Subscribers("commands/c").Subscriptions; len(left) != 0 || len(s.sessions) != 0 {
		t.Errorf("%d subscriptions and %d sessions are left", len(left), len(s.sessions))
	}
	s.tidy()
	if !slices.Equal(l.ended, []int{0}) {
		t.Errorf("NATS subscriptions that ended: %v", l.ended)
	}
}

// What is heard from NATS waits in a bounded queue, and nobody waits for it.
func TestHeardIsBounded(t *testing.T) {
	s, _ := start(t, Config{})
	s.heardBytes.Store(maxHeardBytes)
	s.Publish([]byte("commands.x"), nil, []byte("x"))
	if n := len(s.heard); n != 0 || s.heardBytes.Load() != maxHeardBytes {
		t.Errorf("%d wait, with %d bytes", n, s.heardBytes.Load())
	}
}

// The first packet is looked at before its length is believed.
func TestOpening(t *testing.T) {
	for name, tc := range map[string]struct {
		bytes string
		want  error
	}{
		"connect":       {"\x10\x0e\x00\x04MQTT", nil},
		"longest":       {"\x10\x80\x80\x04", nil},
		"too long":      {"\x10\x81\x80\x04", errLongConnect},
		"far too long":  {"\x10\xff\xff\x1f", errLongConnect},
		"endless":       {"\x10\x80\x80\x80\x80\x01", errLongConnect},
		"other packet":  {"\x30\x05", errNotConnect},
		"later packets": {"\x10\x00\x30\xff\xff\xff", nil},
	} {
		var whole, split opening
		if got := whole.see([]byte(tc.bytes)); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
		var got error
		for i := 0; i < len(tc.bytes) && got == nil; i++ {
			got = split.see([]byte(tc.bytes[i : i+1]))
		}
		if got != tc.want {
			t.Errorf("%s, byte for byte: %v, want %v", name, got, tc.want)
		}
	}
	s, _ := start(t, Config{})
	conn, err := netDial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x10\xff\xff\x1f")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	(&client{t: t, conn: conn, r: newReader(conn)}).ended()
	if took := time.Since(begin); took > connectTimeout/2 {
		t.Errorf("the connection stayed open for %v", took)
	}
}

// Writes do not wait for a client that does not read: it is let go in time, with what it
// has not read, and what comes after a part of a packet is not written.
func TestConnThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &conn{Conn: near, leave: func() {}}
		c.changed.L = &c.mu
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.writeOut()
		}()
		begin := time.Now()
		if _, err := c.Write(make([]byte, outBytes)); err != nil || time.Since(begin) != 0 {
			t.Errorf("written after %v, %v", time.Since(begin), err)
		}
		c.hasRoom()
		if waited := time.Since(begin); waited != writeTimeout {
			t.Errorf("let go after %v, want %v", waited, writeTimeout)
		}
		<-ended
		if _, err := c.Write([]byte("more")); err == nil {
			t.Error("written to a closed connection")
		}
	})
}

// What was written before the connection is closed goes out.
func TestConnSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &conn{Conn: near, leave: func() {}}
		c.changed.L = &c.mu
		go c.writeOut()
		c.Write([]byte("goodbye"))
		c.Close()
		if err := c.SetDeadline(time.Time{}); err == nil {
			t.Error("the reader may go on")
		}
		got := make([]byte, 100)
		n, err := far.Read(got)
		if string(got[:n]) != "goodbye" {
			t.Errorf("read %q, %v", got[:n], err)
		}
	})
}

// A session that is gone on with hears NATS's side, also if its filter was tidied away
// while it was between two connections.
func TestListenedForAgain(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "c", keep: true})
	c.subscribe("commands/c", 1)
	s.hearing.Lock()
	s.filters = nil
	s.hearing.Unlock()
	dial(t, s, connectOptions{id: "c", keep: true}).nothingCame()
	if !slices.Equal(l.patterns, []string{"commands.c", "commands.c"}) {
		t.Errorf("listened for %v", l.patterns)
	}
}
