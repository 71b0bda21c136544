package mqtt

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func (c *client) acks(pk packets.Packet) {
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
}

// A subscriber has no more without an answer than it said, and gets everything in the end.
func TestSubscriberReceiveMaximum(t *testing.T) {
	s, _ := start(t, Config{})
	c := dial(t, s, connectOptions{id: "c", receiveMaximum: 2})
	c.subscribe("commands/#", 1)
	const count = 20
	for i := range count {
		s.Publish([]byte("commands.x"), nil, fmt.Append(nil, i))
	}
	first, second := c.hears("commands/x", "0", 1), c.hears("commands/x", "1", 1)
	c.nothingCame()
	c.acks(first)
	c.acks(second)
	for i := range count - 2 {
		c.acks(c.hears("commands/x", fmt.Sprint(i+2), 1))
	}
	c.nothingCame()
}

// Publishers are not held up by subscribers with a receive maximum, and their messages
// all arrive.
func TestReceiveMaximumUnderLoad(t *testing.T) {
	const count = 20_000
	s, _ := start(t, Config{MaxQueued: count})
	c := dial(t, s, connectOptions{id: "c", receiveMaximum: 500})
	c.subscribe("commands/#", 1)
	publisher := dial(t, s, connectOptions{id: "p", version: 4})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range count {
			publisher.publish("commands/x", fmt.Sprint(i), 1, uint16(i+1))
		}
	}()
	acked := make(chan struct{})
	go func() {
		defer close(acked)
		for range count {
			if _, err := publisher.tryReceive(patience); err != nil {
				t.Errorf("no PUBACK: %v", err)
				return
			}
		}
	}()
	for range count {
		pk, err := c.tryReceive(patience)
		if err != nil {
			t.Fatalf("no message: %v", err)
		}
		c.acks(pk)
	}
	<-sent
	<-acked
}

// What waited for a session comes in its order, also before what comes meanwhile, and
// within the receive maximum.
func TestOfflineOrder(t *testing.T) {
	for _, version := range []byte{4, 5} {
		s, l := start(t, Config{})
		c := dial(t, s, connectOptions{id: "c", keep: true, version: version})
		c.subscribe("commands/#", 1)
		c.conn.Close()
		l.await(t, "it has gone", func() bool { cl, _ := s.mochi.Clients.Get("c"); return cl.Closed() })
		const count = 100
		for i := range count {
			s.Publish([]byte("commands.x"), nil, fmt.Append(nil, i))
		}
		l.await(t, "all wait", func() bool { cl, _ := s.mochi.Clients.Get("c"); return cl.State.Inflight.Len() == count })
		c = dial(t, s, connectOptions{id: "c", keep: true, version: version, receiveMaximum: 10})
		for i := range 10 {
			s.Publish([]byte("commands.x"), nil, fmt.Append(nil, count+i))
		}
		var unanswered []packets.Packet
		for i := range count + 10 {
			pk := c.hears("commands/x", fmt.Sprint(i), 1)
			if pk.FixedHeader.Dup != (i < count) {
				t.Errorf("message %d: DUP %v", i, pk.FixedHeader.Dup)
			}
			unanswered = append(unanswered, pk)
			if len(unanswered) == 10 {
				c.nothingMore(version)
				for _, pk := range unanswered {
					c.acks(pk)
				}
				unanswered = nil
			}
		}
	}
}

// nothingMore makes sure of that for a client that said how much it takes at once.
func (c *client) nothingMore(version byte) {
	c.t.Helper()
	if version == 5 {
		c.nothingCame()
	}
}

// Who does not read holds nobody else up: neither publishers nor the NATS side.
func TestSlowSubscriber(t *testing.T) {
	s, _ := start(t, Config{})
	slow := dial(t, s, connectOptions{id: "slow"})
	slow.subscribe("telemetry/#", 1)
	c := dial(t, s, connectOptions{id: "press3"})
	value := strings.Repeat("x", 100<<10)
	begin := time.Now()
	for i := range 200 {
		c.publish("telemetry/press3/temp", value, 1, uint16(i+1))
		c.wants(packets.Puback, uint16(i+1))
	}
	if took := time.Since(begin); took > writeTimeout/2 {
		t.Errorf("held up for %v", took)
	}
}

// A message expires also while it waits for a session, at QoS 1; what is retained does
// not go by itself.
func TestMessageExpiry(t *testing.T) {
	s, _ := start(t, Config{})
	c := dial(t, s, connectOptions{id: "c", keep: true})
	c.subscribe("commands/#", 1)
	p := dial(t, s, connectOptions{id: "p"})
	pk := publishPacket("commands/x", "1", 1, 1)
	pk.Properties.MessageExpiryInterval = 10
	p.send(pk)
	p.wants(packets.Puback, 1)
	pk = publishPacket("commands/x", "2", 1, 2)
	pk.FixedHeader.Retain = true
	p.send(pk)
	p.wants(packets.Puback, 2)
	cl, _ := s.mochi.Clients.Get("c")
	later := time.Now().Add(20 * time.Second).Unix()
	if gone := cl.ClearExpiredInflights(later, s.mochi.Options.Capabilities.MaximumMessageExpiryInterval); len(gone) != 1 {
		t.Errorf("%d messages expire, want 1", len(gone))
	}
	if kept, _ := s.mochi.Topics.Retained.Get("commands/x"); kept.Expiry != 0 || s.mochi.Options.Capabilities.MaximumMessageExpiryInterval != 0 {
		t.Errorf("what is retained expires at %d", kept.Expiry)
	}
}

// Their order is that of their age, also where packet ids say otherwise: a new connection
// counts them from the start, and leaves out those that are taken.
func TestOrderOverConnections(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "c", keep: true})
	c.subscribe("commands/#", 1)
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			s.Publish([]byte("commands.x"), nil, fmt.Append(nil, i))
		}
	}
	publish(0, 5)
	for i := range 5 {
		c.acks(c.hears("commands/x", fmt.Sprint(i), 1))
	}
	publish(5, 10)
	for i := range 5 {
		c.hears("commands/x", fmt.Sprint(5+i), 1)
	}
	c.conn.Close()
	c = dial(t, s, connectOptions{id: "c", keep: true})
	for i := range 5 {
		c.hears("commands/x", fmt.Sprint(5+i), 1)
	}
	publish(10, 15)
	for i := range 5 {
		if pk := c.hears("commands/x", fmt.Sprint(10+i), 1); pk.PacketID > 5 {
			t.Errorf("message %d has the packet id %d: this shows nothing", 10+i, pk.PacketID)
		}
	}
	c.conn.Close()
	l.await(t, "it has gone", func() bool { cl, _ := s.mochi.Clients.Get("c"); return cl.Closed() })
	publish(15, 20)
	l.await(t, "all wait", func() bool { cl, _ := s.mochi.Clients.Get("c"); return cl.State.Inflight.Len() == 15 })
	c = dial(t, s, connectOptions{id: "c", keep: true})
	for i := range 15 {
		c.acks(c.hears("commands/x", fmt.Sprint(5+i), 1))
	}
}

// What comes while mochi sends again is not sent twice.
func TestFreshIsSentOnce(t *testing.T) {
	s, _ := start(t, Config{})
	var o outbound
	o.init(0)
	near, far := net.Pipe()
	defer far.Close()
	c := &conn{Conn: near, leave: func() {}}
	c.changed.L = &c.mu
	cl := s.mochi.NewClient(c, listenerID, "c", false)
	for id := range uint16(2) {
		pk := publishPacket("commands/x", "x", 1, id+1)
		pk.FixedHeader.Dup = true
		cl.State.Inflight.Set(pk)
		if !o.keep(pk) {
			t.Error("not kept")
		}
	}
	o.came(2)
	o.resend(cl, o.begin(func(uint16) uint64 { return 0 }))
	if want := len(encoded(t, publishPacket("commands/x", "x", 1, 1))); len(c.out) != want {
		t.Errorf("%d bytes are sent again, want %d: the first message", len(c.out), want)
	}
}

func encoded(t *testing.T, pk packets.Packet) []byte {
	t.Helper()
	var buf bytes.Buffer
	pk.ProtocolVersion = 4
	if err := pk.PublishEncode(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
