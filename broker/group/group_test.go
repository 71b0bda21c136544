package group

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Two members join, learn who leads and what each reads, and nobody learns of an
// assignment that is not stored.
func TestFirstGeneration(t *testing.T) {
	s := newSim(t)
	r := request("")
	r.RequireMemberID = true
	given := s.joins(r, "a").one()
	if want(t, "without an id", given.Err, ErrMemberIDRequired); given.MemberID != "a" {
		t.Errorf("was given %q, want %q", given.MemberID, "a")
	}
	a := s.joins(request("a"), "")
	b := s.joins(request(""), "b") // a client that does not know KIP-394
	a.open()
	s.pass(3 * time.Second)
	a.open() // b came while the group waited, so it waits on
	s.pass(3 * time.Second)

	leader, follower := a.one(), b.one()
	for _, got := range []JoinResult{leader, follower} {
		if got.Err != nil || got.Generation != 1 || got.LeaderID != "a" || got.Protocol != "range" || got.ProtocolType != "consumer" || got.SkipAssignment {
			t.Errorf("joined as %+v", got)
		}
	}
	if len(follower.Members) != 0 || len(leader.Members) != 2 || !bytes.Equal(leader.Members[1].Metadata, reads("press")) {
		t.Errorf("the leader learns of %v, the follower of %v", leader.Members, follower.Members)
	}
	syncB := s.syncs("b", 1, nil)
	syncA := s.syncs("a", 1, map[string][]byte{"a": []byte("0"), "stranger": []byte("1")})
	syncA.open()
	syncB.open()
	s.store()
	if got := syncA.one(); got.Err != nil || string(got.Assignment) != "0" || got.Protocol != "range" {
		t.Errorf("the leader got %+v", got)
	}
	if got := syncB.one(); got.Err != nil || len(got.Assignment) != 0 {
		t.Errorf("one whom the leader left out got %+v, want nothing to do", got)
	}
	want(t, "heartbeat", s.beats("b", 1), nil)
}

// What each request is answered in each state, as Kafka's coordinator answers it.
func TestAnswersByState(t *testing.T) {
	states := map[string]func(*testing.T) *sim{
		"Empty": func(t *testing.T) *sim {
			s := stable(t, "a")
			s.leave(s.now, []LeavingMember{{MemberID: "a"}})
			s.store()
			return s
		},
		"Preparing": func(t *testing.T) *sim {
			s := stable(t, "a", "b", "static1")
			s.joins(request("a"), "") // the leader wants to share out again
			return s
		},
		"Completing": func(t *testing.T) *sim { return completing(t, "a", "b", "static1") },
		"Stable":     func(t *testing.T) *sim { return stable(t, "a", "b", "static1") },
		"Dead": func(t *testing.T) *sim {
			s := newSim(t)
			s.delete(func(error) {})
			return s
		},
	}
	fresh := errors.New("waits for an answer")
	joins := func(r JoinRequest) func(*sim) error {
		return func(s *sim) error {
			if a := s.joins(r, "new"); len(a.got) > 0 {
				return a.got[0].Err
			}
			return fresh
		}
	}
	syncs := func(id string, behind int32, change func(*SyncRequest)) func(*sim) error {
		return func(s *sim) error {
			a := &answer[SyncResult]{t: s.t}
			r := &SyncRequest{MemberID: id, Generation: s.generation - behind, ProtocolType: "consumer", Protocol: s.protocol}
			if change != nil {
				change(r)
			}
			if s.sync(s.now, r, a.reply); len(a.got) > 0 {
				return a.got[0].Err
			}
			return fresh
		}
	}
	commits := func(id, instance string, generation func(*sim) int32) func(*sim) error {
		return func(s *sim) error {
			a := &answer[error]{t: s.t}
			s.commit(s.now, &CommitRequest{MemberID: id, InstanceID: instance, Generation: generation(s), Offsets: []Offset{at(0, 5)}}, a.reply)
			s.store()
			return a.one()
		}
	}
	beats := func(id, instance string, behind int32) func(*sim) error {
		return func(s *sim) error {
			return s.heartbeat(s.now, &HeartbeatRequest{MemberID: id, InstanceID: instance, Generation: s.generation - behind})
		}
	}
	leaves := func(l LeavingMember) func(*sim) error {
		return func(s *sim) error { return s.leaveOne(s.now, l) }
	}
	ours := func(s *sim) int32 { return s.generation }
	stale := func(s *sim) int32 { return s.generation - 1 }
	none := func(*sim) int32 { return -1 }
	other := func(change func(*JoinRequest)) JoinRequest {
		r := request("")
		change(&r)
		return r
	}

	type row [5]error // Empty, Preparing, Completing, Stable, Dead
	for name, tc := range map[string]struct {
		ask  func(*sim) error
		want row
	}{
		"join, new":                {joins(request("")), row{fresh, fresh, fresh, fresh, ErrNotAvailable}},
		"join, unknown id":         {joins(request("x")), row{ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrNotAvailable}},
		"join, same words":         {joins(request("b")), row{ErrUnknownMember, fresh, nil, nil, ErrNotAvailable}},
		"join, other words":        {joins(other(func(r *JoinRequest) { r.MemberID, r.Protocols = "b", []Protocol{{"range", reads("oven")}} })), row{ErrUnknownMember, fresh, fresh, fresh, ErrNotAvailable}},
		"join, other protocol":     {joins(other(func(r *JoinRequest) { r.Protocols = []Protocol{{Name: "sticky"}} })), row{fresh, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrNotAvailable}},
		"join, other type":         {joins(other(func(r *JoinRequest) { r.ProtocolType = "connect" })), row{fresh, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrNotAvailable}},
		"join, no protocol":        {joins(other(func(r *JoinRequest) { r.Protocols = nil })), row{ErrInconsistentProtocol, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrNotAvailable}},
		"join, other's instance":   {joins(other(func(r *JoinRequest) { r.MemberID, r.InstanceID = "b", "static1" })), row{ErrUnknownMember, ErrFenced, ErrFenced, ErrFenced, ErrNotAvailable}},
		"join, unknown instance":   {joins(other(func(r *JoinRequest) { r.MemberID, r.InstanceID = "b", "static9" })), row{ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrNotAvailable}},
		"sync":                     {syncs("b", 0, nil), row{ErrUnknownMember, ErrRebalancing, fresh, nil, ErrNotAvailable}},
		"sync, unknown id":         {syncs("x", 0, nil), row{ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrNotAvailable}},
		"sync, stale":              {syncs("b", 1, nil), row{ErrUnknownMember, ErrIllegalGeneration, ErrIllegalGeneration, ErrIllegalGeneration, ErrNotAvailable}},
		"sync, other's instance":   {syncs("b", 0, func(r *SyncRequest) { r.InstanceID = "static1" }), row{ErrUnknownMember, ErrFenced, ErrFenced, ErrFenced, ErrNotAvailable}},
		"sync, other type":         {syncs("b", 0, func(r *SyncRequest) { r.ProtocolType = "connect" }), row{ErrUnknownMember, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrNotAvailable}},
		"sync, other protocol":     {syncs("b", 0, func(r *SyncRequest) { r.Protocol = "sticky" }), row{ErrUnknownMember, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrInconsistentProtocol, ErrNotAvailable}},
		"heartbeat":                {beats("b", "", 0), row{ErrUnknownMember, ErrRebalancing, nil, nil, ErrNotAvailable}},
		"heartbeat, unknown id":    {beats("x", "", 0), row{ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrNotAvailable}},
		"heartbeat, stale":         {beats("b", "", 1), row{ErrUnknownMember, ErrIllegalGeneration, ErrIllegalGeneration, ErrIllegalGeneration, ErrNotAvailable}},
		"heartbeat, instance":      {beats("b", "static1", 0), row{ErrUnknownMember, ErrFenced, ErrFenced, ErrFenced, ErrNotAvailable}},
		"commit":                   {commits("b", "", ours), row{ErrUnknownMember, nil, ErrRebalancing, nil, ErrNotAvailable}},
		"commit, unknown id":       {commits("x", "", ours), row{ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrNotAvailable}},
		"commit, stale":            {commits("b", "", stale), row{ErrUnknownMember, ErrIllegalGeneration, ErrIllegalGeneration, ErrIllegalGeneration, ErrNotAvailable}},
		"commit, other's instance": {commits("b", "static1", ours), row{ErrUnknownMember, ErrFenced, ErrFenced, ErrFenced, ErrNotAvailable}},
		"commit, no member":        {commits("", "", none), row{nil, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrNotAvailable}},
		"leave":                    {leaves(LeavingMember{MemberID: "b"}), row{ErrUnknownMember, nil, nil, nil, ErrUnknownMember}},
		"leave, unknown id":        {leaves(LeavingMember{MemberID: "x"}), row{ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember}},
		"leave, by instance":       {leaves(LeavingMember{InstanceID: "static1"}), row{ErrUnknownMember, nil, nil, nil, ErrUnknownMember}},
		"leave, unknown instance":  {leaves(LeavingMember{InstanceID: "static9"}), row{ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember}},
		"leave, other's instance":  {leaves(LeavingMember{MemberID: "b", InstanceID: "static1"}), row{ErrUnknownMember, ErrFenced, ErrFenced, ErrFenced, ErrUnknownMember}},
		"delete": {func(s *sim) error {
			a := &answer[error]{t: s.t}
			s.delete(a.reply)
			s.store()
			return a.one()
		}, row{nil, ErrNotEmpty, ErrNotEmpty, ErrNotEmpty, ErrUnknownGroup}},
	} {
		for i, state := range []string{"Empty", "Preparing", "Completing", "Stable", "Dead"} {
			s := states[state](t)
			want(t, fmt.Sprintf("%s: %s", state, name), tc.ask(s), tc.want[i])
		}
	}
}

// The protocol is the one that most members like best of those that all know.
func TestVotes(t *testing.T) {
	for name, tc := range map[string]struct {
		members [][]string
		want    string
	}{
		"alone":           {[][]string{{"sticky", "range"}}, "sticky"},
		"commonOnly":      {[][]string{{"sticky", "range"}, {"range"}}, "range"},
		"majority":        {[][]string{{"sticky", "range"}, {"range", "sticky"}, {"range", "sticky"}}, "range"},
		"firstOfEqual":    {[][]string{{"sticky", "range"}, {"range", "sticky"}}, "sticky"},
		"uncommonIsNoTie": {[][]string{{"own", "range", "sticky"}, {"sticky", "range"}, {"range", "sticky"}}, "range"},
	} {
		s := newSim(t)
		for i, names := range tc.members {
			m := &member{id: fmt.Sprint(i)}
			for _, n := range names {
				m.protocols = append(m.protocols, Protocol{Name: n})
			}
			s.add(m, "consumer")
		}
		if got := s.elected(); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// A member that is silent for its session timeout is left behind, and the others
// join again; while it waits for an answer it cannot speak, and is not.
func TestSessionExpires(t *testing.T) {
	s := stable(t, "a", "b")
	s.pass(session / 2)
	want(t, "heartbeat", s.beats("a", 1), nil)
	s.pass(session/2 - 1)
	if len(s.members) != 2 {
		t.Fatalf("%d members before the timeout, want 2", len(s.members))
	}
	s.pass(1)
	want(t, "heartbeat of the silent one", s.beats("b", 1), ErrUnknownMember)
	want(t, "heartbeat of the other", s.beats("a", 1), ErrRebalancing)
	again := s.joins(request("a"), "").one()
	if again.Err != nil || again.Generation != 2 || len(again.Members) != 1 {
		t.Errorf("joined again as %+v", again)
	}

	s = completing(t, "a", "b")
	waiting := s.syncs("b", 1, nil)
	for range 5 {
		s.pass(session / 2)
		want(t, "heartbeat of the leader", s.beats("a", 1), nil)
	}
	waiting.open()
	s.pass(session) // the leader is silent, and nobody makes an assignment
	want(t, "the one who waited", waiting.one().Err, ErrRebalancing)
	if s.leader != "b" {
		t.Errorf("leader %q, want b", s.leader)
	}
}

// Members that do not join, or do not ask for their part, keep the others waiting
// for the rebalance timeout and no longer.
func TestRebalanceTimesOut(t *testing.T) {
	s := stable(t, "a", "b")
	for range 3 {
		s.beats("b", 1)
	}
	a := s.joins(request("a"), "")
	for range 11 {
		s.pass(5 * time.Second)
		want(t, "heartbeat of the one who does not join", s.beats("b", 1), ErrRebalancing)
	}
	a.open()
	s.pass(5 * time.Second)
	if got := a.one(); got.Err != nil || got.Generation != 2 || len(got.Members) != 1 {
		t.Errorf("joined as %+v, want alone in generation 2", got)
	}

	s = completing(t, "a", "b")
	s.syncs("a", 1, nil)
	s.store()
	for range 13 {
		s.pass(5 * time.Second)
		s.beats("a", 1)
		s.beats("b", 1)
	}
	want(t, "heartbeat of the one who did not sync", s.beats("b", 1), ErrUnknownMember)
	want(t, "heartbeat of the one who did", s.beats("a", 1), ErrRebalancing)
}

// An id that is given out and not joined with keeps a rebalance open for a session
// timeout, and is then forgotten.
func TestPendingExpires(t *testing.T) {
	s := stable(t, "a")
	r := request("")
	r.RequireMemberID = true
	s.joins(r, "p")
	a := s.joins(request("a"), "")
	s.pass(session - 1)
	a.open()
	s.pass(1)
	if got := a.one(); got.Err != nil || got.Generation != 2 {
		t.Errorf("joined as %+v", got)
	}
	want(t, "join with the old id", s.joins(request("p"), "").one().Err, ErrUnknownMember)

	s = newSim(t)
	for i := range s.limits.maxMembers {
		s.joins(r, fmt.Sprint(i))
	}
	want(t, "one id too many", s.joins(r, "x").one().Err, ErrGroupFull)
	s.pass(session)
	if !s.idle() {
		t.Error("the group is not forgotten when nobody came")
	}
}

// The first members of a group are waited for, as long as more come, and not
// longer than the rebalance timeout.
func TestGathering(t *testing.T) {
	s := newSim(t)
	r := request("")
	r.RebalanceTimeout = 8 * time.Second
	a := s.joins(r, "a")
	for i := range 3 { // one in each of the windows that end after 3, 6 and 8 seconds
		s.pass(2500 * time.Millisecond)
		a.open()
		s.joins(r, fmt.Sprint(i))
	}
	s.pass(499 * time.Millisecond)
	a.open()
	s.pass(time.Millisecond)
	if got := a.one(); len(got.Members) != 4 {
		t.Errorf("%d members, want 4", len(got.Members))
	}
}

// A group takes as many members as it may; one that was loaded with more sheds
// those that come last.
func TestGroupFull(t *testing.T) {
	s := stable(t, "a", "b", "c", "d")
	want(t, "a fifth", s.joins(request(""), "e").one().Err, ErrGroupFull)
	if s.state != Stable {
		t.Errorf("state %v after one was refused, want %v", s.state, Stable)
	}
	s.limits.maxMembers = 3
	s.prepare(s.now)
	var refused []string
	for _, id := range []string{"d", "c", "b", "a"} {
		if a := s.joins(request(id), ""); len(a.got) > 0 && errors.Is(a.got[0].Err, ErrGroupFull) {
			refused = append(refused, id)
		}
	}
	if !slices.Equal(refused, []string{"a"}) || s.state != CompletingRebalance || len(s.members) != 3 {
		t.Errorf("refused %v, %v with %d members", refused, s.state, len(s.members))
	}
}

// A leader that joins again has everyone share out again; a follower that does so
// with the same words is told what holds.
func TestJoinAgain(t *testing.T) {
	s := stable(t, "a", "b")
	if got := s.joins(request("b"), "").one(); got.Err != nil || got.Generation != 1 || got.LeaderID != "a" || len(got.Members) != 0 {
		t.Errorf("the follower: %+v", got)
	}
	a := s.joins(request("a"), "")
	a.open()
	want(t, "heartbeat", s.beats("b", 1), ErrRebalancing)
	twice := s.joins(request("a"), "")
	want(t, "the request that it gave up", a.one().Err, ErrRebalancing)
	s.joins(request("b"), "")
	if got := twice.one(); got.Generation != 2 || len(got.Members) != 2 {
		t.Errorf("the leader: %+v", got)
	}
}

// When the assignment cannot be stored, everyone joins again; when a member comes
// while it is being stored, it counts for nothing.
func TestAssignmentNotStored(t *testing.T) {
	s := completing(t, "a", "b")
	a, b := s.syncs("a", 1, nil), s.syncs("b", 1, nil)
	s.fail()
	want(t, "leader", a.one().Err, errDisk)
	want(t, "follower", b.one().Err, errDisk)
	if s.state != PreparingRebalance {
		t.Errorf("state %v, want %v", s.state, PreparingRebalance)
	}

	s = completing(t, "a")
	a = s.syncs("a", 1, map[string][]byte{"a": []byte("all")})
	s.joins(request(""), "b")
	want(t, "the leader, of an assignment that leaves b out", a.one().Err, ErrRebalancing)
	s.store()
	if s.state != PreparingRebalance || len(s.byID["a"].assignment) != 0 {
		t.Errorf("state %v, assignment %q, want %v and none", s.state, s.byID["a"].assignment, PreparingRebalance)
	}
}

// A member that waits and is taken out learns of it.
func TestRemovedWhileWaiting(t *testing.T) {
	s := stable(t, "a", "b")
	joining := s.joins(request("a"), "")
	s.leave(s.now, []LeavingMember{{MemberID: "a"}})
	want(t, "joining", joining.one().Err, ErrUnknownMember)

	s = completing(t, "a", "b")
	syncing := s.syncs("b", 1, nil)
	s.leave(s.now, []LeavingMember{{MemberID: "b"}})
	want(t, "syncing", syncing.one().Err, ErrUnknownMember)
}

// What the group counts as its memory goes back to nothing with its members and
// offsets.
func TestBytesAreGivenBack(t *testing.T) {
	s := stable(t, "a", "static1")
	s.commits("a", 1, at(0, 1), at(1, 1))
	s.commits("a", 1, at(0, 2))
	s.store()
	r := named("static1")
	r.Protocols = []Protocol{{"range", reads("press", "oven")}}
	s.joins(r, "static1-2")
	s.store()
	if s.bytes < 1000 {
		t.Errorf("%d bytes for two members and two offsets", s.bytes)
	}
	s.leave(s.now, []LeavingMember{{InstanceID: "static1"}, {MemberID: "a"}})
	s.deleteOffsets([]TopicPartition{{"press", 0}, {"press", 1}}, func([]error, error) {})
	s.store()
	if s.bytes != 0 || !s.idle() {
		t.Errorf("%d bytes are left, idle %v", s.bytes, s.idle())
	}
}
