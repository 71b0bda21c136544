package group

import (
	"fmt"
	"time"
)

// HeartbeatRequest says that a member is alive.
type HeartbeatRequest struct {
	Group, MemberID, InstanceID string
	Generation                  int32
}

func (g *group) heartbeat(now time.Time, r *HeartbeatRequest) error {
	if g.state == Dead {
		return ErrNotAvailable
	}
	if err := g.checkGeneration(r.MemberID, r.InstanceID, r.Generation); err != nil {
		return err
	}
	g.byID[r.MemberID].touch(now)
	if g.state == PreparingRebalance {
		return ErrRebalancing
	}
	return nil
}

// LeavingMember is one that leaves; with an instance id alone, an operator takes
// out a static member.
type LeavingMember struct{ MemberID, InstanceID string }

// leave takes members out, each on its own: errs are theirs.
func (g *group) leave(now time.Time, leaving []LeavingMember) (errs []error) {
	for _, l := range leaving {
		errs = append(errs, g.leaveOne(now, l))
	}
	g.completeIfAllJoined(now)
	return errs
}

func (g *group) leaveOne(now time.Time, l LeavingMember) error {
	if l.MemberID == "" {
		id, ok := g.static[l.InstanceID]
		if !ok {
			return fmt.Errorf("%w: no member has the group.instance.id %.60q", ErrUnknownMember, l.InstanceID)
		}
		g.remove(now, g.byID[id])
		return nil
	}
	if _, ok := g.pending[l.MemberID]; ok {
		delete(g.pending, l.MemberID)
		return nil
	}
	if err := g.check(l.MemberID, l.InstanceID); err != nil {
		return err
	}
	g.remove(now, g.byID[l.MemberID])
	return nil
}

// remove takes m out, and has the others share out what it had.
func (g *group) remove(now time.Time, m *member) {
	m.answerJoin(JoinResult{Err: ErrUnknownMember})
	m.answerSync(SyncResult{Err: ErrUnknownMember})
	g.drop(m.id)
	if g.state == Stable || g.state == CompletingRebalance {
		g.prepare(now)
	}
}

// expire does what is due at now.
func (g *group) expire(now time.Time) {
	g.impatient(now)
	for id, until := range g.pending {
		if !until.After(now) {
			delete(g.pending, id)
		}
	}
	for _, m := range g.inOrder() {
		if m.mayExpire() && !m.deadline.After(now) {
			g.remove(now, m)
		}
	}
	switch g.state {
	case PreparingRebalance:
		if !g.joinBy.After(now) {
			g.joinDue(now)
		}
	case CompletingRebalance, Stable:
		if len(g.unsynced) > 0 && !g.syncBy.After(now) {
			for _, m := range g.inOrder() {
				if g.unsynced[m.id] {
					g.drop(m.id)
				}
			}
			g.prepare(now)
		}
	}
	g.completeIfAllJoined(now)
}

// joinDue ends the wait for members to join. The first ones of a group are given
// more time as long as others come, so that they share out once and not one by
// one.
func (g *group) joinDue(now time.Time) {
	if g.gathering && g.joinedSince && g.gatherLeft > 0 {
		more := min(g.limits.initialDelay, g.gatherLeft)
		g.joinedSince = false
		g.gatherLeft -= more
		g.joinBy = now.Add(more)
		return
	}
	g.complete(now)
}

// due is when expire has something to do, zero for never. Heartbeats only make it
// later.
func (g *group) due() (at time.Time) {
	earliest := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if p := g.longest(); p != nil {
		earliest(p.until)
	}
	for _, until := range g.pending {
		earliest(until)
	}
	for _, m := range g.members {
		if m.mayExpire() {
			earliest(m.deadline)
		}
	}
	switch {
	case g.state == PreparingRebalance:
		earliest(g.joinBy)
	case len(g.unsynced) > 0:
		earliest(g.syncBy)
	}
	return at
}
