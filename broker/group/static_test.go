package group

import (
	"testing"
	"time"
)

// A static member that restarts takes its place again without anyone noticing,
// also the leader, which is told that it has nothing to assign; and its former
// self is fenced.
func TestStaticRejoins(t *testing.T) {
	for _, who := range []string{"static0", "static1"} {
		for _, skips := range []bool{true, false} {
			s := stable(t, "static0", "static1")
			r := named(who)
			r.CanSkipAssignment = skips
			a := s.joins(r, "next")
			a.open() // until it is stored: else a restart of the broker would fence it
			s.store()
			got := a.one()
			leads := who == "static0"
			if got.Err != nil || got.MemberID != "next" || got.Generation != 1 || s.state != Stable {
				t.Fatalf("%s: %+v, %v", who, got, s.state)
			}
			if got.SkipAssignment != (leads && skips) || (len(got.Members) > 0) != (leads && skips) {
				t.Errorf("%s, knows how to skip %v: told to skip %v, of %d members", who, skips, got.SkipAssignment, len(got.Members))
			}
			if seesItselfLead := got.LeaderID == "next"; seesItselfLead != (leads && skips) {
				t.Errorf("%s, knows how to skip %v: told that %q leads", who, skips, got.LeaderID)
			}
			if got := s.syncs("next", 1, nil).one(); string(got.Assignment) != "part of "+who {
				t.Errorf("%s: its part is %q", who, got.Assignment)
			}
			old := s.heartbeat(s.now, &HeartbeatRequest{MemberID: who, InstanceID: who, Generation: 1})
			want(t, "heartbeat of its former self", old, ErrFenced)
			want(t, "heartbeat of the other", s.beats("static1", 1), map[bool]error{true: nil, false: ErrUnknownMember}[leads])
		}
	}
}

// When its new id cannot be stored, it is told so, and the old one holds.
func TestStaticNotStored(t *testing.T) {
	s := stable(t, "static0", "static1")
	a := s.joins(named("static0"), "next")
	s.fail()
	want(t, "join", a.one().Err, errDisk)
	want(t, "heartbeat with the old id", s.beats("static0", 1), nil)
	if s.leader != "static0" {
		t.Errorf("leader %q", s.leader)
	}
}

// With another protocol, or while an assignment is being made, the others must
// join again: the leader may have the old id in its hand.
func TestStaticRejoinsWithNews(t *testing.T) {
	s := stable(t, "static0")
	r := named("static0")
	r.Protocols = []Protocol{{"sticky", nil}, {"range", nil}}
	s.joins(r, "next")
	if s.state != CompletingRebalance || s.protocol != "sticky" {
		t.Errorf("state %v, protocol %q, want a new generation with sticky", s.state, s.protocol)
	}

	s = completing(t, "static0", "static1")
	waiting := s.syncs("static1", 1, nil)
	s.joins(named("static1"), "next")
	want(t, "its former self, which waited", waiting.one().Err, ErrFenced)
	if s.state != PreparingRebalance {
		t.Errorf("state %v, want %v", s.state, PreparingRebalance)
	}
}

// A static member that does not join again keeps its place in the next generation,
// and loses it when it has not asked for its part in time.
func TestStaticStaysAway(t *testing.T) {
	s := stable(t, "a", "static1")
	r := request("a")
	r.RebalanceTimeout, r.Protocols = 4*time.Second, []Protocol{{"range", reads("oven")}}
	s.byID["static1"].rebalanceTimeout = 4 * time.Second
	a := s.joins(r, "")
	s.pass(4 * time.Second)
	if got := a.one(); got.Generation != 2 || len(got.Members) != 2 {
		t.Fatalf("joined as %+v, want generation 2 with both", got)
	}
	s.syncs("a", 2, nil)
	s.store()
	s.pass(4*time.Second - 1)
	want(t, "leader", s.beats("a", 2), nil)
	s.pass(1)
	if want(t, "leader", s.beats("a", 2), ErrRebalancing); s.byID["static1"] != nil {
		t.Error("the one who stayed away is a member for ever")
	}
}
