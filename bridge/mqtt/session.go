package mqtt

import (
	"sync"

	mochi "github.com/mochi-mqtt/server/v2"
)

// session is what outlives a connection: QoS 2 is exactly once across them, and what
// waits for the client keeps its order.
type session struct {
	mu       sync.Mutex          // guards below
	waiting  map[uint16]*publish // by packet id: taken, without a PUBREC
	received map[uint16]bool     // with a PUBREC, without a PUBREL
	ages     map[uint16]uint64   // of what goes out, by packet id
	age      uint64              // the last one
}

func newSession() *session {
	return &session{waiting: map[uint16]*publish{}, received: map[uint16]bool{}, ages: map[uint16]uint64{}}
}

// conclude ends the time before the PUBREC of a QoS 2 publish.
func (ss *session) conclude(p *publish, stored bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.waiting[p.id] != p {
		return // a connection has concluded it already, or it was refused before it was taken
	}
	delete(ss.waiting, p.id)
	if stored {
		ss.received[p.id] = true
	}
}

// grow gives a message that goes out its age, and forgets those that have gone.
func (ss *session) grow(id uint16, inflight *mochi.Inflight) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if len(ss.ages) >= agesToSpare+2*inflight.Len() {
		for id := range ss.ages {
			if _, waits := inflight.Get(id); !waits {
				delete(ss.ages, id)
			}
		}
	}
	ss.age++
	ss.ages[id] = ss.age
}

const agesToSpare = 64

// ageOf is 0 for what is older than all that have one.
func (ss *session) ageOf(id uint16) uint64 {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.ages[id]
}
