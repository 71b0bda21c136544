package mqtt

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A client may give its requests and publishes the packet id of a message that waits for
// it: each direction has its own. The message is still there afterwards.
func TestPacketIDsOfBothDirections(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			for _, kept := range []bool{false, true} {
				t.Run(fmt.Sprintf("version%d,QoS%d,kept=%v", version, qos, kept), func(t *testing.T) {
					s, _ := start(t, Config{})
					if kept {
						s, _, _ = startOn(t, &memory{}, Config{})
					}
					bothDirections(t, s, version, qos)
				})
			}
		}
	}
}

func bothDirections(t *testing.T, s *Server, version, qos byte) {
	t.Helper()
	options := connectOptions{id: "press", keep: true, version: version}
	c, sender := dial(t, s, options), dial(t, s, connectOptions{id: "sender"})
	c.subscribe("press/#", qos)
	sender.publish("press/3", "stop", 2, 1)
	sender.wants(packets.Pubrec, 1)
	id := c.hears("press/3", "stop", qos).PacketID
	c.conn.Close()
	c = dial(t, s, options)
	if again := c.hears("press/3", "stop", qos); again.PacketID != id {
		t.Fatalf("the message comes again as %d, not %d", again.PacketID, id)
	}

	if code := c.subscribeAs(id, "press/#", qos); code != qos {
		t.Errorf("SUBACK %#x, want %d", code, qos)
	}
	c.subscribeAs(id, "lamps/#", qos)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: id, Filters: packets.Subscriptions{{Filter: "lamps/#"}}})
	if pk := c.wants(packets.Unsuback, id); version == 5 && pk.ReasonCodes[0] != 0 {
		t.Errorf("UNSUBACK %#x", pk.ReasonCodes[0])
	}
	s.Publish([]byte("lamps.1"), nil, []byte("on")) // which it does not hear any more
	c.publish("telemetry/3", "1", 1, id)
	if pk := c.wants(packets.Puback, id); pk.ReasonCode != 0 {
		t.Errorf("PUBACK %#x", pk.ReasonCode)
	}
	c.publish("telemetry/3", "2", 2, id)
	if pk := c.wants(packets.Pubrec, id); pk.ReasonCode != 0 {
		t.Errorf("PUBREC %#x", pk.ReasonCode)
	}
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: id})
	c.wants(packets.Pubcomp, id)
	c.conn.Close()
	c = dial(t, s, options)
	if again := c.hears("press/3", "stop", qos); again.PacketID != id {
		t.Errorf("the message comes again as %d, not %d", again.PacketID, id)
	}
}

// A request without a packet id ends the connection.
func TestRequestsWithoutPacketID(t *testing.T) {
	s, _ := start(t, Config{})
	for _, raw := range []string{"\x82\x07\x00\x00\x00\x00\x01a\x00", "\xa2\x06\x00\x00\x00\x00\x01a"} {
		c := dial(t, s, connectOptions{id: "press"})
		if _, err := c.conn.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		if pk := c.receive(); pk.FixedHeader.Type != packets.Disconnect || pk.ReasonCode != packets.ErrProtocolViolationNoPacketID.Code {
			t.Errorf("%x is answered with %s %#x", raw, packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode)
		}
		c.ended()
	}
}

// What a client publishes does not count with what it is sent: it may publish while it
// is in the middle of more messages than it may have under way itself.
func TestReceiveMaximumOfBothDirections(t *testing.T) {
	s, _ := start(t, Config{ReceiveMaximum: 2})
	c, sender := dial(t, s, connectOptions{id: "press", keep: true}), dial(t, s, connectOptions{id: "sender"})
	c.subscribe("press/#", 2)
	for id := range uint16(3) {
		sender.publish("press/3", "stop", 2, id+1)
		sender.wants(packets.Pubrec, id+1)
		sender.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: id + 1})
		sender.wants(packets.Pubcomp, id+1)
		pk := c.hears("press/3", "stop", 2)
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: pk.PacketID})
		c.wants(packets.Pubrel, pk.PacketID)
	}
	c.publish("telemetry/3", "1", 0, 0)
	c.nothingCame()
}
