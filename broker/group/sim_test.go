package group

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// sim is a group on a clock that stands until it is moved, whose records reach
// their log when they are told to.
type sim struct {
	*group
	t      *testing.T
	now    time.Time
	stored []entry // in their order; where in the log each is
}

var errDisk = errors.New("the disk is gone")

func newSim(t *testing.T) *sim {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &sim{group: newGroup("readers", limits{3 * time.Second, 4, 0}, now), t: t, now: now}
}

// pass lets time pass, and the group do what is due at each moment of it.
func (s *sim) pass(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for range 1000 {
		due := s.due()
		if due.IsZero() || due.After(end) {
			s.now = end
			return
		}
		s.now = due
		s.expire(s.now)
	}
	s.t.Fatal("something is due for ever")
}

// store writes what is queued.
func (s *sim) store() {
	for len(s.puts) > 0 {
		p := s.puts[0]
		s.puts = s.puts[1:]
		at := int64(len(s.stored))
		s.stored = append(s.stored, p.records...)
		p.done(s.now, at, nil)
	}
}

// fail has the disk refuse what is queued.
func (s *sim) fail() {
	for len(s.puts) > 0 {
		p := s.puts[0]
		s.puts = s.puts[1:]
		p.done(s.now, -1, errDisk)
	}
}

// answer is one that may not have come yet.
type answer[T any] struct {
	t   *testing.T
	got []T
}

func (a *answer[T]) reply(v T) { a.got = append(a.got, v) }

func (a *answer[T]) open() {
	a.t.Helper()
	if len(a.got) != 0 {
		a.t.Fatalf("answered with %+v, and nothing was due", a.got)
	}
}

func (a *answer[T]) one() T {
	a.t.Helper()
	if len(a.got) != 1 {
		a.t.Fatalf("%d answers: %+v, want 1", len(a.got), a.got)
	}
	return a.got[0]
}

const session = 10 * time.Second

// request is a member's with what most of them say.
func request(memberID string) JoinRequest {
	return JoinRequest{
		Group: "readers", MemberID: memberID, ClientID: "client", ClientHost: "/10.0.0.1",
		SessionTimeout: session, RebalanceTimeout: time.Minute,
		ProtocolType: consumerProtocol, Protocols: []Protocol{{"range", reads("press")}}, CanSkipAssignment: true,
	}
}

// reads is the metadata of a consumer that is subscribed to topics.
func reads(topics ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 1}, uint32(len(topics)))
	for _, name := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(name))), name...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff) // no user data
}

// joins sends r; newID is for a member without an id.
func (s *sim) joins(r JoinRequest, newID string) *answer[JoinResult] {
	a := &answer[JoinResult]{t: s.t}
	s.join(s.now, &r, newID, a.reply)
	return a
}

func (s *sim) syncs(memberID string, generation int32, assignments map[string][]byte) *answer[SyncResult] {
	a := &answer[SyncResult]{t: s.t}
	s.sync(s.now, &SyncRequest{MemberID: memberID, Generation: generation, Assignments: assignments}, a.reply)
	return a
}

func (s *sim) commits(memberID string, generation int32, offsets ...Offset) *answer[error] {
	a := &answer[error]{t: s.t}
	s.commit(s.now, &CommitRequest{MemberID: memberID, Generation: generation, Offsets: offsets}, a.reply)
	return a
}

func (s *sim) beats(memberID string, generation int32) error {
	return s.heartbeat(s.now, &HeartbeatRequest{MemberID: memberID, Generation: generation})
}

// at is an offset of topic press.
func at(partition int32, o int64) Offset {
	return Offset{TopicPartition: TopicPartition{"press", partition}, Offset: o, LeaderEpoch: 3, Metadata: "note"}
}

// stable takes the group to a stable generation of the members, the first of whom
// leads. A member with a name that begins with "static" has that for its instance id.
func stable(t *testing.T, members ...string) *sim {
	t.Helper()
	s := completing(t, members...)
	assignments := map[string][]byte{}
	for _, id := range members {
		assignments[id] = []byte("part of " + id)
	}
	var answers []*answer[SyncResult]
	for i := len(members) - 1; i >= 0; i-- {
		answers = append(answers, s.syncs(members[i], s.generation, assignments))
	}
	s.store()
	for _, a := range answers {
		if err := a.one().Err; err != nil {
			t.Fatal(err)
		}
	}
	if s.state != Stable {
		t.Fatalf("state %v, want %v", s.state, Stable)
	}
	return s
}

// completing takes the group to where the leader's assignment is due.
func completing(t *testing.T, members ...string) *sim {
	t.Helper()
	s := newSim(t)
	for _, id := range members {
		s.joins(named(id), id)
	}
	s.pass(9 * time.Second)
	if s.state != CompletingRebalance || s.leader != members[0] {
		t.Fatalf("state %v, leader %q, want %v, %q", s.state, s.leader, CompletingRebalance, members[0])
	}
	return s
}

func named(id string) JoinRequest {
	r := request("")
	if len(id) > 6 && id[:6] == "static" {
		r.InstanceID = id
	}
	return r
}

func want(t *testing.T, what string, got, wanted error) {
	t.Helper()
	if !errors.Is(got, wanted) {
		t.Errorf("%s: %v, want %v", what, got, wanted)
	}
}
