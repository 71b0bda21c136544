package mqtt

import (
	"strings"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/ingest"
)

// nothing is a packet that mochi does nothing about: the answer to a publish that it
// never sent.
var nothing = packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}}

// OnPacketRead takes from mochi what comes in at QoS 1 and 2. mochi takes no notice of
// any error but ErrRejectPacket, which ends the connection.
func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Connect {
		if pk.Connect.WillFlag && len(pk.Connect.WillPayload) == 0 {
			pk.Connect.WillPayload = emptyWill
		}
		return pk, nil
	}
	b := inboundOf(cl)
	if b == nil || b.session == nil {
		return pk, packets.ErrRejectPacket
	}
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return b.arrive(pk)
	case packets.Pubrel:
		b.release(pk.PacketID)
		return nothing, nil
	case packets.Subscribe, packets.Unsubscribe:
		return b.ask(pk), nil
	}
	b.out.answered(pk)
	return pk, nil
}

// ask has mochi see a SUBSCRIBE or UNSUBSCRIBE under packet id 0, which no message has: it
// would refuse one whose id a message has that goes to the client. At QoS 0 it does not
// mind. It still refuses those to which the client gave none.
func (b *inbound) ask(pk packets.Packet) packets.Packet {
	if pk.PacketID > 0 {
		b.asked, pk.PacketID, pk.FixedHeader.Qos = pk.PacketID, 0, 0
	}
	return pk
}

// told gives the answer to what was asked the client's packet id. mochi answers before
// it reads on, and from the same goroutine.
func (b *inbound) told(pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Suback || pk.FixedHeader.Type == packets.Unsuback {
		pk.PacketID = b.asked
	}
	return pk
}

// arrive decides what becomes of a publish. At QoS 0 mochi carries it on.
func (b *inbound) arrive(pk packets.Packet) (packets.Packet, error) {
	if pk.PublishValidate(topicAliases) != packets.CodeSuccess {
		return pk, nil // mochi finds the same, and says so
	}
	b.server.metrics.publishes[pk.FixedHeader.Qos].Inc()
	if alias := pk.Properties.TopicAlias; alias > 0 {
		pk.TopicName = b.client.State.TopicAliases.Inbound.Set(alias, pk.TopicName)
		pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 0, false
		if pk.TopicName == "" {
			b.disconnect(packets.ErrTopicAliasInvalid)
			return pk, packets.ErrRejectPacket
		}
	}
	var m ingest.Message
	m.Rule = ingest.AnyRule
	var mapped bool
	m.Subject, mapped = subjectOf(nil, pk.TopicName)
	m.Headers, m.Payload = headersOf(&pk.Properties), pk.Payload
	if pk.FixedHeader.Qos == 0 {
		return b.bestEffort(pk, &m, mapped), nil
	}
	if pk.FixedHeader.Qos == 2 && b.repeats(pk.PacketID) {
		return nothing, nil
	}
	if err := b.admit(); err != nil {
		b.disconnect(packets.ErrReceiveMaximum)
		return pk, packets.ErrRejectPacket
	}
	pk.FixedHeader.Dup = false
	switch why := b.objection(&pk, m.Subject, mapped); {
	case why != nil:
		b.refuseInTurn(pk, why)
	case mapped:
		b.take(pk, &m)
	default:
		b.local(pk)
	}
	return nothing, nil
}

// bestEffort takes a publish at QoS 0, and returns what mochi is to do with it.
func (b *inbound) bestEffort(pk packets.Packet, m *ingest.Message, mapped bool) packets.Packet {
	s := b.server
	switch b.objection(&pk, m.Subject, mapped) {
	case nil:
	case errRetained:
		pk.FixedHeader.Retain = false
	default:
		return nothing
	}
	if mapped {
		s.ingest.Take(m)
		s.ingest.Idle()
		s.tellNATS(m.Subject, m.Headers, m.Payload)
	}
	return pk
}

// objection is why a publish is not taken, nil for none. One that cannot be retained is
// stored and delivered all the same for MQTT 3.1.1, which could only send it again.
func (b *inbound) objection(pk *packets.Packet, subject []byte, mapped bool) error {
	s := b.server
	switch {
	case !validTopic(pk.TopicName):
		return errTopic
	case !b.mayPublish(subject, mapped):
		s.metrics.forbidden.Inc()
		return errForbidden
	case s.stopping.Load():
		return errStopping
	case !pk.FixedHeader.Retain || s.retained.fits(*pk):
		return nil
	}
	s.metrics.retainedRefused.Inc()
	if b.client.Properties.ProtocolVersion < 5 {
		pk.FixedHeader.Retain = false
		return nil
	}
	return errRetained
}

// validTopic reports whether clients may publish on a topic at all.
func validTopic(topic string) bool {
	return topic != "" && mochi.IsValidFilter(topic, true) && !tooDeep(topic) && !strings.ContainsRune(topic, 0)
}

// mayPublish reports whether the client may publish on a topic. Who is bound to
// subjects has none on topics that are no subject.
func (b *inbound) mayPublish(subject []byte, mapped bool) bool {
	return b.identity == nil || mapped && b.identity.MayPublish(subject)
}
