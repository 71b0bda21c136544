package api

import (
	"time"

	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// fetchTarget names a partition as its client does: by the topic's name before
// version 13 of Fetch, by its id from then on.
type fetchTarget struct {
	topic string
	id    topic.ID
	index int32
}

// sameTopic reports whether both are of one topic.
func (t fetchTarget) sameTopic(other fetchTarget) bool {
	return t.topic == other.topic && t.id == other.id
}

// fetchAsk is what a client wants of a partition.
type fetchAsk struct {
	fetchTarget
	offset      int64 // to read from
	leaderEpoch int32 // that it believes in; -1: none
	maxBytes    int32

	lastEpoch      int32 // of a follower's last batch; -1: not told
	logStartOffset int64 // of a follower's log
}

// fetchSession is what the broker remembers of one consumer's partitions, so that
// its requests name only those that it wants changed, and the answers only those
// with news (KIP-227). Its cache's lock guards it.
type fetchSession struct {
	id      int32
	epoch   int32 // that the next request must have
	byID    bool  // partitions are named by their topics' ids
	created time.Time
	used    time.Time

	parts   map[fetchTarget]*sessionPart
	first   *sessionPart // in the order in which they are read
	last    *sessionPart
	bytes   int64         // that it counts for
	current chan struct{} // closed when the latest fetch over it is so no longer; nil before the first
}

// sessionPart is one partition of a session.
type sessionPart struct {
	ask        fetchAsk
	told       toldOffsets
	prev, next *sessionPart
}

// toldOffsets are those that a client was told last of a partition. It starts at
// what no partition has, so that the first answer tells all.
type toldOffsets struct {
	highWatermark, logStartOffset int64
}

var untold = toldOffsets{-1, -1}

// sessionPartBytes is what a partition of a session takes of memory, beside its
// topic's name, together with what a fetch over the session adds while it waits.
const sessionPartBytes = 450

func (t fetchTarget) bytes() int64 { return sessionPartBytes + int64(len(t.topic)) }

// nextEpoch follows epoch. It wraps to 1: 0 is for a request that wants a new
// session.
func nextEpoch(epoch int32) int32 {
	if epoch == 1<<31-1 {
		return 1
	}
	return epoch + 1
}

func newFetchSession(id int32, byID bool, now time.Time) *fetchSession {
	return &fetchSession{id: id, epoch: 1, byID: byID, created: now, used: now, parts: map[fetchTarget]*sessionPart{}}
}

// want adds a partition at the end or changes what is asked of it.
func (s *fetchSession) want(ask fetchAsk) *sessionPart {
	p, ok := s.parts[ask.fetchTarget]
	if !ok {
		p = &sessionPart{told: untold}
		s.parts[ask.fetchTarget] = p
		s.bytes += ask.bytes()
		s.push(p)
	}
	p.ask = ask
	return p
}

// forget removes a partition, if it is there.
func (s *fetchSession) forget(target fetchTarget) {
	if p, ok := s.parts[target]; ok {
		delete(s.parts, target)
		s.bytes -= target.bytes()
		s.cut(p)
	}
}

// asks lists what is asked of every partition, in order.
func (s *fetchSession) asks() []fetchAsk {
	out := make([]fetchAsk, 0, len(s.parts))
	for p := s.first; p != nil; p = p.next {
		out = append(out, p.ask)
	}
	return out
}

// news reports whether got has anything to tell beyond what was told, and takes it
// for told. A partition whose records are told goes to the end, so that the next
// answer, which may not have room for all, begins with others.
func (s *fetchSession) news(target fetchTarget, got *wire.FetchedPartition) bool {
	p, ok := s.parts[target]
	if !ok {
		return false // nobody asks for it any more
	}
	now := toldOffsets{got.HighWatermark, got.LogStartOffset}
	hasNews := len(got.Records) > 0 || got.Code != wire.None || got.Redirected || got.Diverging != nil || now != p.told
	if p.told = now; got.Code != wire.None {
		p.told.highWatermark = untold.highWatermark // that the error has gone will be news too
	}
	if len(got.Records) > 0 {
		s.cut(p)
		s.push(p)
	}
	return hasNews
}

// push puts p, which is in no list, at the end.
func (s *fetchSession) push(p *sessionPart) {
	p.prev, p.next = s.last, nil
	if s.last == nil {
		s.first = p
	} else {
		s.last.next = p
	}
	s.last = p
}

// cut takes p off the list.
func (s *fetchSession) cut(p *sessionPart) {
	if p.prev == nil {
		s.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		s.last = p.prev
	} else {
		p.next.prev = p.prev
	}
}

// supersede ends the wait of the fetch that was the latest, and returns what ends
// the wait of the one that now is. So a session's fetches take memory once.
func (s *fetchSession) supersede() <-chan struct{} {
	if s.current != nil {
		close(s.current)
	}
	s.current = make(chan struct{})
	return s.current
}
