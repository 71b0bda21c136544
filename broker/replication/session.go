package replication

import (
	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// want is what is asked of a leader for one partition.
type want struct {
	cluster.TopicPartition
	id             topic.ID
	leaderEpoch    int32
	offset         int64 // all before it is safe here
	lastEpoch      int32 // of the last batch here; -1: none
	logStartOffset int64
}

// session is what the leader remembers of this follower's wants, so that a fetch
// names only what has changed (KIP-227). The zero value is none: then a fetch names
// all, and asks for one.
type session struct {
	id    int32
	epoch int32 // of the next fetch; 0 begins a session
	byID  bool  // topics are named by their ids
	known map[cluster.TopicPartition]want
}

// request is what a fetch says over a session.
type request struct {
	id, epoch int32
	wants     []want // all, or those that the leader does not know so
	forgotten []want // that the leader is to forget
}

// next returns the fetch for wants, and takes it for sent.
func (s *session) next(wants []want, byID bool) request {
	if s.byID != byID {
		s.broken()
	}
	if s.epoch == 0 {
		s.known, s.byID = make(map[cluster.TopicPartition]want, len(wants)), byID
		for _, w := range wants {
			s.known[w.TopicPartition] = w
		}
		return request{id: s.id, wants: wants}
	}
	r := request{id: s.id, epoch: s.epoch}
	for _, w := range wants {
		switch known, ok := s.known[w.TopicPartition]; {
		case ok && known == w:
			continue
		case ok && known.id != w.id && byID: // another topic, of the same name
			r.forgotten = append(r.forgotten, known)
		}
		s.known[w.TopicPartition] = w
		r.wants = append(r.wants, w)
	}
	if len(s.known) > len(wants) { // all of wants are known by now
		r.forgotten = append(r.forgotten, s.drop(wants)...)
	}
	return r
}

// drop returns what is known and not wanted, and has it known no more.
func (s *session) drop(wants []want) (dropped []want) {
	wanted := make(map[cluster.TopicPartition]bool, len(wants))
	for _, w := range wants {
		wanted[w.TopicPartition] = true
	}
	for tp, known := range s.known {
		if !wanted[tp] {
			dropped = append(dropped, known)
			delete(s.known, tp)
		}
	}
	return dropped
}

// answered takes the session that an answer named, 0 when the leader keeps none.
func (s *session) answered(id int32) {
	switch {
	case id == 0:
		*s = session{}
	case s.epoch == 1<<31-1:
		s.id, s.epoch = id, 1
	default:
		s.id, s.epoch = id, s.epoch+1
	}
}

// broken begins anew: the leader may or may not have taken the last fetch in. The id
// tells it which session that replaces.
func (s *session) broken() { *s = session{id: s.id} }

// lost begins anew: the leader does not have the session any more.
func (s *session) lost() { *s = session{} }
