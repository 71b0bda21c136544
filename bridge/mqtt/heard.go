package mqtt

import (
	"bytes"
	"slices"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// filter is a NATS pattern that MQTT subscribers want to hear of.
type filter struct {
	pattern string
	sid     int
}

// route carries a publish to MQTT's subscribers, by a client of its publisher's name,
// and to NATS's.
func (s *Server) route(router *mochi.Client, p *publish) {
	pk := p.packet
	pk.PacketID = p.came.id // mochi wants one
	if err := s.mochi.InjectPacket(router, pk); err != nil {
		s.log.Debug("MQTT publish not routed", "topic", pk.TopicName, "err", err)
	}
	if subject, ok := subjectOf(nil, pk.TopicName); ok {
		s.tellNATS(subject, headersOf(&pk.Properties), pk.Payload)
	}
}

// tellNATS publishes for NATS's subscribers, best effort as all that is without an
// acknowledgement.
func (s *Server) tellNATS(subject, headers, payload []byte) {
	if err := s.subjects.PublishMsg(subject, nil, headers, payload); err != nil {
		s.metrics.unheard.Inc()
	}
}

// listenFor sees to it that what matches an MQTT filter is heard from NATS.
func (s *Server) listenFor(mqttFilter string) {
	for _, pattern := range patternsOf(mqttFilter) {
		if err := s.listen(pattern); err != nil {
			s.log.Warn("MQTT subscribers do not hear NATS clients on a pattern", "pattern", pattern, "err", err)
		}
	}
}

func (s *Server) listen(pattern string) error {
	s.hearing.Lock()
	defer s.hearing.Unlock()
	if slices.ContainsFunc(s.filters, func(f filter) bool { return f.pattern == pattern }) {
		return nil
	}
	if len(s.filters) >= s.cfg.MaxFilters {
		s.tidy()
	}
	if len(s.filters) >= s.cfg.MaxFilters {
		return errTooManyFilters
	}
	sid, err := s.subjects.Subscribe(pattern)
	if err == nil {
		s.filters = append(s.filters, filter{pattern, sid})
	}
	return err
}

// tidy ends the subscriptions that no client wants any more. Filters come and go with
// clients, and stay with sessions: what is wanted is looked up rather than counted.
func (s *Server) tidy() {
	wanted := map[string]bool{}
	for _, cl := range s.mochi.Clients.GetAll() {
		for _, sub := range cl.State.Subscriptions.GetAll() {
			for _, pattern := range patternsOf(sub.Filter) {
				wanted[pattern] = true
			}
		}
	}
	s.filters = slices.DeleteFunc(s.filters, func(f filter) bool {
		if wanted[f.pattern] {
			return false
		}
		if err := s.subjects.UnsubscribeOne(f.sid); err != nil {
			s.log.Debug("NATS subscription not ended", "pattern", f.pattern, "err", err)
		}
		return true
	})
}

// Heard carries what a NATS client published to MQTT's subscribers, at QoS 1, so that
// sessions keep it for clients that are away. It may be heard by several patterns:
// the first that matches counts. The bytes are only valid during the call.
func (s *Server) Heard(sid int, subject, headers, payload []byte) {
	s.hearing.Lock()
	first := slices.IndexFunc(s.filters, func(f filter) bool { return matches(f.pattern, subject) })
	mine := first >= 0 && s.filters[first].sid == sid
	s.hearing.Unlock()
	if mine {
		s.Publish(subject, headers, payload)
	}
}

// Publish carries a message of no MQTT client to MQTT's subscribers, at QoS 1. The
// bytes are only valid during the call.
func (s *Server) Publish(subject, headers, payload []byte) {
	topic, ok := topicOf(subject)
	if !ok {
		return
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1},
		PacketID:    1, // mochi wants one
		TopicName:   topic,
		Payload:     bytes.Clone(payload),
	}
	pk.Properties.User = propertiesOf(headers)
	if err := s.mochi.InjectPacket(s.local, pk); err != nil {
		s.log.Debug("NATS message not routed to MQTT", "topic", topic, "err", err)
	}
}
