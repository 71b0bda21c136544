package ingest

import (
	"time"

	"github.com/headwater/headwater/bridge/dedup"
	"github.com/headwater/headwater/broker/record"
)

// Store is what a partition must do so that messages are not stored twice, or only
// where they were meant to be.
type Store interface {
	dedup.Reader
	// AppendAt is Append for a batch that belongs at baseOffset alone. When the
	// partition ends elsewhere nothing is appended, and Config.NextOffset knows by
	// done's error where it ends.
	AppendAt(topic string, partition int32, batch record.Batch, baseOffset int64, done func(baseOffset int64, err error))
}

// ids are the message ids of all partitions. Ingest's mu guards it.
type ids struct {
	window *dedup.Window
	claims map[dedup.ID]claim // of messages that are on their way
	grown  int                // the most claims since claims was made
	scopes uint32             // that were given out
}

// claim is where the message with an id is, until its batch completes.
type claim struct {
	batch *batch
	delta int32
	core  bool  // it is a best-effort one, of rule, that nobody waits for
	rule  int32 // while core
}

// claimed is the id of one of a batch's messages.
type claimed struct {
	id    dedup.ID
	delta int32 // of the message's offset from the batch's base offset
}

const idOverhead = 96 // what an id costs beside its message, until that is stored

// guard is what is known of a partition's message ids. A partition gets one with the
// first message that asks. The records themselves hold the ids: what others wrote, or
// this process before it was started again, is read from the log.
type guard struct {
	scope   uint32 // of its ids in the window
	state   guardState
	known   int64       // of the records before this offset, the ids are known
	seenEnd int64       // the largest high watermark that was seen
	behind  bool        // a batch was stored behind others' records
	last    dedup.Seen  // the last message with an id; its offset is anyOffset for none
	waiting waitingRoom // until the ids are known
	err     error       // while unreadable
	retryAt time.Time   // while unreadable: not before this
}

type guardState int8

const (
	unread     guardState = iota // nothing is known of the log
	reading                      // it is in unfilled, or being read
	read                         // all before known is known
	unreadable                   // the last try failed
)

func (gd *guard) idle() bool { return gd == nil || gd.waiting.messages.len == 0 && gd.state != reading }

// screen looks at what a message asks before it is placed at g. It is placed only if
// place is true, at scratch's wants.offset; else it waits, or is another's duplicate,
// or is turned away for the reason.
func (in *Ingest) screen(g *gather, m *Message, received receipt, size int) (place bool, why reason, err error) {
	w := &in.scratch.wants
	if len(w.stream) > 0 && string(w.stream) != g.stream {
		return false, otherStream, nil
	}
	if in.cfg.DedupWindow == 0 && len(w.lastID) > 0 || in.cfg.Store == nil && w.offset != anyOffset {
		return false, notKept, nil
	}
	if in.cfg.DedupWindow == 0 || len(w.id) == 0 && len(w.lastID) == 0 {
		return true, taken, nil
	}
	known, err := in.idsKnown(g)
	switch {
	case err != nil:
		return false, idsUnread, err
	case !known:
		return false, in.keepWaiting(&g.guard.waiting, m, received, size), nil
	case in.duplicate(g, m, received):
		return false, taken, nil
	}
	return in.follows(g, m, received, size)
}

// duplicate reports whether the message's id is that of another, and has the message
// answered as that one is.
func (in *Ingest) duplicate(g *gather, m *Message, received receipt) bool {
	w := &in.scratch.wants
	if len(w.id) == 0 {
		return false
	}
	id := in.ids.window.ID(g.guard.scope, w.id)
	if _, ok := in.ids.claims[id]; ok {
		if why := in.join(id, m, received); why != taken {
			in.turnAway(in.scratch.route.Rule, m, why, nil)
			return true
		}
	} else if offset, ok := in.ids.window.Find(id, time.Now()); ok {
		if m.asks() {
			in.acker.repeat(m, g.stream, g.partition, offset)
		}
	} else {
		return false
	}
	in.metrics.duplicates[in.scratch.route.Rule].Inc()
	return true
}

// join has a message answered as the one with its id is, which is on its way.
func (in *Ingest) join(id dedup.ID, m *Message, received receipt) reason {
	if !m.asks() {
		return taken
	}
	cost := int64(len(m.Reply)) + ackOverhead
	if !in.makeRoom(&in.ids.claims[id].batch.gather.holder, cost) {
		return bufferFull
	}
	c, ok := in.ids.claims[id]
	if !ok { // it was let go to make room
		return bufferFull
	}
	b := c.batch
	if c.core { // somebody waits for it from now on
		c.core = false
		in.ids.claims[id] = c
		b.lessCore(c.rule)
	}
	if !b.awaited() {
		b.since = received.at
	}
	b.await(m, ack{delta: c.delta, rule: int32(in.scratch.route.Rule), duplicate: true})
	in.chargeMore(b, cost)
	in.watchOver()
	if b.gather.batch == b {
		in.hurryUp(b.gather)
	}
	return taken
}

// lessCore counts one best-effort message of a rule less.
func (b *batch) lessCore(rule int32) {
	for i := range b.core {
		if b.core[i].rule == rule && b.core[i].count > 0 {
			b.core[i].count--
			return
		}
	}
}

// forgetIDs forgets the ids of a batch that is let go. Who waited for one of them has
// what is stored looked at again.
func (in *Ingest) forgetIDs(b *batch) {
	for _, c := range b.ids {
		delete(in.ids.claims, c.id)
	}
	gd := b.gather.guard
	if len(b.ids) > 0 && gd.state == read && gd.waiting.messages.len > 0 {
		in.fill(b.gather)
	}
}

// moveIDs follows the records of b, whose deltas have become those in moved, or that
// are gone.
func (in *Ingest) moveIDs(b *batch, moved []int32) {
	kept := b.ids[:0]
	for _, c := range b.ids {
		if moved[c.delta] == gone {
			delete(in.ids.claims, c.id)
			continue
		}
		c.delta = moved[c.delta]
		at := in.ids.claims[c.id]
		at.delta = c.delta
		in.ids.claims[c.id] = at
		kept = append(kept, c)
	}
	b.ids = kept
}

// follows works out at which offset the message belongs that expects to follow
// another. While that one is on its way, so is the answer to where.
func (in *Ingest) follows(g *gather, m *Message, received receipt, size int) (place bool, why reason, err error) {
	w := &in.scratch.wants
	if len(w.lastID) == 0 {
		return true, taken, nil
	}
	last := in.ids.window.ID(g.guard.scope, w.lastID)
	if _, ok := in.ids.claims[last]; ok {
		return false, in.keepWaiting(&g.guard.waiting, m, received, size), nil
	}
	if g.guard.last.ID != last || g.guard.last.Offset == anyOffset {
		return false, otherLastID, nil
	}
	next := g.guard.last.Offset + 1
	if w.offset != anyOffset && w.offset != next {
		return false, otherLastID, nil
	}
	w.offset = next
	return true, taken, nil
}

// idsKnown reports whether the ids of all records of g's partition are known that
// count. If not, they are going to be read. When no batch of ours tells where the
// partition ends, the broker is asked, for others may have written.
func (in *Ingest) idsKnown(g *gather) (bool, error) {
	gd := g.guard
	if gd == nil {
		gd = &guard{}
		g.guard = gd
		in.newScope(gd)
	}
	switch {
	case in.scratch.replaying == g:
		return true, nil
	case gd.state == unreadable && time.Now().Before(gd.retryAt):
		return false, gd.err
	case gd.state == unread || gd.state == unreadable:
		in.fill(g)
		return false, nil
	case gd.state == reading || gd.waiting.messages.len > 0:
		return false, nil
	}
	return in.upToDate(g)
}

// upToDate reports whether the ids that were read are all there are. If not, the rest
// is going to be read.
func (in *Ingest) upToDate(g *gather) (bool, error) {
	gd := g.guard
	quiet := g.batch == nil && g.inFlight == 0
	if !quiet && !gd.behind {
		return true, nil
	}
	_, end, _, err := in.cfg.Store.Offsets(g.topic.name, g.partition)
	switch {
	case err != nil:
		return false, err
	case quiet && end < gd.seenEnd: // it is another log: the topic was deleted, and made again
		in.newScope(gd)
		g.tailEnd = end
	case end <= gd.known:
		gd.seenEnd, gd.behind = max(gd.seenEnd, end), false
		return true, nil
	}
	in.fill(g)
	return false, nil
}

// newScope forgets what is known of a partition's ids.
func (in *Ingest) newScope(gd *guard) {
	in.ids.scopes++
	*gd = guard{scope: in.ids.scopes, last: dedup.Seen{Offset: anyOffset}}
}

// claim remembers that the message that was just added to b has the id in scratch, and
// whether it is a best-effort one.
func (in *Ingest) claim(b *batch, core bool) {
	if in.cfg.DedupWindow == 0 || len(in.scratch.wants.id) == 0 {
		return
	}
	c := claimed{in.ids.window.ID(b.gather.guard.scope, in.scratch.wants.id), int32(b.count - 1)}
	b.ids = append(b.ids, c)
	in.ids.claims[c.id] = claim{b, c.delta, core, int32(in.scratch.route.Rule)}
	in.ids.grown = max(in.ids.grown, len(in.ids.claims))
	in.chargeMore(b, idOverhead)
}

// settleIDs remembers the ids of a batch that is stored, and forgets those of one that
// failed. Nobody joins the batch after that.
func (in *Ingest) settleIDs(b *batch) {
	gd, now := b.gather.guard, time.Now()
	if gd == nil {
		return
	}
	for _, c := range b.ids {
		delete(in.ids.claims, c.id)
		if b.err == nil {
			in.remember(gd, dedup.Seen{ID: c.id, Offset: b.baseOffset + int64(c.delta)}, now)
		}
	}
	if len(in.ids.claims) == 0 && in.ids.grown > keptClaims { // a map keeps the room it once had
		in.ids.claims, in.ids.grown = map[dedup.ID]claim{}, 0
	}
	if gd.state != read {
		return
	}
	if b.err == nil {
		in.advance(b)
	}
	if gd.waiting.messages.len > 0 {
		in.placeFilled(b.gather)
	}
}

// advance takes b, which is stored, into account in what is known of its partition.
func (in *Ingest) advance(b *batch) {
	gd := b.gather.guard
	if b.baseOffset > gd.known {
		gd.behind = true
	} else {
		gd.known = max(gd.known, b.baseOffset+int64(b.count))
	}
	if _, end, _, err := in.cfg.Store.Offsets(b.gather.topic.name, b.gather.partition); err == nil {
		gd.seenEnd = max(gd.seenEnd, end)
	}
}

const keptClaims = 4096

func (in *Ingest) remember(gd *guard, seen dedup.Seen, now time.Time) {
	in.ids.window.Add(seen.ID, seen.Offset, now)
	if seen.Offset > gd.last.Offset {
		gd.last = seen
	}
}
