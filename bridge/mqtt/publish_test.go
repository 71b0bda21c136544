package mqtt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/ingest"
)

// PUBACK and PUBREC come after the record is durable, in the order of the publishes,
// and many can be on their way.
func TestAcknowledgedOnceStored(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for qos, kind := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
			t.Run(fmt.Sprintf("version %d, QoS %d", version, qos), func(t *testing.T) {
				s, l := start(t, Config{})
				l.held = true
				c := dial(t, s, connectOptions{id: "press3", version: version})
				const count = 100
				for i := range count {
					c.publish("telemetry/press3/temp", fmt.Sprint(i), qos, uint16(i+1))
				}
				l.await(t, "all are taken", func() bool { return len(l.waiting) == count })
				if !slices.Equal(l.stored, numbered("telemetry.press3.temp", count)) {
					t.Errorf("taken in the order %v", l.stored)
				}
				c.nothingCame()
				var backwards []int
				for i := range count {
					backwards = append(backwards, count-1-i)
				}
				l.release(backwards...)
				for i := range count {
					if pk := c.wants(kind, uint16(i+1)); pk.ReasonCode != 0 {
						t.Fatalf("publish %d: reason %#x", i, pk.ReasonCode)
					}
				}
				l.await(t, "NATS's side has heard all", func() bool { return slices.Equal(l.told, numbered("telemetry.press3.temp", count)) })
			})
		}
	}
}

// A QoS 2 publish is stored once, however often it is sent, on one connection and over
// a new one, before and after its PUBREC.
func TestExactlyOnce(t *testing.T) {
	s, l := start(t, Config{})
	l.held = true
	c := dial(t, s, connectOptions{id: "press3", keep: true})
	c.publish("telemetry/press3/temp", "x", 2, 7)
	l.await(t, "it is taken", func() bool { return len(l.waiting) == 1 })
	c.conn.Close()

	again := publishPacket("telemetry/press3/temp", "x", 2, 7)
	again.FixedHeader.Dup = true
	c = dial(t, s, connectOptions{id: "press3", keep: true})
	if !c.present {
		t.Fatal("the session is gone")
	}
	c.send(again)
	c.nothingCame()
	l.release()
	c.wants(packets.Pubrec, 7)
	c.send(again)
	c.wants(packets.Pubrec, 7)
	c.conn.Close()

	c = dial(t, s, connectOptions{id: "press3", keep: true})
	c.send(again)
	c.wants(packets.Pubrec, 7)
	release := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: 7}
	c.send(release)
	if pk := c.wants(packets.Pubcomp, 7); pk.ReasonCode != 0 {
		t.Errorf("PUBCOMP %#x", pk.ReasonCode)
	}
	c.send(release)
	if pk := c.wants(packets.Pubcomp, 7); pk.ReasonCode != packets.ErrPacketIdentifierNotFound.Code {
		t.Errorf("PUBCOMP of nothing %#x", pk.ReasonCode)
	}
	c.publish("telemetry/press3/temp", "y", 2, 7) // the id is free
	c.wants(packets.Pubrec, 7)
	if want := []string{"telemetry.press3.temp x", "telemetry.press3.temp y"}; !slices.Equal(l.stored, want) {
		t.Errorf("stored %v, want %v", l.stored, want)
	}
}

// Publishes of a connection that has ended are heard, also behind one that its successor
// is answered for.
func TestHeardAfterTheConnection(t *testing.T) {
	s, l := start(t, Config{})
	l.held = true
	listener := dial(t, s, connectOptions{id: "listener"})
	listener.subscribe("#", 0)
	c := dial(t, s, connectOptions{id: "press3", keep: true})
	c.publish("two", "x", 2, 1)
	c.publish("one", "x", 1, 2)
	l.await(t, "both are taken", func() bool { return len(l.waiting) == 2 })
	c = dial(t, s, connectOptions{id: "press3", keep: true})
	again := publishPacket("two", "x", 2, 1)
	again.FixedHeader.Dup = true
	c.send(again)
	c.nothingCame()
	l.release(1, 0)
	listener.hears("two", "x", 0)
	listener.hears("one", "x", 0)
	c.wants(packets.Pubrec, 1)
}

// A client whose session ends with its connection begins anew.
func TestCleanStartForgets(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "press3", keep: true})
	c.publish("telemetry/press3/temp", "x", 2, 7)
	c.wants(packets.Pubrec, 7)
	c.conn.Close()
	c = dial(t, s, connectOptions{id: "press3"})
	c.publish("telemetry/press3/temp", "y", 2, 7)
	c.wants(packets.Pubrec, 7)
	if len(l.stored) != 2 {
		t.Errorf("stored %v", l.stored)
	}
}

// What the server sends has packet ids of its own: a publish that comes in by the same
// id disturbs nothing.
func TestPacketIDsOfBothSides(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "press3", keep: true})
	c.subscribe("commands/press3", 1)
	s.Publish([]byte("commands.press3"), nil, []byte("stop"))
	id := c.hears("commands/press3", "stop", 1).PacketID
	c.publish("telemetry/press3/temp", "x", 1, id)
	c.wants(packets.Puback, id)
	c.conn.Close()
	c = dial(t, s, connectOptions{id: "press3", keep: true})
	if pk := c.hears("commands/press3", "stop", 1); !pk.FixedHeader.Dup || pk.PacketID != id {
		t.Errorf("sent again as %+v", pk.FixedHeader)
	}
	if len(l.stored) != 1 {
		t.Errorf("stored %v", l.stored)
	}
}

// MQTT 5 is told why a publish is not stored; MQTT 3.1.1 has no words, and is let go
// without a PUBACK.
func TestRefused(t *testing.T) {
	refusal := fmt.Errorf("the disk is full: %w", &ingest.Refusal{Code: 503, Temporary: true})
	for name, tc := range map[string]struct {
		err  error
		want packets.Code
	}{
		"temporary": {refusal, packets.ErrQuotaExceeded},
		"permanent": {fmt.Errorf("headers cannot be read: %w", &ingest.Refusal{Code: 400}), packets.ErrImplementationSpecificError},
	} {
		for qos, kind := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
			t.Run(fmt.Sprint(name, qos), func(t *testing.T) {
				s, l := start(t, Config{})
				l.refuse = tc.err
				c := dial(t, s, connectOptions{id: "press3"})
				c.publish("telemetry/press3/temp", "x", qos, 1)
				if pk := c.wants(kind, 1); pk.ReasonCode != tc.want.Code || pk.Properties.ReasonString == "" {
					t.Errorf("reason %#x %q, want %#x and a sentence", pk.ReasonCode, pk.Properties.ReasonString, tc.want.Code)
				}
				l.set(func() { l.refuse = nil })
				c.publish("telemetry/press3/temp", "x", qos, 1)
				if pk := c.wants(kind, 1); pk.ReasonCode != 0 || len(l.stored) != 1 {
					t.Errorf("sent again: reason %#x, stored %v", pk.ReasonCode, l.stored)
				}

				l.set(func() { l.refuse = tc.err })
				c = dial(t, s, connectOptions{id: "press4", version: 4})
				c.publish("telemetry/press4/temp", "x", qos, 1)
				if pk, err := c.tryReceive(patience); err == nil {
					t.Errorf("MQTT 3.1.1 is told %s", packets.PacketNames[pk.FixedHeader.Type])
				}
				if len(l.told) != 1 {
					t.Errorf("NATS's side heard %v, want what was stored", l.told)
				}
			})
		}
	}
}

// A topic that no rule takes, and one that is no subject, are for subscribers alone;
// they are acknowledged in their turn.
func TestNotStored(t *testing.T) {
	s, l := start(t, Config{})
	l.noRule = "state.press3"
	listener := dial(t, s, connectOptions{id: "listener"})
	listener.subscribe("#", 1)
	c := dial(t, s, connectOptions{id: "press3"})
	l.held = true
	c.publish("telemetry/press3/temp", "1", 1, 1)
	c.publish("Living Room/temp", "2", 1, 2)
	c.publish("state/press3", "3", 1, 3)
	l.await(t, "both are taken", func() bool { return len(l.waiting) == 2 })
	c.nothingCame()
	l.release()
	for id := range uint16(3) {
		c.wants(packets.Puback, id+1)
	}
	listener.hears("telemetry/press3/temp", "1", 1)
	listener.hears("Living Room/temp", "2", 1)
	listener.hears("state/press3", "3", 1)
	if want := []string{"telemetry.press3.temp 1", "state.press3 3"}; !slices.Equal(l.told, want) {
		t.Errorf("NATS's side heard %v, want %v", l.told, want)
	}
}

// A client of MQTT 5 that sends more than it was told it may is disconnected; one of
// 3.1.1, which cannot be told, waits.
func TestReceiveMaximum(t *testing.T) {
	s, l := start(t, Config{ReceiveMaximum: 2})
	l.held = true
	c := dial(t, s, connectOptions{id: "five"})
	for id := range uint16(3) {
		c.publish("telemetry/five/temp", "x", 1, id+1)
	}
	if pk := c.receive(); pk.FixedHeader.Type != packets.Disconnect || pk.ReasonCode != packets.ErrReceiveMaximum.Code {
		t.Errorf("told %s %#x", packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode)
	}
	c.ended()
	l.release()

	l.set(func() { l.held, l.stored = true, nil })
	c = dial(t, s, connectOptions{id: "four", version: 4})
	for id := range uint16(5) {
		c.publish("telemetry/four/temp", "x", 1, id+1)
	}
	l.await(t, "two are taken", func() bool { return len(l.waiting) == 2 })
	l.release()
	for id := range uint16(5) {
		c.wants(packets.Puback, id+1)
	}
}

// User properties and the like become headers, those that can.
func TestProperties(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "press3"})
	pk := publishPacket("telemetry/press3/temp", "x", 1, 1)
	pk.Properties.User = []packets.UserProperty{{Key: "unit", Val: "C"}, {Key: "bad name", Val: "1"}, {Key: "bad", Val: "a\r\nb: c"}, {Key: "Nats-Msg-Id", Val: "17"}}
	pk.Properties.ContentType = "text/plain"
	c.send(pk)
	c.wants(packets.Puback, 1)
	if want := "NATS/1.0\r\nunit: C\r\nNats-Msg-Id: 17\r\nContent-Type: text/plain\r\n\r\n"; l.headers[0] != want {
		t.Errorf("headers %q, want %q", l.headers[0], want)
	}
}

// QoS 0 is best effort, and asks for nothing.
func TestBestEffort(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "press3"})
	c.publish("telemetry/press3/temp", "1", 0, 0)
	c.publish("$SYS/forged", "2", 0, 0)
	c.publish("_INBOX/forged", "3", 0, 0)
	c.nothingCame()
	if !slices.Equal(l.best, []string{"telemetry.press3.temp 1"}) || !slices.Equal(l.told, l.best) {
		t.Errorf("best effort %v, NATS's side heard %v", l.best, l.told)
	}
}

// Once the server stops, publishes are refused, and the clients are told to go.
func TestStop(t *testing.T) {
	s, l := start(t, Config{})
	l.held = true
	c := dial(t, s, connectOptions{id: "press3"})
	c.publish("telemetry/press3/temp", "1", 1, 1)
	l.await(t, "it is taken", func() bool { return len(l.waiting) == 1 })
	listener := dial(t, s, connectOptions{id: "listener"})
	listener.subscribe("#", 0)
	s.Stop()
	l.set(func() { l.held = false })
	c.publish("telemetry/press3/temp", "2", 1, 2)
	l.release()
	c.wants(packets.Puback, 1)
	listener.hears("telemetry/press3/temp", "1", 0)
	if pk := c.receive(); pk.ReasonCode != packets.ErrServerShuttingDown.Code {
		t.Errorf("told %s %#x", packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode)
	}
	listener.nothingCame()
	idle := dial(t, s, connectOptions{id: "idle"})
	s.Shutdown()
	if pk := idle.receive(); pk.FixedHeader.Type != packets.Disconnect || pk.ReasonCode != packets.ErrServerShuttingDown.Code {
		t.Errorf("told %s %#x", packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode)
	}
	if len(l.stored) != 1 {
		t.Errorf("stored %v", l.stored)
	}
}

// Bad packets end their connection and nothing else.
func TestHostile(t *testing.T) {
	s, _ := start(t, Config{MaxPayload: 1024, MaxConnections: 3})
	good := dial(t, s, connectOptions{id: "good"})
	for name, raw := range map[string]string{
		"no MQTT":      "GET / HTTP/1.1\r\n\r\n",
		"huge":         "\x10\xff\xff\xff\x7f",
		"bad length":   "\x10\xff\xff\xff\xff\xff",
		"early":        "\x30\x05\x00\x01a12",
		"short string": "\x10\x04\x00\xffMQ",
	} {
		c := &client{t: t, version: 5}
		var err error
		if c.conn, err = netDial(s); err != nil {
			t.Fatal(err)
		}
		c.r = newReader(c.conn)
		if _, err := c.conn.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		c.ended()
		c.conn.Close()
		t.Log(name)
	}
	big := dial(t, s, connectOptions{id: "big"})
	big.publish("telemetry/big", strings.Repeat("x", 1024+packetMargin), 1, 1)
	big.ended()
	good.publish("telemetry/good/temp", "x", 1, 1)
	good.wants(packets.Puback, 1)
}
