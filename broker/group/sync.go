package group

import (
	"fmt"
	"slices"
	"time"
)

// SyncRequest asks for the member's part; the leader's brings everyone's.
type SyncRequest struct {
	Group, MemberID, InstanceID string
	Generation                  int32
	ProtocolType, Protocol      string            // "" for not said
	Assignments                 map[string][]byte // by member id
}

// SyncResult is the answer.
type SyncResult struct {
	Err                    error
	ProtocolType, Protocol string
	Assignment             []byte
}

// sync answers r when the generation's assignment is stored.
func (g *group) sync(now time.Time, r *SyncRequest, reply func(SyncResult)) {
	if err := g.checkSync(r); err != nil {
		reply(SyncResult{Err: err})
		return
	}
	m := g.byID[r.MemberID]
	switch g.state {
	case PreparingRebalance:
		reply(SyncResult{Err: ErrRebalancing})
	case CompletingRebalance:
		m.answerSync(SyncResult{Err: ErrRebalancing}) // on another connection, which it has given up
		m.syncing = &waiter[SyncResult]{reply}
		delete(g.unsynced, m.id)
		if m.id == g.leader {
			g.store(now, r.Assignments)
		}
	case Stable:
		delete(g.unsynced, m.id)
		m.touch(now)
		reply(g.assigned(m))
	default:
		reply(SyncResult{Err: ErrUnknownMember})
	}
}

func (g *group) checkSync(r *SyncRequest) error {
	if g.state == Dead {
		return ErrNotAvailable
	}
	if err := g.checkGeneration(r.MemberID, r.InstanceID, r.Generation); err != nil {
		return err
	}
	if r.ProtocolType != "" && r.ProtocolType != g.protocolType {
		return fmt.Errorf("%w: its members are of type %.60q", ErrInconsistentProtocol, g.protocolType)
	}
	if r.Protocol != "" && r.Protocol != g.protocol {
		return fmt.Errorf("%w: they follow %.60q", ErrInconsistentProtocol, g.protocol)
	}
	return nil
}

// store keeps the leader's assignment and then hands it out. A member that it
// leaves out has nothing to do in this generation.
func (g *group) store(now time.Time, assignments map[string][]byte) {
	generation := g.generation
	overtaken := func() bool { // a member has come or gone meanwhile, and all join again
		return g.state != CompletingRebalance || g.generation != generation
	}
	fail := func(now time.Time, err error) {
		g.failSync(now, err)
		g.prepare(now)
	}
	waiting := g.wait(now, func(now time.Time, err error) {
		if !overtaken() {
			fail(now, err)
		}
	})
	g.putMetadata(func(m *member) []byte { return assignments[m.id] }, func(now time.Time, err error) {
		switch {
		case !waiting.answer() || overtaken():
			return
		case err != nil:
			fail(now, err)
			return
		}
		g.enter(Stable, now)
		for _, m := range g.members {
			g.assign(m, assignments[m.id])
			if m.syncing != nil {
				m.touch(now)
				m.answerSync(g.assigned(m))
			}
		}
	})
}

// failSync has everyone who waits for an assignment join again.
func (g *group) failSync(now time.Time, err error) {
	for _, m := range g.members {
		g.assign(m, nil)
		if m.syncing != nil {
			m.touch(now)
			m.answerSync(SyncResult{Err: err})
		}
	}
}

func (g *group) assigned(m *member) SyncResult {
	return SyncResult{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// inOrder is the members, in a slice of its own: for loops that drop some.
func (g *group) inOrder() []*member { return slices.Clone(g.members) }
