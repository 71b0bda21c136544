package mqtt

import (
	"crypto/tls"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/subject"
)

// hook is where mochi asks what we think.
type hook struct {
	mochi.HookBase
	server *Server
}

// ID names the hook to mochi.
func (h *hook) ID() string { return "headwater" }

// Provides tells which of the methods below count.
func (h *hook) Provides(what byte) bool {
	return slices.Contains([]byte{
		mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnSessionEstablish, mochi.OnDisconnect, mochi.OnClientExpired,
		mochi.OnPacketRead, mochi.OnPublish, mochi.OnPublishDropped, mochi.OnQosDropped, mochi.OnSubscribed, mochi.OnWill, mochi.OnWillSent,
	}, what)
}

// OnConnectAuthenticate reports whether a client may connect.
func (h *hook) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	s := h.server
	if s.cfg.Access == nil {
		s.join(cl, nil)
		return true
	}
	var state *tls.ConnectionState
	if conn, ok := cl.Net.Conn.(*tls.Conn); ok {
		cs := conn.ConnectionState()
		state = &cs
	}
	identity, err := s.cfg.Access.Login(string(pk.Connect.Username), pk.Connect.Password, state)
	if err != nil {
		s.metrics.logins.Inc()
		s.log.Debug("MQTT client turned away", "client", cl.ID, "remote", cl.Net.Remote, "err", err)
		return false
	}
	s.join(cl, identity)
	return true
}

// OnSessionEstablish gives a connection the session that it goes on with, or a new one.
func (h *hook) OnSessionEstablish(cl *mochi.Client, pk packets.Packet) {
	s := h.server
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.clients[cl]
	old := s.sessions[cl.ID]
	if old == nil || pk.Connect.Clean {
		old = newSession()
	}
	b.session = old
	s.sessions[cl.ID] = old
}

// OnDisconnect forgets a connection, and its session if that ends with it.
func (h *hook) OnDisconnect(cl *mochi.Client, _ error, expire bool) {
	s := h.server
	s.mu.Lock()
	b := s.clients[cl]
	delete(s.clients, cl)
	if expire && b != nil && s.sessions[cl.ID] == b.session {
		delete(s.sessions, cl.ID)
	}
	s.mu.Unlock()
	if b != nil {
		b.leave()
	}
}

// OnClientExpired forgets a session that has outlived its time.
func (h *hook) OnClientExpired(cl *mochi.Client) {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	delete(h.server.sessions, cl.ID)
}

// nothing is a packet that mochi does nothing about: the answer to a publish that it
// never sent.
var nothing = packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}}

// OnPacketRead takes from mochi what comes in at QoS 1 and 2: to it, all publishes of
// devices are at QoS 0.
func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type != packets.Publish && pk.FixedHeader.Type != packets.Pubrel {
		return pk, nil
	}
	b := h.server.inbound(cl)
	if b == nil || b.session == nil {
		return pk, nil // not connected, which mochi says itself
	}
	if pk.FixedHeader.Type == packets.Pubrel {
		b.release(pk.PacketID)
		return nothing, nil
	}
	b.came = arrival{}
	if pk.FixedHeader.Qos == 0 {
		return pk, nil
	}
	if pk.PacketID == 0 {
		return pk, packets.ErrProtocolViolationNoPacketID
	}
	if pk.FixedHeader.Qos == 2 && b.repeats(pk.PacketID) {
		return nothing, nil
	}
	if err := b.admit(); err != nil {
		return pk, err
	}
	b.came = arrival{pk.FixedHeader.Qos, pk.PacketID}
	pk.FixedHeader.Qos, pk.FixedHeader.Dup, pk.PacketID = 0, false, 0
	return pk, nil
}

// OnPublish decides what becomes of a publish. At QoS 1 and 2 mochi is done with it.
func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	s := h.server
	b := s.inbound(cl)
	came := b.came
	b.came = arrival{}
	s.metrics.publishes[came.qos].Inc()
	var m ingest.Message
	m.Rule = ingest.AnyRule
	var mapped bool
	m.Subject, mapped = subjectOf(nil, pk.TopicName)
	if !b.mayPublish(m.Subject, mapped) {
		return pk, b.forbid(came)
	}
	m.Headers, m.Payload = headersOf(&pk.Properties), pk.Payload
	pk.FixedHeader.Qos = came.qos
	switch {
	case came.qos > 0 && s.stopping.Load():
		return pk, packets.ErrServerShuttingDown
	case came.qos > 0 && mapped:
		b.take(pk, came, &m)
	case came.qos > 0:
		b.local(pk, came)
	default:
		if mapped {
			s.ingest.Take(&m)
			s.ingest.Idle()
			s.tellNATS(m.Subject, m.Headers, m.Payload)
		}
		return pk, nil
	}
	return pk, packets.ErrRejectPacket
}

// local takes a publish on a topic that no subject is: it is for MQTT's subscribers
// alone, and has its answer already, though not before those that came sooner.
func (b *inbound) local(pk packets.Packet, came arrival) {
	p := &publish{packet: pk, came: came, session: b.session, owner: b, answered: true, err: subject.ErrNoRule}
	b.enqueue(p)
}

// forbid answers a publish that the client may not make.
func (b *inbound) forbid(came arrival) error {
	b.server.metrics.forbidden.Inc()
	switch {
	case came.qos == 0:
		return packets.ErrRejectPacket
	case b.client.Properties.ProtocolVersion < 5:
		return packets.ErrNotAuthorized // which ends the connection
	}
	kind := packets.Puback
	if came.qos == 2 {
		kind = packets.Pubrec
	}
	b.write(kind, came.id, packets.ErrNotAuthorized, "this user may not publish on the topic")
	return packets.ErrRejectPacket
}

// mayPublish reports whether the client may publish on a topic. Who is bound to
// subjects has none on topics that are no subject.
func (b *inbound) mayPublish(subject []byte, mapped bool) bool {
	return b.identity == nil || mapped && b.identity.MayPublish(subject)
}

// OnACLCheck decides on subscriptions, and on what is delivered to them; publishes are
// OnPublish's.
func (h *hook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	if write || cl.Net.Inline {
		return true
	}
	b := h.server.inbound(cl)
	if b == nil || b.identity == nil {
		return true // a client that is away was asked when it subscribed
	}
	patterns := patternsOf(topic)
	for _, pattern := range patterns {
		if !b.identity.MaySubscribe(pattern) {
			return false
		}
	}
	return len(patterns) > 0
}

// OnSubscribed has NATS's side listened to for what clients now want.
func (h *hook) OnSubscribed(_ *mochi.Client, pk packets.Packet, reasons []byte) {
	for i, sub := range pk.Filters {
		if i < len(reasons) && reasons[i] < packets.ErrUnspecifiedError.Code {
			h.server.listenFor(sub.Filter)
		}
	}
}

// OnWill lets a will be that its client may publish.
func (h *hook) OnWill(cl *mochi.Client, will mochi.Will) (mochi.Will, error) {
	b := h.server.inbound(cl)
	subject, mapped := subjectOf(nil, will.TopicName)
	if b != nil && !b.mayPublish(subject, mapped) {
		h.server.metrics.forbidden.Inc()
		return mochi.Will{TopicName: forbiddenWill, Qos: 0}, nil
	}
	return will, nil
}

// forbiddenWill is where a will goes that may not be published: nobody can subscribe
// to it, for it is no topic.
const forbiddenWill = "\x00"

// OnWillSent stores a will, and tells NATS's side: MQTT's own has heard it.
func (h *hook) OnWillSent(_ *mochi.Client, pk packets.Packet) {
	subject, mapped := subjectOf(nil, pk.TopicName)
	if !mapped {
		return
	}
	headers := headersOf(&pk.Properties)
	h.server.ingest.Take(&ingest.Message{Rule: ingest.AnyRule, Subject: subject, Headers: headers, Payload: pk.Payload})
	h.server.ingest.Idle()
	h.server.tellNATS(subject, headers, pk.Payload)
}

// OnPublishDropped counts what a client did not take quickly enough.
func (h *hook) OnPublishDropped(*mochi.Client, packets.Packet) { h.server.metrics.dropped.Inc() }

// OnQosDropped counts what expired or was refused by the client it was for.
func (h *hook) OnQosDropped(*mochi.Client, packets.Packet) { h.server.metrics.dropped.Inc() }

// join makes a client known.
func (s *Server) join(cl *mochi.Client, identity Identity) {
	b := &inbound{server: s, client: cl, identity: identity, router: s.mochi.NewClient(nil, listenerID, cl.ID, true)}
	b.room.L = &b.mu
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[cl] = b
}

func (s *Server) inbound(cl *mochi.Client) *inbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[cl]
}

// remember gives p a token, by which Answer finds it.
func (s *Server) remember(p *publish) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token++
	s.tokens[s.token] = p
	return s.token
}

// Answer implements ingest.Answerer.
func (s *Server) Answer(token uint64, _ int32, _ int64, err error) {
	s.mu.Lock()
	p := s.tokens[token]
	delete(s.tokens, token)
	s.mu.Unlock()
	if p != nil {
		p.answer(err)
	}
}

// refusedEvery bounds how often it is logged that clients of MQTT 3.1.1 are let go.
const refusedEvery = time.Minute

// refused says, now and then, why connections end that could not be told.
func (s *Server) refused(cl *mochi.Client, err error) {
	s.metrics.refusals.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.toldRefused) >= refusedEvery {
		s.toldRefused = now
		s.log.Warn("MQTT 3.1.1 clients are let go without an acknowledgement, so that they send again: their messages are not stored", "client", cl.ID, "err", err)
	}
}
