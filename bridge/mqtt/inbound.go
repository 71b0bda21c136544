package mqtt

import (
	"errors"
	"sync"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/subject"
)

// inbound is what comes in from one connection.
type inbound struct {
	server   *Server
	client   *mochi.Client
	conn     *conn
	router   *mochi.Client // carries what the client published to subscribers, under its id
	identity Identity      // nil: everything is allowed
	session  *session      // nil before it is established
	asked    uint16        // packet id of what mochi is to answer; the reader's own
	out      outbound

	mu        sync.Mutex // guards below; never held across a call of mochi
	room      sync.Cond  // told when queue got shorter, or gone was set
	queue     []*publish // at QoS 1 and 2 without an answer, in order
	answering bool       // a goroutine works the queue off
	gone      bool       // the connection has ended: nobody is answered
}

// publish is one at QoS 1 or 2.
type publish struct {
	qos     byte
	id      uint16
	session *session
	size    int // that the server's waitingBytes has; 0 once given back
	routing sync.Once

	before, after mark // what routing left with sessions stands between them

	mu       sync.Mutex // guards below
	packet   packets.Packet
	owners   []*inbound // that have it in their queue; the last one is answered
	answered bool
	err      error
}

// Why a publish is refused here, before ingest sees it.
var (
	errGone      = errors.New("the connection has ended")
	errForbidden = errors.New("this user may not publish on the topic")
	errTopic     = errors.New("clients may not publish on the topic")
	errFull      = errors.New("too much waits to be stored")
	errRetained  = errors.New("too many messages are retained already")
	errStopping  = errors.New("the server is stopping")
)

// admit waits until one more publish may be without an answer. A client of MQTT 5 was
// told how many may be, and has to keep to it.
func (b *inbound) admit() error {
	b.session.mu.Lock()
	unreleased := len(b.session.received)
	b.session.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.gone && len(b.queue)+unreleased >= b.server.cfg.ReceiveMaximum {
		if b.client.Properties.ProtocolVersion == 5 || len(b.queue) == 0 {
			return packets.ErrReceiveMaximum
		}
		b.room.Wait()
	}
	if b.gone {
		return errGone
	}
	return nil
}

// repeats reports whether a QoS 2 publish is one that is here already. It is answered
// then: at once or with the first one.
func (b *inbound) repeats(id uint16) bool {
	b.session.mu.Lock()
	received, waiting := b.session.received[id], b.session.waiting[id]
	b.session.mu.Unlock()
	if received {
		b.write(packets.Pubrec, id, packets.CodeSuccess, "")
		return true
	}
	if waiting == nil {
		return false
	}
	if waiting.moveTo(b) {
		b.enqueue(waiting)
	}
	return true
}

// moveTo has b's client answered, and reports whether it was not to be before.
func (p *publish) moveTo(b *inbound) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owners[len(p.owners)-1] == b {
		return false
	}
	p.owners = append(p.owners, b)
	return true
}

func (b *inbound) enqueue(p *publish) {
	b.mu.Lock()
	b.queue = append(b.queue, p)
	b.mu.Unlock()
	b.kick() // it may have been answered meanwhile
}

func (b *inbound) newPublish(pk packets.Packet) *publish {
	return &publish{packet: pk, qos: pk.FixedHeader.Qos, id: pk.PacketID, session: b.session, owners: []*inbound{b}}
}

// refuseInTurn refuses a publish, though not before those that came sooner are answered.
func (b *inbound) refuseInTurn(pk packets.Packet, why error) {
	p := b.newPublish(packets.Packet{})
	p.qos, p.id, p.answered, p.err = pk.FixedHeader.Qos, pk.PacketID, true, why
	b.enqueue(p)
}

// local takes a publish on a topic that no subject is: it is for MQTT's subscribers
// alone, and has its answer already, though not before those that came sooner.
func (b *inbound) local(pk packets.Packet) {
	p := b.newPublish(pk)
	if !b.server.hold(p) {
		b.refuseInTurn(pk, errFull)
		return
	}
	p.answered, p.err = true, subject.ErrNoRule
	b.enqueue(p)
}

// take hands a publish at QoS 1 or 2 to ingest.
func (b *inbound) take(pk packets.Packet, m *ingest.Message) {
	p := b.newPublish(pk)
	if !b.server.hold(p) {
		b.refuseInTurn(pk, errFull)
		return
	}
	if p.qos == 2 {
		b.session.mu.Lock()
		b.session.waiting[p.id] = p
		b.session.mu.Unlock()
	}
	b.mu.Lock()
	b.queue = append(b.queue, p)
	b.mu.Unlock()
	m.Answerer, m.Token = b.server, b.server.remember(p)
	b.server.ingest.Take(m)
	b.server.ingest.Idle()
}

// answer notes what became of p. Of what was refused nothing but the answer is kept.
func (p *publish) answer(s *Server, err error) {
	p.mu.Lock()
	p.answered, p.err = true, err
	if !stored(err) {
		p.packet = packets.Packet{}
		s.letGo(p)
	}
	owners := p.owners
	p.mu.Unlock()
	for _, owner := range owners {
		owner.kick()
	}
}

// stored reports whether a publish is acknowledged: it is stored, or no rule wants that.
func stored(err error) bool { return err == nil || errors.Is(err, subject.ErrNoRule) }

// kick has the queue worked off, as far as it is answered, if nobody does.
func (b *inbound) kick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answering || len(b.queue) == 0 || !b.queue[0].done() {
		return
	}
	b.answering = b.server.spawn(b.workOff)
}

func (p *publish) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answered
}

// workOff answers the head of the queue until that has no answer yet.
func (b *inbound) workOff() {
	for {
		b.mu.Lock()
		if len(b.queue) == 0 || !b.queue[0].done() {
			b.answering = false
			b.mu.Unlock()
			return
		}
		p := b.queue[0]
		b.mu.Unlock()
		b.conclude(p)
		b.mu.Lock()
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.room.Broadcast()
		b.mu.Unlock()
	}
}

// conclude brings a publish that was stored, or that no rule takes, to who listens,
// and then acknowledges it; another is refused.
func (b *inbound) conclude(p *publish) {
	p.mu.Lock()
	err, mine := p.err, p.owners[len(p.owners)-1] == b
	p.mu.Unlock()
	err = b.settle(p, err)
	kind := packets.Puback
	if p.qos == 2 {
		kind = packets.Pubrec
		p.session.conclude(p, stored(err))
	}
	if !mine {
		return
	}
	if stored(err) {
		b.write(kind, p.id, packets.CodeSuccess, "")
		return
	}
	b.refuse(kind, p.id, err)
}

// refuse says that a publish was not stored. MQTT 3.1.1 has no words for that: there the
// connection ends without an acknowledgement, so that the device sends again later.
func (b *inbound) refuse(kind byte, id uint16, err error) {
	switch {
	case b.client.Properties.ProtocolVersion < 5:
		b.server.refused(b.client, err)
		b.conn.Close()
	case errors.Is(err, errStopping):
		b.disconnect(packets.ErrServerShuttingDown)
	default:
		b.write(kind, id, reasonOf(err), err.Error())
	}
}

// disconnect ends the connection, and tells a client of MQTT 5 why. mochi sends the will
// only if its reader fails, which it does not where the client was stopped meanwhile:
// so the connection is closed, and its reader ends the client.
func (b *inbound) disconnect(why packets.Code) {
	if b.client.Properties.ProtocolVersion < 5 {
		b.conn.Close()
		return
	}
	_ = b.server.mochi.DisconnectClient(b.client, why) // its error is why
}

// reasonOf is MQTT 5's reason code for a refusal.
func reasonOf(err error) packets.Code {
	var refusal *ingest.Refusal
	switch {
	case errors.Is(err, errForbidden):
		return packets.ErrNotAuthorized
	case errors.Is(err, errTopic):
		return packets.ErrTopicNameInvalid
	case errors.Is(err, errFull), errors.Is(err, errRetained):
		return packets.ErrQuotaExceeded
	case errors.As(err, &refusal) && refusal.Temporary:
		return packets.ErrQuotaExceeded
	case errors.As(err, &refusal):
		return packets.ErrImplementationSpecificError
	}
	return packets.ErrUnspecifiedError
}

// write sends an acknowledgement. Where that fails the connection is at its end, and
// its reader learns of it.
func (b *inbound) write(kind byte, id uint16, code packets.Code, reason string) {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id, ReasonCode: code.Code}
	if code.Code >= packets.ErrUnspecifiedError.Code {
		pk.Properties.ReasonString = reason
	}
	if err := b.client.WritePacket(pk); err != nil {
		b.conn.Close()
	}
}

// release ends a QoS 2 publish of the client's: it may use the packet id again.
func (b *inbound) release(id uint16) {
	b.session.mu.Lock()
	known := b.session.received[id]
	delete(b.session.received, id)
	b.session.mu.Unlock()
	if err := b.server.state.release(b.client.ID, id); err != nil {
		b.client.Stop(err)
		return
	}
	code := packets.CodeSuccess
	if !known {
		code = packets.ErrPacketIdentifierNotFound
	}
	b.write(packets.Pubcomp, id, code, "")
}

// leave ends the connection's part. What it published is stored and heard all the same.
func (b *inbound) leave() {
	b.server.mu.Lock()
	delete(b.server.clients, b)
	b.server.mu.Unlock()
	b.mu.Lock()
	b.gone = true
	b.room.Broadcast()
	b.mu.Unlock()
	b.out.leave()
}
