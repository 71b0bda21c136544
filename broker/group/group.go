package group

import (
	"fmt"
	"slices"
	"time"
)

// limits is the part of Config that a group's rules need.
type limits struct {
	initialDelay time.Duration
	maxMembers   int
	storeTimeout time.Duration // 0 for none
}

// group is one group's state and the rules by which it changes, those of Kafka's
// classic protocol. It does no I/O and knows no clock: each rule is told the time,
// what must be stored is queued in puts, and answers go to functions that must not
// block. Whoever owns a group calls one method at a time.
type group struct {
	id     string
	limits limits

	state        State
	since        stamp // when it came to be in that state
	generation   int32
	protocolType string // "" before the first member: a group that only has offsets
	protocol     string // that all follow in this generation; "" while there is none
	leader       string

	members   []*member // in the order in which they joined
	byID      map[string]*member
	static    map[string]string    // member id by instance id
	supported map[string]int       // how many members know a protocol
	pending   map[string]time.Time // ids that were given out and not joined with (KIP-394), until when
	unsynced  map[string]bool      // members that know this generation and have not asked for their assignment

	joinBy      time.Time     // PreparingRebalance: when those that have not joined are left behind
	gathering   bool          // PreparingRebalance: the first members of an empty group are waited for
	gatherLeft  time.Duration // how much longer that may be drawn out
	joinedSince bool          // someone came while gathering
	syncBy      time.Time     // when unsynced members are left behind

	offsets     map[TopicPartition]offset
	uncommitted map[TopicPartition]int // commits that are on their way to the disk

	doubtful   bool // the time of day is not known to be right; its owner keeps that true
	puts       []put
	patient    []*patience // who waits for what is being stored, the longest first
	stored     bool        // the log has, or may have, a record of the group itself
	gone       bool        // deleted, in the log too
	rebalances int64       // completed
	bytes      int64       // of members and offsets, about
}

// put is what is to be stored, as one batch, and what happens then: baseOffset is
// where in the log it is, unless there is an error.
type put struct {
	records  []entry
	doubtful bool // when it was said, the time of day was not known to be right
	done     func(now time.Time, baseOffset int64, err error)
}

func newGroup(id string, l limits, now time.Time) *group {
	return &group{
		id: id, limits: l, since: stamp{now.UnixMilli(), true, now},
		byID: map[string]*member{}, static: map[string]string{}, supported: map[string]int{},
		pending: map[string]time.Time{}, unsynced: map[string]bool{},
		offsets: map[TopicPartition]offset{}, uncommitted: map[TopicPartition]int{},
	}
}

func (g *group) put(records []entry, done func(now time.Time, baseOffset int64, err error)) {
	g.puts = append(g.puts, put{records, g.doubtful, done})
}

func (g *group) enter(s State, now time.Time) { g.state, g.since = s, g.stamp(now) }

// idle reports whether the group is of no use any more.
func (g *group) idle() bool {
	return g.state == Empty && len(g.pending) == 0 && len(g.offsets) == 0 && len(g.uncommitted) == 0
}

// putMetadata stores the group itself, with the assignments that are given.
func (g *group) putMetadata(assignment func(*member) []byte, done func(now time.Time, err error)) {
	g.stored = true
	g.put([]entry{g.metadataRecord(assignment)}, func(now time.Time, _ int64, err error) { done(now, err) })
}

// delete forgets a group without members, in the log first.
func (g *group) delete(reply func(error)) {
	switch g.state {
	case Dead:
		reply(ErrUnknownGroup)
		return
	case Empty:
	default:
		reply(ErrNotEmpty)
		return
	}
	g.state = Dead
	tombstones := []entry{{key: groupKey(g.id)}}
	for tp := range g.offsets {
		tombstones = append(tombstones, entry{key: offsetKey(g.id, tp)})
	}
	for tp := range g.uncommitted {
		tombstones = append(tombstones, entry{key: offsetKey(g.id, tp)})
	}
	g.put(tombstones, func(_ time.Time, _ int64, err error) {
		if g.gone = err == nil; !g.gone {
			g.state = Empty
		}
		reply(err)
	})
}

// add takes m in. The first member leads, and says what kind of group it is.
func (g *group) add(m *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType = protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	if m.instanceID != "" {
		g.static[m.instanceID] = m.id
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	g.count(m.protocols, 1)
	delete(g.pending, m.id)
	g.weigh(m)
}

// drop takes the member of that id, if there is one, out; also one that has not
// joined yet. If it led, the member that is there longest leads.
func (g *group) drop(id string) {
	delete(g.pending, id)
	delete(g.unsynced, id)
	m := g.byID[id]
	if m == nil {
		return
	}
	g.members = slices.DeleteFunc(g.members, func(have *member) bool { return have == m })
	delete(g.byID, id)
	if g.static[m.instanceID] == id {
		delete(g.static, m.instanceID)
	}
	g.count(m.protocols, -1)
	g.bytes -= m.bytes
	if g.leader == id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// rename gives the static member another id, as a restarted instance has. Whoever
// goes on with the old one is told so.
func (g *group) rename(m *member, id string) {
	m.answerJoin(JoinResult{MemberID: m.id, Err: ErrFenced})
	m.answerSync(SyncResult{Err: ErrFenced})
	delete(g.byID, m.id)
	delete(g.unsynced, m.id)
	if g.leader == m.id {
		g.leader = id
	}
	m.id = id
	g.byID[id] = m
	g.static[m.instanceID] = id
	g.weigh(m)
}

// update takes over what a member says of itself when it joins again.
func (g *group) update(m *member, r *JoinRequest, w *waiter[JoinResult]) {
	g.count(m.protocols, -1)
	m.protocols, m.sessionTimeout, m.rebalanceTimeout = r.Protocols, r.SessionTimeout, r.RebalanceTimeout
	g.count(m.protocols, 1)
	m.answerJoin(JoinResult{MemberID: m.id, Err: ErrRebalancing}) // on another connection, which it has given up
	m.joining = w
	g.weigh(m)
}

func (g *group) count(protocols []Protocol, by int) {
	for _, p := range protocols {
		if g.supported[p.Name] += by; g.supported[p.Name] <= 0 {
			delete(g.supported, p.Name)
		}
	}
}

func (g *group) weigh(m *member) {
	size := m.size()
	g.bytes += size - m.bytes
	m.bytes = size
}

func (g *group) assign(m *member, assignment []byte) {
	m.assignment = assignment
	g.weigh(m)
}

// takes reports whether a member with these protocols can join the others.
func (g *group) takes(protocolType string, protocols []Protocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(protocols, func(p Protocol) bool {
		return g.common(p.Name)
	})
}

// common reports whether every member knows the protocol.
func (g *group) common(protocol string) bool { return g.supported[protocol] == len(g.members) }

// elected is the protocol for the next generation: each member votes for the one
// that it likes best of those that all know. Where two have as many votes, the one
// wins that was voted for first, so that every member counts the same.
func (g *group) elected() string {
	votes := map[string]int{}
	best := ""
	var order []string
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.common(p.Name) {
				if votes[p.Name] == 0 {
					order = append(order, p.Name)
				}
				votes[p.Name]++
				break
			}
		}
	}
	for _, name := range order {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// check holds a member and its instance id against the group.
func (g *group) check(memberID, instanceID string) error {
	if instanceID != "" {
		switch current, ok := g.static[instanceID]; {
		case !ok:
			return fmt.Errorf("%w: no member has the group.instance.id %.60q", ErrUnknownMember, instanceID)
		case current != memberID:
			return fmt.Errorf("%w: %.60q", ErrFenced, instanceID)
		}
	}
	if g.byID[memberID] == nil {
		return fmt.Errorf("%w: %.60q", ErrUnknownMember, memberID)
	}
	return nil
}

// checkGeneration is check for requests that belong to a generation.
func (g *group) checkGeneration(memberID, instanceID string, generation int32) error {
	if err := g.check(memberID, instanceID); err != nil {
		return err
	}
	if generation != g.generation {
		return fmt.Errorf("%w: %d, it is at %d", ErrIllegalGeneration, generation, g.generation)
	}
	return nil
}

// rebalanceTimeout is the longest that any member asks for.
func (g *group) rebalanceTimeout() (longest time.Duration) {
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}
