package mqtt

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// client is an MQTT client that does nothing by itself.
type client struct {
	t       *testing.T
	conn    net.Conn
	r       *bufio.Reader
	version byte
	present bool
}

type connectOptions struct {
	id, user, password string
	version            byte
	keep               bool // the session
	will, willPayload  string
	receiveMaximum     uint16
}

// dial connects, and wants to be let in.
func dial(t *testing.T, s *Server, o connectOptions) *client {
	t.Helper()
	c, code := tryDial(t, s, o)
	if code != 0 {
		t.Fatalf("CONNACK %#x", code)
	}
	return c
}

func tryDial(t *testing.T, s *Server, o connectOptions) (c *client, code byte) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if o.version == 0 {
		o.version = 5
	}
	c = &client{t: t, conn: conn, r: bufio.NewReader(conn), version: o.version}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	pk.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: !o.keep, Keepalive: 60, ClientIdentifier: o.id}
	if o.user != "" {
		pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte(o.user)
		pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte(o.password)
	}
	if o.will != "" {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload, pk.Connect.WillQos = true, o.will, []byte(o.willPayload), 1
	}
	pk.Properties.ReceiveMaximum = o.receiveMaximum
	if o.keep {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
	}
	c.send(pk)
	ack := c.receive()
	if ack.FixedHeader.Type != packets.Connack {
		t.Fatalf("the first packet is %v", ack.FixedHeader.Type)
	}
	c.present = ack.SessionPresent
	return c, ack.ReasonCode
}

func (c *client) send(pk packets.Packet) {
	c.t.Helper()
	pk.ProtocolVersion = c.version
	var buf bytes.Buffer
	encode := map[byte]func(*bytes.Buffer) error{
		packets.Connect: pk.ConnectEncode, packets.Publish: pk.PublishEncode, packets.Pubrel: pk.PubrelEncode, packets.Puback: pk.PubackEncode,
		packets.Subscribe: pk.SubscribeEncode, packets.Unsubscribe: pk.UnsubscribeEncode, packets.Disconnect: pk.DisconnectEncode,
		packets.Pubrec: pk.PubrecEncode, packets.Pubcomp: pk.PubcompEncode,
	}[pk.FixedHeader.Type]
	if err := encode(&buf); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(buf.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

const patience = 10 * time.Second

// receive is the next packet.
func (c *client) receive() packets.Packet {
	c.t.Helper()
	pk, err := c.tryReceive(patience)
	if err != nil {
		c.t.Fatalf("no packet: %v", err)
	}
	return pk
}

func (c *client) tryReceive(within time.Duration) (pk packets.Packet, err error) {
	c.conn.SetReadDeadline(time.Now().Add(within))
	first, err := c.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(c.r)
	if err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = n
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return pk, err
	}
	pk.ProtocolVersion = c.version
	decode := map[byte]func([]byte) error{
		packets.Connack: pk.ConnackDecode, packets.Publish: pk.PublishDecode, packets.Puback: pk.PubackDecode, packets.Pubrec: pk.PubrecDecode,
		packets.Pubcomp: pk.PubcompDecode, packets.Pubrel: pk.PubrelDecode, packets.Suback: pk.SubackDecode, packets.Disconnect: pk.DisconnectDecode,
		packets.Unsuback: pk.UnsubackDecode, packets.Pingresp: pk.PingrespDecode,
	}[pk.FixedHeader.Type]
	return pk, decode(body)
}

// ended waits for the server to close the connection, after what it still says.
func (c *client) ended() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c.r); err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			c.t.Fatal("the connection stays open")
		}
	}
}

func (c *client) publish(topic, value string, qos byte, id uint16) {
	c.t.Helper()
	c.send(publishPacket(topic, value, qos, id))
}

func publishPacket(topic, value string, qos byte, id uint16) packets.Packet {
	return packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: []byte(value), PacketID: id,
	}
}

// wants checks the kind and the packet id of the next packet, and returns it.
func (c *client) wants(kind byte, id uint16) packets.Packet {
	c.t.Helper()
	pk := c.receive()
	if pk.FixedHeader.Type != kind || pk.PacketID != id {
		c.t.Fatalf("%s %d, want %s %d", packets.PacketNames[pk.FixedHeader.Type], pk.PacketID, packets.PacketNames[kind], id)
	}
	return pk
}

func (c *client) subscribe(filter string, qos byte) (code byte) {
	c.t.Helper()
	return c.subscribeAs(9, filter, qos)
}

func (c *client) subscribeAs(id uint16, filter string, qos byte) (code byte) {
	c.t.Helper()
	c.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: id,
		Filters: packets.Subscriptions{{Filter: filter, Qos: qos}},
	})
	return c.wants(packets.Suback, id).ReasonCodes[0]
}

// hears checks the next message.
func (c *client) hears(topic, value string, qos byte) packets.Packet {
	c.t.Helper()
	pk := c.receive()
	if pk.FixedHeader.Type != packets.Publish || pk.TopicName != topic || string(pk.Payload) != value || pk.FixedHeader.Qos != qos {
		c.t.Fatalf("%s on %q: %q at QoS %d, want %q on %q at %d", packets.PacketNames[pk.FixedHeader.Type], pk.TopicName, pk.Payload, pk.FixedHeader.Qos, value, topic, qos)
	}
	return pk
}

// nothingCame makes sure that nothing is on its way, by an exchange behind it.
func (c *client) nothingCame() {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 99, Filters: packets.Subscriptions{{Filter: "nobody/asked"}}})
	c.wants(packets.Unsuback, 99)
}
