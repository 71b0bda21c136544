package mqtt

import (
	"bytes"
	"context"
	"slices"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/subject"
)

// filter is a NATS pattern that MQTT subscribers want to hear of.
type filter struct {
	pattern subject.Pattern
	sid     int
}

// Bounds of what was heard and is not yet with MQTT's side.
const (
	maxHeard      = 4096
	maxHeardBytes = 8 << 20
)

// heard is a message of no MQTT client, on its way to MQTT's subscribers.
type heard struct {
	topic            string
	headers, payload []byte
}

func (h *heard) size() int64 { return int64(len(h.topic) + len(h.headers) + len(h.payload)) }

// route carries a publish to MQTT's subscribers, by a client of its publisher's name,
// and to NATS's, and lets go of it.
func (s *Server) route(router *mochi.Client, p *publish) {
	p.mu.Lock()
	pk := p.packet
	p.packet = packets.Packet{}
	s.letGo(p)
	p.mu.Unlock()
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
	wanted := subject.Pattern(pattern)
	s.hearing.Lock()
	defer s.hearing.Unlock()
	if slices.ContainsFunc(s.filters, func(f filter) bool { return f.pattern == wanted }) {
		return nil
	}
	if len(s.filters) >= s.cfg.MaxFilters {
		s.tidyFilters()
	}
	if len(s.filters) >= s.cfg.MaxFilters {
		return errTooManyFilters
	}
	sid, err := s.subjects.Subscribe(pattern)
	if err == nil {
		s.filters = append(s.filters, filter{wanted, sid})
	}
	return err
}

// tidyFilters ends the subscriptions that no client wants any more. Filters come and go
// with clients, and stay with sessions: what is wanted is looked up rather than counted.
func (s *Server) tidyFilters() {
	wanted := map[string]bool{}
	for _, cl := range s.mochi.Clients.GetAll() {
		for _, sub := range cl.State.Subscriptions.GetAll() {
			for _, pattern := range patternsOf(sub.Filter) {
				wanted[pattern] = true
			}
		}
	}
	s.filters = slices.DeleteFunc(s.filters, func(f filter) bool {
		if wanted[string(f.pattern)] {
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
// the first that matches counts. The bytes are only valid during the call, which waits
// for nobody.
func (s *Server) Heard(sid int, subject, headers, payload []byte) {
	s.hearing.Lock()
	first := slices.IndexFunc(s.filters, func(f filter) bool { return f.pattern.Matches(subject) })
	mine := first >= 0 && s.filters[first].sid == sid
	s.hearing.Unlock()
	if mine {
		s.Publish(subject, headers, payload)
	}
}

// Publish carries a message of no MQTT client to MQTT's subscribers, at QoS 1. The
// bytes are only valid during the call, which waits for nobody: where messages come
// faster than they can be carried it is let go, counted, and false is returned.
func (s *Server) Publish(subject, headers, payload []byte) bool {
	topic, ok := topicOf(subject)
	if !ok || tooDeep(topic) {
		return true // nobody can subscribe to it
	}
	h := &heard{topic, bytes.Clone(headers), bytes.Clone(payload)}
	if s.heardBytes.Add(h.size()) <= maxHeardBytes {
		select {
		case s.heard <- h:
			return true
		default:
		}
	}
	s.heardBytes.Add(-h.size())
	s.metrics.uncarried.Inc()
	return false
}

// carry carries what was heard, until ctx is done.
func (s *Server) carry(ctx context.Context) {
	for {
		select {
		case h := <-s.heard:
			s.carryOne(h)
			s.heardBytes.Add(-h.size())
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) carryOne(h *heard) {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1},
		PacketID:    1, // mochi wants one
		TopicName:   h.topic,
		Payload:     h.payload,
	}
	pk.Properties.User = propertiesOf(h.headers)
	if err := s.mochi.InjectPacket(s.local, pk); err != nil {
		s.log.Debug("NATS message not routed to MQTT", "topic", h.topic, "err", err)
	}
}
