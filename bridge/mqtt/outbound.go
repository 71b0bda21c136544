package mqtt

import (
	"cmp"
	"slices"
	"sync"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// outbound is what goes out to one connection, at QoS 1 and 2: it keeps to the client's
// receive maximum, and sends what an earlier connection left without an answer, in the
// order of its age. mochi's own way with a receive maximum can stand still for ever, and
// it sends again in the order of whole seconds, all at once.
type outbound struct {
	mu        sync.Mutex // guards below; never held across a call of mochi
	changed   sync.Cond  // told of all below
	maximum   int        // of unanswered
	sent      map[uint16]bool
	begun     bool             // mochi has handed over what is to be sent again
	again     []packets.Packet // that
	resending bool
	fresh     map[uint16]bool // by packet id: came since, and is queued besides
	gone      bool
}

func (o *outbound) init(maximum uint16) {
	if maximum == 0 {
		maximum = 65535
	}
	o.maximum, o.changed.L = int(maximum), &o.mu
	o.sent, o.fresh = map[uint16]bool{}, map[uint16]bool{}
}

// keep holds back what mochi sends again before it reads: there nobody could take
// answers in meanwhile. It reports whether pk is such a packet.
func (o *outbound) keep(pk packets.Packet) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	resent := pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Dup || pk.FixedHeader.Type == packets.Pubrel
	if o.begun || !resent {
		return false
	}
	o.again, o.resending = append(o.again, pk), true
	return true
}

// await waits for the turn of pk: behind what is sent again, and within the maximum.
func (o *outbound) await(pk packets.Packet) {
	if pk.FixedHeader.Type != packets.Publish {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.gone && (o.resending || !o.begun) && !pk.FixedHeader.Dup {
		o.changed.Wait()
	}
	if pk.FixedHeader.Qos == 0 {
		return
	}
	for !o.gone && len(o.sent) >= o.maximum {
		o.changed.Wait()
	}
	o.sent[pk.PacketID] = true
}

// came notes that a message came for this connection. mochi may send it again at once, for
// it waits for an answer, while it is also in the connection's queue.
func (o *outbound) came(id uint16) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun || o.resending {
		o.fresh[id] = true
	}
}

func (o *outbound) isFresh(id uint16) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fresh[id]
}

// answered notes that the client is done with a message.
func (o *outbound) answered(pk packets.Packet) {
	switch pk.FixedHeader.Type {
	case packets.Puback, packets.Pubcomp:
	case packets.Pubrec:
		if pk.ReasonCode < packets.ErrUnspecifiedError.Code {
			return
		}
	default:
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.sent, pk.PacketID)
	o.changed.Broadcast()
}

// begin ends keep's time, and returns what it kept, by age.
func (o *outbound) begin(age func(id uint16) uint64) []packets.Packet {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = true
	o.changed.Broadcast()
	again := o.again
	o.again = nil
	if len(again) == 0 {
		o.fresh = nil
	}
	slices.SortStableFunc(again, func(a, b packets.Packet) int {
		return cmp.Or(cmp.Compare(age(a.PacketID), age(b.PacketID)), cmp.Compare(a.Created, b.Created), cmp.Compare(a.PacketID, b.PacketID))
	})
	return again
}

// resend sends what an earlier connection left, for as long as the client has it.
func (o *outbound) resend(cl *mochi.Client, again []packets.Packet) {
	for _, pk := range again {
		if _, wanted := cl.State.Inflight.Get(pk.PacketID); !wanted || o.isFresh(pk.PacketID) {
			continue // it has expired, or comes by the queue
		}
		if err := cl.WritePacket(pk); err != nil {
			cl.Net.Conn.Close() // its reader ends the client
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resending, o.fresh = false, nil
	o.changed.Broadcast()
}

func (o *outbound) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	o.changed.Broadcast()
}
