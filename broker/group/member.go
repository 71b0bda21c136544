package group

import (
	"bytes"
	"slices"
	"time"
)

// Protocol is a way to share partitions out, by its name, and what a member says
// for it: for consumers, the topics that it is subscribed to.
type Protocol struct {
	Name     string
	Metadata []byte
}

// waiter is a request that is not answered yet.
type waiter[T any] struct{ reply func(T) }

// member is one of a group.
type member struct {
	id                   string
	instanceID           string // "" for a dynamic member
	clientID, clientHost string
	sessionTimeout       time.Duration
	rebalanceTimeout     time.Duration
	protocols            []Protocol // the first is liked best
	assignment           []byte

	fresh    bool                // has not been told of a generation yet
	joining  *waiter[JoinResult] // nil while it has not asked
	syncing  *waiter[SyncResult]
	deadline time.Time // when it counts as gone; not while it waits for an answer
	bytes    int64     // as the group has counted it
}

// memberBytes is what a member takes beside its texts.
const memberBytes = 512

func (m *member) size() int64 {
	n := memberBytes + len(m.id) + len(m.instanceID) + len(m.clientID) + len(m.clientHost) + len(m.assignment)
	return int64(n) + protocolBytes(m.protocols)
}

func protocolBytes(protocols []Protocol) int64 {
	n := 0
	for _, p := range protocols {
		n += 64 + len(p.Name) + len(p.Metadata)
	}
	return int64(n)
}

// metadata is what the member says for a protocol, nil when it does not know it.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// says reports whether the member would join with the same words again.
func (m *member) says(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func (m *member) assigned() []byte { return m.assignment }

// touch begins the member's session anew.
func (m *member) touch(now time.Time) { m.deadline = now.Add(m.sessionTimeout) }

// mayExpire reports whether the deadline counts. A member that waits for an answer
// cannot send heartbeats on that connection; only one that was never told its
// generation may be a client that has long gone.
func (m *member) mayExpire() bool { return m.fresh || m.joining == nil && m.syncing == nil }

func (m *member) answerJoin(r JoinResult) {
	if w := m.joining; w != nil {
		m.joining = nil
		w.reply(r)
	}
}

func (m *member) answerSync(r SyncResult) {
	if w := m.syncing; w != nil {
		m.syncing = nil
		w.reply(r)
	}
}
