package mqtt

import (
	"crypto/tls"
	"errors"
	"math"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/ingest"
)

// hook is where mochi asks what we think. What comes in at QoS 1 and 2 never gets past
// OnPacketRead, so mochi's OnPublish, whose errors it mostly ignores, has no say.
type hook struct {
	mochi.HookBase
	server *Server
}

// ID names the hook to mochi.
func (h *hook) ID() string { return "headwater" }

// Provides tells which of the methods below count.
func (h *hook) Provides(what byte) bool {
	return slices.Contains([]byte{
		mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnSessionEstablish, mochi.OnSessionEstablished,
		mochi.OnDisconnect, mochi.OnClientExpired, mochi.OnPacketRead, mochi.OnPacketEncode, mochi.OnQosPublish, mochi.OnPublishDropped,
		mochi.OnQosDropped, mochi.OnSubscribe, mochi.OnSubscribed, mochi.OnWill, mochi.OnWillSent, mochi.OnRetainMessage, mochi.OnRetainedExpired,
	}, what)
}

var errTooManySessions = errors.New("too many sessions are kept already")

// OnConnect turns clients away that would make one session too many.
func (h *hook) OnConnect(cl *mochi.Client, _ packets.Packet) error {
	s := h.server
	if _, known := s.mochi.Clients.Get(cl.ID); known || s.mochi.Clients.Len() < s.cfg.MaxConnections*sessionsPerConnection {
		return nil
	}
	s.metrics.sessionsRefused.Inc()
	why := packets.ErrQuotaExceeded
	if cl.Properties.ProtocolVersion < 5 {
		why = packets.ErrServerUnavailable
	}
	return errors.Join(errTooManySessions, s.mochi.SendConnack(cl, why, false, nil))
}

// OnConnectAuthenticate reports whether a client may connect.
func (h *hook) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	s := h.server
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return false // no connection of ours
	}
	if s.cfg.Access == nil {
		s.join(cl, c, nil, pk.Properties.ReceiveMaximum)
		return true
	}
	identity, err := s.login(c.state(), pk)
	if err != nil {
		s.metrics.logins.Inc()
		s.log.Debug("MQTT client turned away", "client", cl.ID, "remote", cl.Net.Remote, "err", err)
		return false
	}
	s.join(cl, c, identity, pk.Properties.ReceiveMaximum)
	return true
}

func (s *Server) login(state *tls.ConnectionState, pk packets.Packet) (Identity, error) {
	return s.cfg.Access.Login(string(pk.Connect.Username), pk.Connect.Password, state)
}

// join makes a client known.
func (s *Server) join(cl *mochi.Client, c *conn, identity Identity, receiveMaximum uint16) {
	b := &inbound{server: s, client: cl, conn: c, identity: identity, router: s.newRouter(cl.ID)}
	b.room.L = &b.mu
	b.out.init(receiveMaximum)
	s.mu.Lock()
	s.clients[b] = true
	s.mu.Unlock()
	c.owner.Store(b)
	if c.isClosed() {
		b.leave() // whoever closed it did not know b
	}
}

// newRouter makes a client that publishes for another, or for NATS's side. It is one of
// MQTT 5, for mochi lets no other's messages expire.
func (s *Server) newRouter(id string) *mochi.Client {
	router := s.mochi.NewClient(nil, listenerID, id, true)
	router.Properties.ProtocolVersion = 5
	return router
}

// inboundOf is our side of a client, also after its connection has ended. It is nil for
// those that never had one here.
func inboundOf(cl *mochi.Client) *inbound {
	if c, ok := cl.Net.Conn.(*conn); ok {
		return c.owner.Load()
	}
	return nil
}

// OnSessionEstablish gives a connection the session that it goes on with, or a new one.
// The client's receive maximum is outbound's.
func (h *hook) OnSessionEstablish(cl *mochi.Client, pk packets.Packet) {
	s := h.server
	cl.Properties.Props.ReceiveMaximum = 0
	cl.State.Inflight.ResetSendQuota(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.sessions[cl.ID]
	if old == nil || pk.Connect.Clean {
		old = newSession()
	}
	inboundOf(cl).session = old
	s.sessions[cl.ID] = old
}

// OnSessionEstablished sends what the session's last connection left, once mochi is
// done with what it would have sent. Our own receive maximum is admit's: mochi would count
// what the client is sent at QoS 2.
func (h *hook) OnSessionEstablished(cl *mochi.Client, _ packets.Packet) {
	cl.State.Inflight.ResetReceiveQuota(math.MaxInt32)
	b := inboundOf(cl)
	b.conn.mute(false)
	for _, sub := range cl.State.Subscriptions.GetAll() {
		b.server.listenFor(sub.Filter) // it may have been tidied away while the session changed hands
	}
	if again := b.out.begin(b.session.ageOf); len(again) > 0 {
		b.server.spawn(func() { b.out.resend(cl, again) })
	}
}

// OnDisconnect forgets the session of a connection, if that ends with it.
func (h *hook) OnDisconnect(cl *mochi.Client, _ error, expire bool) {
	b := inboundOf(cl)
	if b == nil {
		return
	}
	b.leave()
	if expire {
		h.server.forget(cl.ID, b.session)
	}
}

// OnClientExpired forgets a session that has outlived its time. mochi would leave its
// subscriptions behind.
func (h *hook) OnClientExpired(cl *mochi.Client) {
	h.server.mochi.UnsubscribeClient(cl)
	if b := inboundOf(cl); b != nil {
		h.server.forget(cl.ID, b.session)
	}
}

func (s *Server) forget(id string, ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[id] == ss {
		delete(s.sessions, id)
	}
}

// OnPacketEncode has packets wait for their turn, and for the client to read. Nothing is
// locked here. mochi sends again, all at once, before it reads: that is kept for later.
func (h *hook) OnPacketEncode(cl *mochi.Client, pk packets.Packet) packets.Packet {
	b := inboundOf(cl)
	switch {
	case b == nil || pk.FixedHeader.Type == packets.Disconnect:
	case b.out.keep(pk):
		b.conn.mute(true)
	default:
		b.out.await(pk)
		b.conn.hasRoom()
		pk = b.told(pk)
	}
	return pk
}

// OnQosPublish notes the age of what goes out at QoS 1 and 2, for mochi knows it by the
// second.
func (h *hook) OnQosPublish(cl *mochi.Client, pk packets.Packet, _ int64, _ int) {
	if pk.FixedHeader.Type != packets.Publish || pk.FixedHeader.Dup {
		return
	}
	h.server.sessionOf(cl).grow(pk.PacketID, cl.State.Inflight)
	if b := inboundOf(cl); b != nil {
		b.out.came(pk.PacketID)
	}
}

func (s *Server) sessionOf(cl *mochi.Client) *session {
	if b := inboundOf(cl); b != nil && b.session != nil {
		return b.session
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[cl.ID]
	if ss == nil { // mochi has it from a store
		ss = newSession()
		s.sessions[cl.ID] = ss
	}
	return ss
}

// OnACLCheck decides on subscriptions, and on what is delivered to them; publishes are
// OnPacketRead's.
func (h *hook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	b := inboundOf(cl)
	if write || b == nil || b.identity == nil {
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

// OnSubscribe makes filters invalid that are beyond what is worked with, and those that
// are too many.
func (h *hook) OnSubscribe(cl *mochi.Client, pk packets.Packet) packets.Packet {
	room := maxSubscriptions - cl.State.Subscriptions.Len()
	for i, sub := range pk.Filters {
		_, known := cl.State.Subscriptions.Get(sub.Filter)
		if !known {
			room--
		}
		if tooDeep(sub.Filter) || !known && room < 0 {
			pk.Filters[i].Filter = "" // which mochi answers as invalid
		}
	}
	return pk
}

// OnSubscribed has NATS's side listened to for what clients now want.
func (h *hook) OnSubscribed(_ *mochi.Client, pk packets.Packet, reasons []byte) {
	for i, sub := range pk.Filters {
		if i < len(reasons) && reasons[i] < packets.ErrUnspecifiedError.Code {
			h.server.listenFor(sub.Filter)
		}
	}
}

// emptyWill stands for a will's payload that is empty, which mochi does not let connect.
var emptyWill = []byte{0}

// OnWill lets a will be that its client may publish. Another goes to no topic, where
// nobody hears it.
func (h *hook) OnWill(cl *mochi.Client, will mochi.Will) (mochi.Will, error) {
	s, b := h.server, inboundOf(cl)
	subject, mapped := subjectOf(nil, will.TopicName)
	if b == nil || !b.mayPublish(subject, mapped) || !validTopic(will.TopicName) {
		s.metrics.forbidden.Inc()
		return mochi.Will{}, nil
	}
	if len(will.Payload) == 1 && &will.Payload[0] == &emptyWill[0] {
		will.Payload = nil
	}
	if will.Retain && !s.retained.fits(packets.Packet{TopicName: will.TopicName, Payload: will.Payload}) {
		s.metrics.retainedRefused.Inc()
		will.Retain = false
	}
	return will, nil
}

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

// OnRetainMessage keeps count of what is retained.
func (h *hook) OnRetainMessage(_ *mochi.Client, pk packets.Packet, _ int64) {
	h.server.retained.set(pk)
}

// OnRetainedExpired does, too.
func (h *hook) OnRetainedExpired(topic string) { h.server.retained.expired(topic) }

// OnPublishDropped counts what a client did not take quickly enough.
func (h *hook) OnPublishDropped(*mochi.Client, packets.Packet) { h.server.metrics.dropped.Inc() }

// OnQosDropped counts what expired or was refused by the client it was for.
func (h *hook) OnQosDropped(*mochi.Client, packets.Packet) { h.server.metrics.dropped.Inc() }

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
		p.answer(s, err)
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
