package mqtt

import (
	"errors"
	"math"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// keeper hears from mochi what changes of sessions and retained messages.
type keeper struct {
	mochi.HookBase
	*state
}

// ID names the hook to mochi.
func (h *keeper) ID() string { return "headwater-state" }

// Provides tells which of the methods below count.
func (h *keeper) Provides(what byte) bool {
	return slices.Contains([]byte{
		mochi.OnSessionEstablish, mochi.OnDisconnect, mochi.OnClientExpired, mochi.OnPacketRead, mochi.OnSubscribed, mochi.OnUnsubscribed,
		mochi.OnQosPublish, mochi.OnQosComplete, mochi.OnQosDropped, mochi.OnRetainMessage, mochi.OnRetainedExpired,
	}, what)
}

// outlasts is how many seconds a client's session is to outlast its connection.
func outlasts(cl *mochi.Client, most time.Duration) uint32 {
	limit := uint32(min(most/time.Second, math.MaxUint32))
	switch {
	case cl.Properties.ProtocolVersion == 5:
		return min(cl.Properties.Props.SessionExpiryInterval, limit)
	case cl.Properties.Clean:
		return 0
	}
	return limit
}

// OnSessionEstablish begins to keep a session, goes on with one, or ends one.
func (h *keeper) OnSessionEstablish(cl *mochi.Client, pk packets.Packet) {
	expiry := outlasts(cl, h.server.cfg.SessionExpiry)
	h.mu.Lock()
	k := h.sessions[cl.ID]
	var gone []entry
	if k != nil && (pk.Connect.Clean || expiry == 0) {
		gone = h.forget(cl.ID, k)
		k = nil
	}
	if expiry > 0 {
		if k == nil {
			k = newKept(cl)
			h.sessions[cl.ID] = k
		}
		k.owner, k.expires = cl, time.Time{}
		cl.Properties.Props.TopicAliasMaximum = 0 // a message that is kept has to say its topic
	}
	h.mu.Unlock()
	if expiry > 0 {
		gone = append(gone, entry{stateKey(kindSession, cl.ID, ""), stateValue(sessionRecord{cl.Properties.ProtocolVersion, expiry, 0}, nil)})
	}
	h.journal.add(gone...)
}

// forget lets go of a session and returns what takes it back. The session itself is
// the last, so that nothing is left that belongs to none. h.mu is held.
func (st *state) forget(id string, k *kept) []entry {
	var gone []entry
	for packet, size := range k.queued {
		st.queuedBytes -= size
		gone = append(gone, entry{packetKey(kindMessage, id, packet), nil})
	}
	for packet := range k.received {
		gone = append(gone, entry{packetKey(kindReceived, id, packet), nil})
	}
	for filter := range k.filters {
		gone = append(gone, entry{stateKey(kindSubscription, id, filter), nil})
	}
	delete(st.sessions, id)
	return append(gone, entry{stateKey(kindSession, id, ""), nil})
}

// OnDisconnect ends a session, or notes when its connection ended.
func (h *keeper) OnDisconnect(cl *mochi.Client, _ error, _ bool) {
	expiry := outlasts(cl, h.server.cfg.SessionExpiry)
	h.mu.Lock()
	k := h.sessions[cl.ID]
	if k == nil || k.owner != cl || cl.IsTakenOver() {
		h.mu.Unlock()
		return
	}
	var said []entry
	if expiry == 0 {
		said = h.forget(cl.ID, k)
	} else {
		said = h.reconcile(cl, k)
		said = append(said, entry{stateKey(kindSession, cl.ID, ""), stateValue(sessionRecord{cl.Properties.ProtocolVersion, expiry, time.Now().Unix()}, nil)})
	}
	h.mu.Unlock()
	h.journal.add(said...)
}

// reconcile takes back what mochi has dropped without a word: what a client that was
// connected did not take quickly enough. h.mu is held.
func (st *state) reconcile(cl *mochi.Client, k *kept) (gone []entry) {
	for packet, size := range k.queued {
		if _, ok := cl.State.Inflight.Get(packet); !ok {
			st.queuedBytes -= size
			delete(k.queued, packet)
			gone = append(gone, entry{packetKey(kindMessage, cl.ID, packet), nil})
		}
	}
	return gone
}

// OnClientExpired ends a session that has outlived its time.
func (h *keeper) OnClientExpired(cl *mochi.Client) {
	h.mu.Lock()
	var gone []entry
	if k := h.sessions[cl.ID]; k != nil && k.owner == cl {
		gone = h.forget(cl.ID, k)
	}
	h.mu.Unlock()
	h.journal.add(gone...)
}

// OnSubscribed keeps what a client subscribed to, before that is acknowledged. The
// reasons are what the acknowledgement is going to say.
func (h *keeper) OnSubscribed(cl *mochi.Client, pk packets.Packet, reasons []byte) {
	from := h.journal.mark()
	h.mu.Lock()
	k := h.sessions[cl.ID]
	if k == nil || k.owner != cl {
		h.mu.Unlock()
		return
	}
	var said []entry
	for i, sub := range pk.Filters {
		if reasons[i] < packets.ErrUnspecifiedError.Code {
			k.filters[sub.Filter] = true
			said = append(said, entry{stateKey(kindSubscription, cl.ID, sub.Filter), stateValue(subscriptionRecord{
				sub.Qos, sub.Identifier, sub.NoLocal, sub.RetainAsPublished, sub.RetainHandling,
			}, nil)})
		}
	}
	h.mu.Unlock()
	h.journal.add(said...)
	if err := h.journal.wait(from, h.journal.mark()); err != nil {
		h.unsubscribed(cl, pk, reasons)
		h.log.Debug("MQTT subscription refused", "client", cl.ID, "err", err)
	}
}

// unsubscribed takes back subscriptions that could not be kept.
func (h *keeper) unsubscribed(cl *mochi.Client, pk packets.Packet, reasons []byte) {
	for i, sub := range pk.Filters {
		if reasons[i] < packets.ErrUnspecifiedError.Code {
			h.server.mochi.Topics.Unsubscribe(sub.Filter, cl.ID)
			cl.State.Subscriptions.Delete(sub.Filter)
			reasons[i] = packets.ErrUnspecifiedError.Code
		}
	}
	h.unkeep(cl, pk)
}

// OnUnsubscribed takes subscriptions back, before that is acknowledged.
func (h *keeper) OnUnsubscribed(cl *mochi.Client, pk packets.Packet) {
	from := h.journal.mark()
	if !h.unkeep(cl, pk) {
		return
	}
	if err := h.journal.wait(from, h.journal.mark()); err != nil {
		cl.Stop(errors.Join(packets.ErrImplementationSpecificError, err))
	}
}

// unkeep takes subscriptions back, and reports whether there were some.
func (h *keeper) unkeep(cl *mochi.Client, pk packets.Packet) bool {
	h.mu.Lock()
	k := h.sessions[cl.ID]
	var gone []entry
	for _, sub := range pk.Filters {
		if k != nil && k.owner == cl && k.filters[sub.Filter] {
			delete(k.filters, sub.Filter)
			gone = append(gone, entry{stateKey(kindSubscription, cl.ID, sub.Filter), nil})
		}
	}
	h.mu.Unlock()
	h.journal.add(gone...)
	return len(gone) > 0
}

// OnQosPublish keeps a message that goes to a session, or waits there.
func (h *keeper) OnQosPublish(cl *mochi.Client, pk packets.Packet, _ int64, _ int) {
	if pk.FixedHeader.Type != packets.Publish || pk.FixedHeader.Dup {
		return // it is here already: mochi sends again what a client had not acknowledged
	}
	h.mu.Lock()
	k := h.sessions[cl.ID]
	if k == nil {
		h.mu.Unlock()
		return
	}
	value := stateValue(messageRecordOf(&pk), pk.Payload)
	size := int64(len(value))
	if h.queuedBytes+size > h.server.cfg.StateBytes {
		h.mu.Unlock()
		cl.State.Inflight.Delete(pk.PacketID)
		h.metrics.full.Inc()
		return
	}
	h.queuedBytes += size - k.queued[pk.PacketID]
	k.queued[pk.PacketID] = size
	h.mu.Unlock()
	key := packetKey(kindMessage, cl.ID, pk.PacketID)
	h.journal.add(entry{key, value})
	h.mu.Lock()
	now := h.sessions[cl.ID]
	ended := now != k && (now == nil || now.queued[pk.PacketID] == 0)
	h.mu.Unlock()
	if ended { // meanwhile, and its records may stand before this one
		h.journal.add(entry{key, nil})
	}
}

// OnQosComplete forgets a message that a client has acknowledged.
func (h *keeper) OnQosComplete(cl *mochi.Client, pk packets.Packet) { h.delivered(cl, pk.PacketID) }

// OnQosDropped forgets a message that expired, or that a client refused.
func (h *keeper) OnQosDropped(cl *mochi.Client, pk packets.Packet) {
	if !cl.IsTakenOver() { // otherwise the client has it under another connection
		h.delivered(cl, pk.PacketID)
	}
}

func (h *keeper) delivered(cl *mochi.Client, id uint16) {
	h.mu.Lock()
	k := h.sessions[cl.ID]
	if k == nil {
		h.mu.Unlock()
		return
	}
	size, ok := k.queued[id]
	delete(k.queued, id)
	h.queuedBytes -= size
	h.mu.Unlock()
	if ok {
		h.journal.add(entry{packetKey(kindMessage, cl.ID, id), nil})
	}
}

// OnPacketRead keeps that a client has a QoS 2 message before mochi releases it: after
// that the client may take the packet id for a new one.
func (h *keeper) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type != packets.Pubrec || pk.ReasonCode >= packets.ErrUnspecifiedError.Code {
		return pk, nil
	}
	sent, ok := cl.State.Inflight.Get(pk.PacketID)
	if !ok || sent.FixedHeader.Type != packets.Publish {
		return pk, nil
	}
	from := h.journal.mark()
	value := stateValue(messageRecord{Released: true, Created: sent.Created}, nil)
	h.mu.Lock()
	k := h.sessions[cl.ID]
	if k == nil {
		h.mu.Unlock()
		return pk, nil
	}
	h.queuedBytes += int64(len(value)) - k.queued[pk.PacketID]
	k.queued[pk.PacketID] = int64(len(value))
	h.mu.Unlock()
	h.journal.add(entry{packetKey(kindMessage, cl.ID, pk.PacketID), value})
	if err := h.journal.wait(from, h.journal.mark()); err != nil {
		cl.Stop(errors.Join(packets.ErrImplementationSpecificError, err))
		return pk, packets.ErrRejectPacket
	}
	return pk, nil
}

// OnRetainMessage keeps a retained message, whatever its QoS: otherwise an older one
// would come back.
func (h *keeper) OnRetainMessage(_ *mochi.Client, pk packets.Packet, change int64) {
	switch {
	case change > 0:
		h.journal.add(entry{retainedKey(pk.TopicName), stateValue(messageRecordOf(&pk), pk.Payload)})
	case change < 0:
		h.OnRetainedExpired(pk.TopicName)
	}
}

// OnRetainedExpired takes a retained message back.
func (h *keeper) OnRetainedExpired(topic string) {
	h.journal.add(entry{retainedKey(topic), nil})
}

// settle brings a publish that was stored, or that no rule takes, to who listens, and
// waits until what they miss is kept for them. err is what ingest said. Those behind it
// that have an answer too are brought along, so that one sync serves all.
func (b *inbound) settle(p *publish, err error) error {
	if !stored(err) {
		return err
	}
	for _, next := range b.answeredFirst() {
		b.carry(next)
	}
	b.carry(p)
	st := b.server.state
	if st.journal == nil {
		return err
	}
	if failed := st.journal.wait(p.before, p.after); failed != nil {
		st.released(b.client.ID, p.id)
		return failed
	}
	return err
}

// maxCarried is how many publishes of a client share a wait for what they leave with
// sessions.
const maxCarried = 64

// answeredFirst are the publishes at the head of the queue that have an answer.
func (b *inbound) answeredFirst() (all []*publish) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.queue[:min(len(b.queue), maxCarried)] {
		if !p.done() {
			break
		}
		all = append(all, p)
	}
	return all
}

// carry routes p once, if it was stored or no rule takes it.
func (b *inbound) carry(p *publish) {
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if !stored(err) {
		return
	}
	p.routing.Do(func() {
		st := b.server.state
		if st.journal == nil {
			b.server.route(b.router, p)
			return
		}
		p.before = st.journal.mark()
		b.server.route(b.router, p)
		if p.qos == 2 {
			st.received(b.client.ID, p.id)
		}
		p.after = st.journal.mark()
	})
}

// received keeps the packet id of a QoS 2 publish.
func (st *state) received(client string, id uint16) {
	st.mu.Lock()
	k := st.sessions[client]
	if k != nil {
		k.received[id] = true
	}
	st.mu.Unlock()
	if k != nil {
		st.journal.add(entry{packetKey(kindReceived, client, id), stateValue(struct{}{}, nil)})
	}
}

// released takes the packet id back, for its client may use it again.
func (st *state) released(client string, id uint16) {
	st.mu.Lock()
	k := st.sessions[client]
	known := k != nil && k.received[id]
	if known {
		delete(k.received, id)
	}
	st.mu.Unlock()
	if known {
		st.journal.add(entry{packetKey(kindReceived, client, id), nil})
	}
}

// release is released, and waits for that to be durable: a packet id that came back
// would have the client's next message taken for the last one.
func (st *state) release(client string, id uint16) error {
	if st.journal == nil {
		return nil
	}
	from := st.journal.mark()
	st.released(client, id)
	return st.journal.wait(from, st.journal.mark())
}
