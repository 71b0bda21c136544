package group

import (
	"fmt"
	"time"
)

// JoinRequest is a member's wish to be in the group's next generation.
type JoinRequest struct {
	Group, MemberID, InstanceID string // the ids are "" for one that has none
	ClientID, ClientHost        string
	SessionTimeout              time.Duration
	RebalanceTimeout            time.Duration
	ProtocolType                string
	Protocols                   []Protocol

	RequireMemberID   bool // the client knows that it must ask twice (KIP-394)
	CanSkipAssignment bool // and that a leader may have nothing to assign (KIP-814)
}

// JoinResult is the answer. Members are told to the leader only.
type JoinResult struct {
	Err                    error
	MemberID, LeaderID     string
	Generation             int32
	ProtocolType, Protocol string
	SkipAssignment         bool
	Members                []JoinedMember
}

// JoinedMember is a member as its leader learns of it.
type JoinedMember struct {
	MemberID, InstanceID string
	Metadata             []byte
}

// newMemberTimeout is how long a member that has never been told of a generation
// may keep the others waiting: its client may have gone, and nothing shows that
// while its request waits.
const newMemberTimeout = 5 * time.Minute

// join answers r now, or when the group's next generation begins. newID is for a
// member that has no id yet.
func (g *group) join(now time.Time, r *JoinRequest, newID string, reply func(JoinResult)) {
	w := &waiter[JoinResult]{reply}
	switch {
	case g.state == Dead:
		reply(JoinResult{MemberID: r.MemberID, Err: ErrNotAvailable})
	case !g.hasRoom(r.MemberID):
		g.drop(r.MemberID)
		reply(JoinResult{Err: fmt.Errorf("%w, %d", ErrGroupFull, g.limits.maxMembers)})
	case !g.takes(r.ProtocolType, r.Protocols):
		reply(JoinResult{MemberID: r.MemberID, Err: ErrInconsistentProtocol})
	case r.MemberID == "":
		g.joinNew(now, r, newID, w)
	default:
		g.joinAgain(now, r, w)
	}
	g.completeIfAllJoined(now)
}

// hasRoom reports whether the one who joins is a member, or may become one. While
// a group that is too large is preparing, those who come late are shed.
func (g *group) hasRoom(memberID string) bool {
	m := g.byID[memberID]
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.joining != nil || g.joined() < g.limits.maxMembers
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < g.limits.maxMembers
	default:
		return true
	}
}

// joined counts the members that wait for the next generation.
func (g *group) joined() (n int) {
	for _, m := range g.members {
		if m.joining != nil {
			n++
		}
	}
	return n
}

// joinNew takes in a member without an id.
func (g *group) joinNew(now time.Time, r *JoinRequest, newID string, w *waiter[JoinResult]) {
	switch oldID, known := g.static[r.InstanceID]; {
	case r.InstanceID != "" && known:
		g.rejoinStatic(now, r, g.byID[oldID], newID, w)
	case r.InstanceID == "" && r.RequireMemberID:
		if len(g.pending) >= g.limits.maxMembers {
			w.reply(JoinResult{Err: fmt.Errorf("%w, %d", ErrGroupFull, g.limits.maxMembers)})
			return
		}
		g.pending[newID] = now.Add(r.SessionTimeout)
		w.reply(JoinResult{MemberID: newID, Err: ErrMemberIDRequired})
	default:
		g.addAndRebalance(now, r, newID, w)
	}
}

func (g *group) addAndRebalance(now time.Time, r *JoinRequest, id string, w *waiter[JoinResult]) {
	if g.state == PreparingRebalance {
		g.joinedSince = true
	}
	m := &member{
		id: id, instanceID: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
		sessionTimeout: r.SessionTimeout, rebalanceTimeout: r.RebalanceTimeout, protocols: r.Protocols,
		fresh: true, joining: w, deadline: now.Add(newMemberTimeout),
	}
	g.add(m, r.ProtocolType)
	g.prepare(now)
}

// joinAgain takes in a member that has an id.
func (g *group) joinAgain(now time.Time, r *JoinRequest, w *waiter[JoinResult]) {
	if _, given := g.pending[r.MemberID]; given && r.InstanceID == "" {
		g.addAndRebalance(now, r, r.MemberID, w)
		return
	}
	if err := g.check(r.MemberID, r.InstanceID); err != nil {
		w.reply(JoinResult{MemberID: r.MemberID, Err: err})
		return
	}
	m := g.byID[r.MemberID]
	follows := g.state == CompletingRebalance || g.state == Stable && g.leader != m.id
	if follows && m.says(r.Protocols) {
		w.reply(g.joinedAs(m)) // the first answer did not arrive
		return
	}
	g.update(m, r, w) // news, or a leader that wants to share out again
	g.prepare(now)
}

// rejoinStatic gives the place of a static member to its next incarnation. In a
// stable group that is all, once it is stored: the others notice nothing.
func (g *group) rejoinStatic(now time.Time, r *JoinRequest, m *member, newID string, w *waiter[JoinResult]) {
	oldID, oldLeader := m.id, g.leader
	g.rename(m, newID)
	g.update(m, r, w)
	m.touch(now)
	switch {
	case g.state == PreparingRebalance:
		return
	case g.state != Stable || g.elected() != g.protocol:
		// The leader may have the old id in an assignment that it is making.
		g.prepare(now)
		return
	}
	fail := func(now time.Time, err error) {
		if m.joining != w || g.state != Stable {
			return // a rebalance has answered, or will
		}
		m.touch(now)
		m.answerJoin(JoinResult{Err: err})
		g.rename(m, oldID)
	}
	waiting := g.wait(now, fail)
	g.putMetadata((*member).assigned, func(now time.Time, err error) {
		switch {
		case !waiting.answer():
			return
		case err != nil:
			fail(now, err)
			return
		case m.joining != w || g.state != Stable:
			return
		}
		m.touch(now)
		told := g.joinedAs(m)
		told.SkipAssignment = r.CanSkipAssignment && g.leader == m.id
		if !r.CanSkipAssignment {
			// To a client that does not know SkipAssignment, another leads: an assignment
			// that it made would go nowhere.
			told.LeaderID, told.Members = oldLeader, nil
		}
		m.answerJoin(told)
	})
}

// prepare begins a rebalance, unless one is being prepared.
func (g *group) prepare(now time.Time) {
	if g.state == PreparingRebalance || g.state == Dead {
		return
	}
	if g.state == CompletingRebalance {
		g.failSync(now, ErrRebalancing)
	}
	clear(g.unsynced)
	g.gathering = g.state == Empty && g.limits.initialDelay > 0
	g.joinBy = now.Add(g.rebalanceTimeout())
	if g.gathering {
		g.joinBy = now.Add(g.limits.initialDelay)
		g.gatherLeft = max(0, g.rebalanceTimeout()-g.limits.initialDelay)
		g.joinedSince = false
	}
	g.enter(PreparingRebalance, now)
}

// completeIfAllJoined ends the preparation when nobody is left to wait for.
func (g *group) completeIfAllJoined(now time.Time) {
	if g.state == PreparingRebalance && !g.gathering && len(g.pending) == 0 && g.joined() == len(g.members) {
		g.complete(now)
	}
}

// complete ends the preparation. Dynamic members that have not joined are left
// behind; static ones keep their place until their session ends.
func (g *group) complete(now time.Time) {
	g.gathering = false
	for _, m := range g.inOrder() {
		if m.joining == nil && m.instanceID == "" {
			g.drop(m.id)
		}
	}
	if len(g.members) == 0 {
		g.generation++
		g.protocol = ""
		clear(g.unsynced)
		g.enter(Empty, now)
		if g.stored {
			g.putMetadata((*member).assigned, func(time.Time, error) {}) // without it, the members expire after a restart
		}
		return
	}
	if !g.electJoined() { // static members only, and all of them away: until their sessions end
		g.joinBy = now.Add(g.rebalanceTimeout())
		return
	}
	g.generation++
	g.rebalances++
	g.protocol = g.elected()
	g.enter(CompletingRebalance, now)
	g.syncBy = now.Add(g.rebalanceTimeout())
	clear(g.unsynced)
	for _, m := range g.members {
		m.fresh = false
		m.touch(now)
		m.answerJoin(g.joinedAs(m))
		g.unsynced[m.id] = true
	}
}

// electJoined sees to it that the leader is one of those that have joined.
func (g *group) electJoined() bool {
	if g.byID[g.leader] != nil && g.byID[g.leader].joining != nil {
		return true
	}
	for _, m := range g.members {
		if m.joining != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

// joinedAs is what m is told of this generation.
func (g *group) joinedAs(m *member) JoinResult {
	r := JoinResult{
		MemberID: m.id, LeaderID: g.leader, Generation: g.generation,
		ProtocolType: g.protocolType, Protocol: g.protocol,
	}
	if m.id != g.leader {
		return r
	}
	for _, other := range g.members {
		r.Members = append(r.Members, JoinedMember{other.id, other.instanceID, other.metadata(g.protocol)})
	}
	return r
}
