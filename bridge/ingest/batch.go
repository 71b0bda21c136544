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
	if !m.wantsAnswer() {
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
	askers  []asker
	core    []run // the best-effort messages, in case that they are lost

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
	asker    int32 // its place in askers; -1 for who is answered by reply subject
}

// run is messages of one rule, next to each other.
type run struct{ rule, count int32 }

func (in *Ingest) newBatch() *batch {
	b := &batch{}
	b.done = func(baseOffset int64, err error) { in.acker.complete(b, baseOffset, err) }
	return b
}

// add puts a message's record at the end of b, and returns what it is charged.
func (b *batch) add(m *Message, received time.Time, key []byte, headers []record.Header, size int) int64 {
	value := m.Payload
	if value == nil {
		value = []byte{} // an empty payload is a value; null would be a tombstone
	}
	b.builder.Add(received.UnixMilli(), key, value, headers)
	if m.wantsAnswer() {
		b.replies = append(b.replies, m.Reply...)
		who := int32(-1)
		if m.Answerer != nil {
			who = int32(len(b.askers))
			b.askers = append(b.askers, asker{m.Answerer, m.Token})
		}
		b.acks = append(b.acks, ack{delta: int32(b.count), replyEnd: int32(len(b.replies)), rule: int32(m.Rule), asker: who})
	} else if last := len(b.core) - 1; last >= 0 && b.core[last].rule == int32(m.Rule) {
		b.core[last].count++
	} else {
		b.core = append(b.core, run{int32(m.Rule), 1})
	}
	b.count++
	cost := charge(m, size)
	b.bytes += cost
	return cost
}

// maxKeptBytes bounds what a batch keeps of its replies' memory for the next use.
const maxKeptBytes = 64 << 10

// reuse gives b back once nobody refers to it.
func (in *Ingest) reuse(b *batch) {
	replies := b.replies[:0]
	if cap(replies) > maxKeptBytes {
		replies = nil
	}
	clear(b.askers)
	*b = batch{acks: b.acks[:0], replies: replies, askers: b.askers[:0], core: b.core[:0], done: b.done}
	in.batches.Put(b)
}

// gather is where the messages of one partition come together. Ingest's mu guards
// it.
type gather struct {
	topic     *topicState
	partition int32
	stream    string // the partition's name as a JetStream stream
	batch     *batch // open; nil for none
	inFlight  int    // batches that are sealed but not completed
	hurrying  bool   // stands in Ingest.hurry
	failing   bool   // the last batch failed, and that was logged
	lastBytes int    // the size of the last batch; the next is likely to be like it

	deadline time.Time     // when the open batch has to go
	linger   time.Duration // of the message for which it has to
	openAt   int           // its place in Ingest.open, counted from 1; 0 for none
}

// awaited reports whether somebody waits for an answer out of the open batch.
func (g *gather) awaited() bool { return g.batch != nil && len(g.batch.acks) > 0 }

func (g *gather) idle() bool { return g.batch == nil && g.inFlight == 0 && !g.hurrying }

// openBatch opens a batch at g. A batch has one codec, whoever's messages join it.
func (in *Ingest) openBatch(g *gather, codec record.Codec) {
	b := in.batches.Get().(*batch)
	b.gather, b.codec, b.bytes = g, codec, batchOverhead
	if in.open.Len() < grownBatches {
		b.builder.Grow(g.lastBytes)
	}
	in.buffered += batchOverhead
	in.lingering += batchOverhead
	g.batch = b
}

// seal closes g's open batch and queues it for the sender.
func (in *Ingest) seal(g *gather) {
	b := g.batch
	g.batch, g.lastBytes = nil, b.builder.Len()
	g.inFlight++
	in.lingering -= b.bytes
	in.open.remove(g)
	in.ready = append(in.ready, b)
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
