package ingest

import (
	"time"

	"github.com/headwater/headwater/broker/record"
)

const (
	batchOverhead = 512 // what a batch costs beside its records and replies, roughly
	ackOverhead   = 32  // what waiting for an answer costs beside the reply subject
	grownBatches  = 32  // open batches that get their room beforehand, which BufferBytes does not count
)

// charge is what a message whose record takes size bytes costs of BufferBytes,
// gathered or waiting for its topic.
func charge(m *Message, size int) int64 {
	size = max(size, m.len())
	if !m.asks() {
		return int64(size)
	}
	return int64(size) + int64(len(m.Reply)) + ackOverhead
}

// batch is a record batch with those who wait for it.
type batch struct {
	gather  *gather
	builder record.Builder
	codec   record.Codec // which compresses it
	count   int
	bytes   int64 // charged to BufferBytes

	acks    []ack
	replies []byte // the acks' reply subjects, one after the other
	calls   []call
	core    []run // the best-effort messages, in case that they are lost
	ids     []claimed
	since   time.Time // when the first that somebody waits for was received

	at   int64 // the offset where it belongs; anyOffset for any
	byID bool  // its message was to follow one with an id

	drops  dropPlaces    // while best-effort messages may be let go out of it
	queued place[*batch] // in its gather's unsent
	sent   int64         // bytes that it took when the Appender got it; 0 before

	done       func(baseOffset int64, err error) // for the Appender; made once
	baseOffset int64                             // set by done
	err        error                             // set by done
	abandoned  bool                              // guarded by the acker's mu
	completed  bool                              // guarded by the acker's mu
}

// ack is one message of a batch that waits for its answer.
type ack struct {
	delta    int32 // of its offset from the base offset
	replyEnd int32 // where its reply subject ends in replies; it starts where the one before ends
	rule     int32

	duplicate bool // of the message that has the offset
}

// call is one message of a batch that waits for its answer, and has an Answerer.
type call struct {
	answerer Answerer
	token    uint64
	delta    int32 // of its offset from the base offset
	rule     int32
}

// run is messages of one rule, next to each other.
type run struct{ rule, count int32 }

func (in *Ingest) newBatch() *batch {
	b := &batch{}
	b.done = func(baseOffset int64, err error) { in.acker.complete(b, baseOffset, err) }
	return b
}

// add puts a message's record at the end of b, by the route and headers in s, and
// returns what it is charged.
func (b *batch) add(m *Message, received time.Time, s *scratch, size int) int64 {
	value := m.Payload
	if value == nil {
		value = []byte{} // an empty payload is a value; null would be a tombstone
	}
	b.builder.Add(received.UnixMilli(), s.route.Key, value, s.headers)
	delta, rule := int32(b.count), int32(s.route.Rule)
	if m.asks() {
		if !b.awaited() {
			b.since = received
		}
		b.await(m, ack{delta: delta, rule: rule})
	} else if last := len(b.core) - 1; last >= 0 && b.core[last].rule == rule {
		b.core[last].count++
	} else {
		b.core = append(b.core, run{rule, 1})
	}
	b.count++
	return charge(m, size)
}

// chargeMore charges b for what it has got.
func (in *Ingest) chargeMore(b *batch, cost int64) {
	b.bytes += cost
	in.hold(&b.gather.holder, cost)
	if b.gather.batch == b {
		in.lingering += cost
	}
}

// await has m answered with what becomes of the record that a tells of.
func (b *batch) await(m *Message, a ack) {
	if m.Answerer != nil {
		b.calls = append(b.calls, call{m.Answerer, m.Token, a.delta, a.rule})
		return
	}
	b.replies = append(b.replies, m.Reply...)
	a.replyEnd = int32(len(b.replies))
	b.acks = append(b.acks, a)
}

// maxKeptBytes bounds what a batch keeps of its replies' memory for the next use.
const maxKeptBytes = 64 << 10

// reuse gives b back once nobody refers to it.
func (in *Ingest) reuse(b *batch) {
	replies := b.replies[:0]
	if cap(replies) > maxKeptBytes {
		replies = nil
	}
	clear(b.calls) // which would keep their Answerers alive
	*b = batch{acks: b.acks[:0], replies: replies, calls: b.calls[:0], core: b.core[:0], ids: b.ids[:0], done: b.done}
	in.batches.Put(b)
}

// awaited reports whether somebody waits for an answer out of b.
func (b *batch) awaited() bool { return len(b.acks)+len(b.calls) > 0 }

// gather is where the messages of one partition come together. Ingest's mu guards
// it.
type gather struct {
	holder
	topic     *topicState
	partition int32
	stream    string       // the partition's name as a JetStream stream
	batch     *batch       // open; nil for none
	inFlight  int          // batches that are sealed but not completed
	unsent    list[*batch] // of them, those that the Appender does not have yet
	sent      int          // of them, those that it has
	sentBytes int64
	sending   place[*gather] // in Ingest's ready or blocked while there may be unsent ones
	hurrying  bool           // stands in Ingest.hurry
	failing   bool           // the last batch failed, and that was logged
	lastBytes int            // the size of the last batch; the next is likely to be like it
	guard     *guard         // nil while no message asked for one
	tailEnd   int64          // where the partition ended when its first message came

	deadline time.Time     // when the open batch has to go
	linger   time.Duration // of the message for which it has to
	openAt   int           // its place in Ingest.open, counted from 1; 0 for none
}

// awaited reports whether somebody waits for an answer out of the open batch.
func (g *gather) awaited() bool { return g.batch != nil && g.batch.awaited() }

func (g *gather) idle() bool {
	return g.batch == nil && g.inFlight == 0 && !g.hurrying && g.guard.idle()
}

// openBatch opens a batch at g. A batch has one codec, whoever's messages join it.
func (in *Ingest) openBatch(g *gather, codec record.Codec) {
	b := in.batches.Get().(*batch)
	b.gather, b.codec, b.at = g, codec, anyOffset
	if in.open.Len() < grownBatches {
		b.builder.Grow(g.lastBytes)
	}
	g.batch = b
	in.chargeMore(b, batchOverhead)
}

// seal closes g's open batch and queues it for the sender.
func (in *Ingest) seal(g *gather) {
	b := g.batch
	g.batch, g.lastBytes = nil, b.builder.Len()
	g.inFlight++
	in.lingering -= b.bytes
	in.open.remove(g)
	g.unsent.push(&b.queued, b)
	if g.sending.in == nil {
		in.ready.push(&g.sending, g)
	}
	in.live[b] = struct{}{}
	wake(in.wakeSender)
}

// sealIfAwaited seals what somebody waits for, if the partition has nothing in
// flight: more that comes meanwhile would only be behind it.
func (in *Ingest) sealIfAwaited(g *gather) {
	if g.inFlight == 0 && g.awaited() {
		in.seal(g)
	}
}

func (in *Ingest) sealAll() {
	for in.open.first() != nil {
		in.seal(in.open.first())
	}
}
