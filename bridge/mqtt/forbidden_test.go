package mqtt

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/ingest"
)

// What a user may not publish goes nowhere, whatever the version and QoS; a client of
// MQTT 3.1.1, which cannot be told, is let go.
func TestForbiddenGoesNowhere(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for qos := range byte(3) {
			s, l := start(t, Config{Access: one{"press3"}})
			c := dial(t, s, connectOptions{id: "c", user: "press3", password: "secret", version: version})
			c.subscribe("commands/press3/#", 1)
			pk := publishPacket("commands/press3/open", "x", qos, uint16(qos))
			pk.FixedHeader.Retain = true
			c.send(pk)
			switch {
			case qos == 0:
				c.nothingCame()
			case version == 4:
				c.ended()
			default:
				if ack := c.receive(); ack.ReasonCode != packets.ErrNotAuthorized.Code {
					t.Errorf("version %d, QoS %d: told %#x", version, qos, ack.ReasonCode)
				}
				c.nothingCame()
			}
			if len(s.retained.sizes) != 0 || len(l.stored)+len(l.best)+len(l.told) != 0 {
				t.Errorf("version %d, QoS %d: retained %v, stored %v, best effort %v, told %v", version, qos, s.retained.sizes, l.stored, l.best, l.told)
			}
		}
	}
}

// Acknowledgements keep their order also where one is refused at once.
func TestRefusedInTurn(t *testing.T) {
	s, l := start(t, Config{Access: one{"press3"}})
	l.held = true
	c := dial(t, s, connectOptions{id: "c", user: "press3", password: "secret"})
	c.publish("telemetry/press3/temp", "1", 1, 1)
	c.publish("telemetry/other/temp", "2", 1, 2)
	l.await(t, "one is taken", func() bool { return len(l.waiting) == 1 })
	c.nothingCame()
	l.release()
	c.wants(packets.Puback, 1)
	c.wants(packets.Puback, 2)
}

// Nobody may publish on topics of the server's own, or beyond all measure. MQTT 5 is
// told so, an older client is let go.
func TestTopicsNobodyMayPublishOn(t *testing.T) {
	s, l := start(t, Config{})
	for _, topic := range []string{"$SYS/x", "$sys/broker/version", deepTopic()} {
		c := dial(t, s, connectOptions{id: "c"})
		c.publish(topic, "x", 1, 7)
		if ack := c.wants(packets.Puback, 7); ack.ReasonCode != packets.ErrTopicNameInvalid.Code {
			t.Errorf("%.20s: told %#x", topic, ack.ReasonCode)
		}
		c = dial(t, s, connectOptions{id: "c", version: 4})
		c.publish(topic, "x", 1, 7)
		c.ended()
		c = dial(t, s, connectOptions{id: "c"})
		if code := c.subscribe(topic, 0); topic == deepTopic() && code < 0x80 {
			t.Errorf("%.20s: subscribed", topic)
		}
	}
	if len(l.stored)+len(l.told) != 0 {
		t.Errorf("stored %v, told %v", l.stored, l.told)
	}
}

func deepTopic() string {
	var topic []byte
	for range maxLevels {
		topic = append(topic, "a/"...)
	}
	return string(append(topic, 'a'))
}

// A will that may not be, or that is on no topic, is heard by nobody. One may be empty.
func TestWills(t *testing.T) {
	s, l := start(t, Config{Access: one{"press3"}})
	for _, topic := range []string{"telemetry/other/x", "$SYS/x", "commands/press3/#", "commands/press3"} {
		c := dial(t, s, connectOptions{id: "w", user: "press3", password: "secret", will: topic, willPayload: "x"})
		c.conn.Close()
		l.await(t, "it is forgotten", func() bool { return !s.knows("w") })
	}
	if len(l.best)+len(l.told) != 0 {
		t.Errorf("best effort %v, told %v", l.best, l.told)
	}
	c := dial(t, s, connectOptions{id: "w", user: "press3", password: "secret", will: "telemetry/press3/x"})
	c.conn.Close()
	l.await(t, "the empty will is stored", func() bool { return slices.Contains(l.best, "telemetry.press3.x ") })
}

// A will that nobody may hear does not come to who hears everything.
func TestForbiddenWillIsNotHeard(t *testing.T) {
	s, l := start(t, Config{})
	listener := dial(t, s, connectOptions{id: "listener"})
	listener.subscribe("#", 1)
	c := dial(t, s, connectOptions{id: "w", will: "a/#", willPayload: "x"})
	c.conn.Close()
	l.await(t, "it is forgotten", func() bool { return !s.knows("w") })
	listener.nothingCame()
}

func (s *Server) knows(id string) bool {
	_, known := s.mochi.Clients.Get(id)
	return known
}

// A client that is let go because its message was not stored has its will sent, also
// while it sends on.
func TestWillOfWhoIsLetGo(t *testing.T) {
	for range 10 {
		s, l := start(t, Config{})
		l.refuse = fmt.Errorf("the disk is full: %w", &ingest.Refusal{Temporary: true})
		c := dial(t, s, connectOptions{id: "c", version: 4, will: "wills/c", willPayload: "gone"})
		var burst bytes.Buffer
		for id := range uint16(200) {
			pk := publishPacket("telemetry/c/x", "x", 1, id+1)
			pk.ProtocolVersion = 4
			if err := pk.PublishEncode(&burst); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.conn.Write(burst.Bytes()); err != nil {
			t.Fatal(err)
		}
		l.await(t, "the will is stored", func() bool { return slices.Contains(l.best, "wills.c gone") })
	}
}
