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
	router   *mochi.Client // carries what the client published to subscribers, under its id
	identity Identity      // nil: everything is allowed
	session  *session
	came     arrival // of the packet that mochi handles; the connection's reader's own

	mu        sync.Mutex // guards below; never held across a call of mochi
	room      sync.Cond  // told when queue got shorter, or gone was set
	queue     []*publish // at QoS 1 and 2 without an answer, in order
	answering bool       // a goroutine works the queue off
	gone      bool       // the connection has ended: nobody is answered
}

// arrival is what a publish was before mochi got to see it.
type arrival struct {
	qos byte
	id  uint16
}

// session is what outlives a connection: QoS 2 is exactly once across them.
type session struct {
	mu       sync.Mutex
	waiting  map[uint16]*publish // by packet id: taken, without a PUBREC
	received map[uint16]bool     // with a PUBREC, without a PUBREL
}

func newSession() *session {
	return &session{waiting: map[uint16]*publish{}, received: map[uint16]bool{}}
}

// publish is one at QoS 1 or 2.
type publish struct {
	packet  packets.Packet
	came    arrival
	session *session
	routing sync.Once

	mu       sync.Mutex
	owner    *inbound // who is answered
	answered bool
	err      error
}

var errGone = errors.New("the connection has ended")

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
	waiting.mu.Lock()
	mine := waiting.owner == b
	waiting.owner = b
	waiting.mu.Unlock()
	if !mine {
		b.enqueue(waiting)
	}
	return true
}

func (b *inbound) enqueue(p *publish) {
	b.mu.Lock()
	b.queue = append(b.queue, p)
	b.mu.Unlock()
	b.kick() // it may have been answered meanwhile
}

// take hands a publish at QoS 1 or 2 to ingest.
func (b *inbound) take(pk packets.Packet, came arrival, m *ingest.Message) {
	p := &publish{packet: pk, came: came, session: b.session, owner: b}
	if came.qos == 2 {
		b.session.mu.Lock()
		b.session.waiting[came.id] = p
		b.session.mu.Unlock()
	}
	b.mu.Lock()
	b.queue = append(b.queue, p)
	b.mu.Unlock()
	m.Answerer, m.Token = b.server, b.server.remember(p)
	b.server.ingest.Take(m)
	b.server.ingest.Idle()
}

// answer notes what became of p.
func (p *publish) answer(err error) {
	p.mu.Lock()
	p.answered, p.err = true, err
	owner := p.owner
	p.mu.Unlock()
	owner.kick()
}

// kick has the queue worked off, as far as it is answered, if nobody does.
func (b *inbound) kick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answering || len(b.queue) == 0 || !b.queue[0].done() {
		return
	}
	b.answering = true
	b.server.answers.Go(b.workOff)
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
	err, owner := p.err, p.owner
	p.mu.Unlock()
	stored := err == nil || errors.Is(err, subject.ErrNoRule)
	if stored {
		p.routing.Do(func() { b.server.route(b.router, p) })
	}
	kind := packets.Puback
	if p.came.qos == 2 {
		kind = packets.Pubrec
		p.session.mu.Lock()
		delete(p.session.waiting, p.came.id)
		if stored {
			p.session.received[p.came.id] = true
		}
		p.session.mu.Unlock()
	}
	if owner != b {
		return
	}
	if stored {
		b.write(kind, p.came.id, packets.CodeSuccess, "")
		return
	}
	b.refuse(kind, p.came.id, err)
}

// refuse says that a publish was not stored. MQTT 3.1.1 has no words for that: there the
// connection ends without an acknowledgement, so that the device sends again later.
func (b *inbound) refuse(kind byte, id uint16, err error) {
	if b.client.Properties.ProtocolVersion == 5 {
		b.write(kind, id, reasonOf(err), err.Error())
		return
	}
	b.server.refused(b.client, err)
	b.client.Stop(errors.Join(packets.ErrImplementationSpecificError, err))
}

// reasonOf is MQTT 5's reason code for a refusal.
func reasonOf(err error) packets.Code {
	var refusal *ingest.Refusal
	switch {
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
	if kind == packets.Pubrel {
		pk.FixedHeader.Qos = 1
	}
	if code.Code >= packets.ErrUnspecifiedError.Code {
		pk.Properties.ReasonString = reason
	}
	if err := b.client.WritePacket(pk); err != nil {
		b.client.Stop(err)
	}
}

// release ends a QoS 2 publish of the client's: it may use the packet id again.
func (b *inbound) release(id uint16) {
	b.session.mu.Lock()
	known := b.session.received[id]
	delete(b.session.received, id)
	b.session.mu.Unlock()
	code := packets.CodeSuccess
	if !known {
		code = packets.ErrPacketIdentifierNotFound
	}
	b.write(packets.Pubcomp, id, code, "")
}

// leave ends the connection's part. What it published is stored and heard all the same.
func (b *inbound) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	b.room.Broadcast()
}
