package ingest

import (
	"fmt"

	"github.com/headwater/headwater/broker/record"
)

// holder is what takes of BufferBytes: a partition's gather, or the messages that
// wait for a topic. Ingest's mu guards it.
type holder struct {
	bytes int64
	core  list[droppable] // that has best-effort messages which may be let go, the oldest in front
}

// droppable is what best-effort messages can be let go out of: a batch that the
// Appender does not have, or a message that waits for its topic.
type droppable interface{ drop(in *Ingest) }

// dropPlaces are where a droppable stands, in its holder's list and in that of all.
type dropPlaces struct{ own, all place[droppable] }

func (in *Ingest) mayDrop(d droppable, at *dropPlaces, h *holder) {
	if at.all.in == nil {
		h.core.push(&at.own, d)
		in.core.push(&at.all, d)
	}
}

func (p *dropPlaces) leave() {
	p.own.leave()
	p.all.leave()
}

// hold charges n bytes to h.
func (in *Ingest) hold(h *holder, n int64) {
	h.bytes += n
	in.buffered += n
	if in.largest == nil || h.bytes > in.largest.bytes {
		in.largest = h
	}
}

func (in *Ingest) release(h *holder, n int64) {
	h.bytes -= n
	in.buffered -= n
}

// leftForOthers is how many times a holder may have what it leaves free: one alone
// can fill fifteen sixteenths of the memory. What is left is for the others, who then
// are not refused because one partition stands still.
const leftForOthers = 15

func (in *Ingest) fits(h *holder, n int64) bool {
	free := in.cfg.BufferBytes - in.buffered
	return n <= free && h.bytes+n <= leftForOthers*free
}

// makeRoom reports whether n more bytes fit for h, after it has let best-effort
// messages go if need be: the oldest of whoever holds most, so that a flood pushes out
// its own; when that one has none, the oldest of all.
func (in *Ingest) makeRoom(h *holder, n int64) bool {
	for !in.fits(h, n) {
		victim := in.core.front
		if most := in.mostBy(h, n); most.core.front != nil {
			victim = most.core.front
		}
		if victim == nil {
			return false
		}
		victim.item.drop(in)
	}
	return true
}

// mostBy is who holds most once h has n bytes more. Who was the largest may have
// shrunk since: the next that grows beyond it takes its place.
func (in *Ingest) mostBy(h *holder, n int64) *holder {
	if in.largest == nil || h.bytes+n >= in.largest.bytes {
		return h
	}
	return in.largest
}

// drop lets the best-effort messages of b go, and b as a whole when no other is in it.
func (b *batch) drop(in *Ingest) {
	if !b.awaited() {
		in.letGo(b, bufferFull)
		return
	}
	b.drops.leave()
	in.thin(b)
	in.chargeMore(b, b.cost()-b.bytes)
}

// cost is what b takes once it holds no more than what somebody waits for.
func (b *batch) cost() int64 {
	return batchOverhead + int64(b.builder.Len()+len(b.replies)) + ackOverhead*int64(len(b.acks)+len(b.calls)) + idOverhead*int64(len(b.ids))
}

// thin takes the records that nobody waits for out of b. Those that stay keep their
// order.
func (in *Ingest) thin(b *batch) {
	moved := make([]int32, b.count) // by delta: the new one, or gone
	for i := range moved {
		moved[i] = gone
	}
	for _, k := range b.acks {
		moved[k.delta] = 0
	}
	for _, k := range b.calls {
		moved[k.delta] = 0
	}
	in.countDropped(b, bufferFull)
	full := b.builder.Batch()
	base := full.BaseTimestamp()
	if err := record.Records(full.Payload(), full.Count(), func(r record.Record) bool {
		if moved[r.OffsetDelta] != gone {
			moved[r.OffsetDelta] = int32(b.builder.Count())
			b.builder.Add(base+r.TimestampDelta, r.Key, r.Value, r.Headers)
		}
		return true
	}); err != nil {
		panic(fmt.Sprintf("a batch of ours cannot be read: %v", err))
	}
	for i := range b.acks {
		b.acks[i].delta = moved[b.acks[i].delta]
	}
	for i := range b.calls {
		b.calls[i].delta = moved[b.calls[i].delta]
	}
	in.moveIDs(b, moved)
	b.count = b.builder.Count()
}

const gone = -1 // a record that thin takes out

// countDropped counts the best-effort messages of b, which are let go.
func (in *Ingest) countDropped(b *batch, why reason) {
	for _, r := range b.core {
		in.metrics.dropped[r.rule][why].Add(float64(r.count))
	}
	b.core = b.core[:0]
}

// letGo gives up b, which the Appender does not have: whoever waits for it is refused,
// its best-effort messages are dropped, and it takes no more room.
func (in *Ingest) letGo(b *batch, why reason) {
	g := b.gather
	in.acker.tellLate(b, why)
	in.countDropped(b, why)
	in.forgetIDs(b)
	b.drops.leave()
	if g.batch == b {
		in.lingering -= b.bytes
		in.open.remove(g)
		g.batch = nil
	} else {
		b.queued.leave()
		delete(in.live, b)
		g.inFlight--
		in.sealIfAwaited(g)
	}
	in.release(&g.holder, b.bytes)
	in.reuse(b)
}
