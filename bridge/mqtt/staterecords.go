package mqtt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The kinds of records; a key is kind/client or kind/client/what. A client's id may
// hold a slash, so that its length goes before it.
const (
	kindSession      = "s" // s/<client>
	kindSubscription = "u" // u/<client>/<filter>
	kindMessage      = "m" // m/<client>/<packet id>: out to the client
	kindReceived     = "q" // q/<client>/<packet id>: in from the client at QoS 2
	kindRetained     = "r" // r/<topic>
)

// stateKey is the key of what belongs to a client.
func stateKey(kind, client, what string) string {
	return kind + "/" + strconv.Itoa(len(client)) + "/" + client + "/" + what
}

func retainedKey(topic string) string { return kindRetained + "/" + topic }

func packetKey(kind, client string, id uint16) string {
	return stateKey(kind, client, strconv.Itoa(int(id)))
}

// named is a key that has been taken apart.
type named struct {
	kind   string
	client string // none for a retained message
	what   string // a filter or a topic
	id     uint16 // of a packet
}

func (n named) key() string {
	switch n.kind {
	case kindRetained:
		return retainedKey(n.what)
	case kindMessage, kindReceived:
		return packetKey(n.kind, n.client, n.id)
	}
	return stateKey(n.kind, n.client, n.what)
}

var errStateRecord = errors.New("not a record of MQTT state")

func parseStateKey(key string) (n named, err error) {
	kind, rest, ok := strings.Cut(key, "/")
	if !ok {
		return named{}, fmt.Errorf("%w: key %.60q", errStateRecord, key)
	}
	n.kind = kind
	if kind == kindRetained {
		n.what = rest
		return n, nil
	}
	length, rest, ok := strings.Cut(rest, "/")
	size, err := strconv.Atoi(length)
	if !ok || err != nil || size < 0 || size >= len(rest) || rest[size] != '/' {
		return named{}, fmt.Errorf("%w: key %.60q", errStateRecord, key)
	}
	n.client = rest[:size]
	what := rest[size+1:]
	switch kind {
	case kindSession, kindSubscription:
		n.what = what
	case kindMessage, kindReceived:
		id, err := strconv.ParseUint(what, 10, 16)
		if err != nil || id == 0 {
			return named{}, fmt.Errorf("%w: key %.60q", errStateRecord, key)
		}
		n.id = uint16(id)
	default:
		return named{}, fmt.Errorf("%w: key %.60q", errStateRecord, key)
	}
	return n, nil
}

// sessionRecord is the value of a session.
type sessionRecord struct {
	Version byte   `json:"version"`        // of the protocol
	Expiry  uint32 `json:"expiry"`         // seconds after the connection's end
	Left    int64  `json:"left,omitempty"` // when that was, in Unix seconds; 0 while it is connected
}

// subscriptionRecord is the value of a subscription.
type subscriptionRecord struct {
	QoS               byte `json:"qos"`
	Identifier        int  `json:"identifier,omitempty"`
	NoLocal           bool `json:"noLocal,omitempty"`
	RetainAsPublished bool `json:"retainAsPublished,omitempty"`
	RetainHandling    byte `json:"retainHandling,omitempty"`
}

// messageRecord is the value of a message, beside its payload.
type messageRecord struct {
	Released      bool        `json:"released,omitempty"` // QoS 2: the client has it, PUBREL is under way
	Topic         string      `json:"topic,omitempty"`
	QoS           byte        `json:"qos,omitempty"`
	Retain        bool        `json:"retain,omitempty"`
	Version       byte        `json:"version,omitempty"` // of the publisher's protocol
	Created       int64       `json:"created,omitempty"` // Unix seconds
	Expiry        int64       `json:"expiry,omitempty"`  // Unix seconds
	Origin        string      `json:"origin,omitempty"`
	Format        *byte       `json:"format,omitempty"`
	Interval      uint32      `json:"interval,omitempty"` // seconds from Created to Expiry
	ContentType   string      `json:"contentType,omitempty"`
	ResponseTopic string      `json:"responseTopic,omitempty"`
	Correlation   []byte      `json:"correlation,omitempty"`
	Subscriptions []int       `json:"subscriptions,omitempty"`
	User          [][2]string `json:"user,omitempty"`
}

func messageRecordOf(pk *packets.Packet) *messageRecord {
	p := &pk.Properties
	m := &messageRecord{
		Topic: pk.TopicName, QoS: pk.FixedHeader.Qos, Retain: pk.FixedHeader.Retain, Version: pk.ProtocolVersion,
		Created: pk.Created, Expiry: max(pk.Expiry, 0), Origin: pk.Origin,
		Interval: p.MessageExpiryInterval, ContentType: p.ContentType, ResponseTopic: p.ResponseTopic,
		Correlation: p.CorrelationData, Subscriptions: p.SubscriptionIdentifier,
	}
	if p.PayloadFormatFlag {
		m.Format = &p.PayloadFormat
	}
	for _, u := range p.User {
		m.User = append(m.User, [2]string{u.Key, u.Val})
	}
	return m
}

// packet is m as mochi has it.
func (m *messageRecord) packet(id uint16, payload []byte) packets.Packet {
	if m.Released {
		return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: id, Created: m.Created}
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: m.QoS, Retain: m.Retain}, PacketID: id,
		TopicName: m.Topic, Payload: payload, ProtocolVersion: m.Version, Created: m.Created, Expiry: m.Expiry, Origin: m.Origin,
		Properties: packets.Properties{
			MessageExpiryInterval: m.Interval, ContentType: m.ContentType, ResponseTopic: m.ResponseTopic,
			CorrelationData: m.Correlation, SubscriptionIdentifier: m.Subscriptions,
		},
	}
	if m.Format != nil {
		pk.Properties.PayloadFormat, pk.Properties.PayloadFormatFlag = *m.Format, true
	}
	for _, u := range m.User {
		pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: u[0], Val: u[1]})
	}
	return pk
}

// valueVersion begins every value. After it come the length of what is said in JSON,
// as a varint, that, and a message's payload.
const valueVersion = 1

// stateValue writes a value: what is one of the records above.
func stateValue(what any, payload []byte) []byte {
	text, err := json.Marshal(what)
	if err != nil {
		panic("mqtt: a record of state has no JSON: " + err.Error()) // they are plain fields
	}
	value := make([]byte, 0, 1+binary.MaxVarintLen32+len(text)+len(payload))
	value = append(value, valueVersion)
	value = binary.AppendUvarint(value, uint64(len(text)))
	return append(append(value, text...), payload...)
}

// parseStateValue reads a value into what. The payload is a part of value.
func parseStateValue(value []byte, what any) (payload []byte, err error) {
	if len(value) == 0 || value[0] != valueVersion {
		return nil, fmt.Errorf("%w: a value of another version", errStateRecord)
	}
	size, n := binary.Uvarint(value[1:])
	if n <= 0 || size > uint64(len(value)-1-n) {
		return nil, fmt.Errorf("%w: a value that is cut off", errStateRecord)
	}
	rest := value[1+n:]
	if err := json.Unmarshal(rest[:size], what); err != nil {
		return nil, fmt.Errorf("%w: %w", errStateRecord, err)
	}
	return rest[size:], nil
}
