package group

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

// An offset can be fetched as it was committed, metadata and all, once it is
// stored and not before; one that could not be stored leaves the one before it.
func TestCommit(t *testing.T) {
	s := stable(t, "a")
	first := s.commits("a", 1, at(0, 5), at(1, 7))
	first.open()
	zero, one := TopicPartition{"press", 0}, TopicPartition{"press", 1}
	if got := s.fetch([]TopicPartition{zero}); got[0] != NoOffset(zero) {
		t.Errorf("before it is stored: %+v", got)
	}
	s.store()
	want(t, "commit", first.one(), nil)
	if got := s.fetch([]TopicPartition{one, {"oven", 0}, zero}); !reflect.DeepEqual(got, []Offset{at(1, 7), NoOffset(TopicPartition{"oven", 0}), at(0, 5)}) {
		t.Errorf("fetched %+v", got)
	}
	second := s.commits("a", 1, at(0, 9))
	s.fail()
	want(t, "commit that is not stored", second.one(), errDisk)
	if got := s.all(); !reflect.DeepEqual(got, []Offset{at(0, 5), at(1, 7)}) {
		t.Errorf("after the failure: %+v", got)
	}
	if len(s.uncommitted) != 0 {
		t.Errorf("%v is still on its way", s.uncommitted)
	}
	want(t, "commit of nothing", s.commits("a", 1).one(), nil)
}

// Whichever answer comes first, the offset that holds is the one that stands last
// in the log: it is what a restart would find.
func TestLastInTheLogHolds(t *testing.T) {
	s := newSim(t)
	s.commits("", -1, at(0, 5))
	s.commits("", -1, at(0, 3)) // back: a consumer may rewind
	s.puts[1].done(s.now, 11, nil)
	s.puts[0].done(s.now, 10, nil)
	if got := s.all(); len(got) != 1 || got[0].Offset != 3 {
		t.Errorf("holds %+v, want offset 3", got)
	}
}

// A commit keeps a member's session alive.
func TestCommitIsASignOfLife(t *testing.T) {
	s := stable(t, "a")
	s.pass(session - 1)
	s.commits("a", 1, at(0, 1))
	s.pass(session - 1)
	want(t, "heartbeat", s.beats("a", 1), nil)
}

// Members keep the offsets of topics that they are subscribed to; others, and all
// those of a group without members, can be deleted.
func TestDeleteOffsets(t *testing.T) {
	oven := Offset{TopicPartition: TopicPartition{"oven", 0}, Offset: 4}
	partitions := []TopicPartition{{"press", 0}, {"oven", 0}, {"oven", 9}}
	for name, tc := range map[string]struct {
		group func(*testing.T) *sim
		err   error
		errs  []error
		left  []Offset
	}{
		"members": {func(t *testing.T) *sim { return stable(t, "a") }, nil, []error{ErrSubscribed, nil, nil}, []Offset{at(0, 5)}},
		"empty":   {newSim, nil, []error{nil, nil, nil}, []Offset{}},
		"unreadable": {func(t *testing.T) *sim {
			s := stable(t, "a")
			s.byID["a"].protocols[0].Metadata = []byte{0, 1, 0, 0, 9}
			return s
		}, nil, []error{ErrSubscribed, ErrSubscribed, ErrSubscribed}, []Offset{oven, at(0, 5)}},
		"noConsumer": {func(t *testing.T) *sim { s := stable(t, "a"); s.protocolType = "connect"; return s }, ErrNotEmpty, nil, []Offset{oven, at(0, 5)}},
		"dead":       {func(t *testing.T) *sim { s := newSim(t); s.state = Dead; return s }, ErrUnknownGroup, nil, []Offset{oven, at(0, 5)}},
	} {
		s := tc.group(t)
		s.keep(offset{Offset: at(0, 5), at: -2})
		s.keep(offset{Offset: oven, at: -1})
		replies := 0
		s.deleteOffsets(partitions, func(errs []error, err error) {
			replies++
			if want(t, name, err, tc.err); !slices.Equal(errs, tc.errs) {
				t.Errorf("%s: %v, want %v", name, errs, tc.errs)
			}
		})
		s.store()
		if got := s.all(); replies != 1 || !reflect.DeepEqual(got, tc.left) {
			t.Errorf("%s: %d replies, left %+v, want %+v", name, replies, got, tc.left)
		}
	}
}

// What expires when, by the time of day and without it.
func TestExpired(t *testing.T) {
	const retention = 24 * time.Hour
	gone := func(s *sim, trusted bool) string { return fmt.Sprint(s.expired(s.now, trusted, retention)) }
	pressOven := "[{oven 0} {press 0}]"
	oven := Offset{TopicPartition: TopicPartition{"oven", 0}}
	for name, tc := range map[string]struct {
		make func(*testing.T) *sim
		want []string // 23, 25 and 47 hours after the commit, and 49
	}{
		"simple": {func(t *testing.T) *sim {
			s := newSim(t)
			s.commits("", -1, at(0, 1), oven)
			return s
		}, []string{"[]", pressOven, pressOven, pressOven}},
		"subscribed": {func(t *testing.T) *sim {
			s := stable(t, "a")
			s.byID["a"].sessionTimeout = 100 * time.Hour
			s.commits("a", 1, at(0, 1), oven)
			return s
		}, []string{"[]", "[{oven 0}]", "[{oven 0}]", "[{oven 0}]"}},
		"emptySince24h": {func(t *testing.T) *sim {
			s := stable(t, "a")
			s.byID["a"].sessionTimeout = 24 * time.Hour
			s.commits("a", 1, at(0, 1), oven)
			return s
		}, []string{"[]", "[]", "[]", pressOven}},
		"ownRetention": {func(t *testing.T) *sim {
			s := newSim(t)
			short := at(0, 1)
			short.Retention = time.Hour
			s.commits("", -1, short, oven)
			return s
		}, []string{"[{press 0}]", pressOven, pressOven, pressOven}},
	} {
		s := tc.make(t)
		s.store()
		for i, more := range []time.Duration{23 * time.Hour, 2 * time.Hour, 22 * time.Hour, 2 * time.Hour} {
			s.pass(more)
			s.store()
			if got := gone(s, true); got != tc.want[i] {
				t.Errorf("%s, look %d: %s, want %s", name, i, got, tc.want[i])
			}
		}
	}

	s := newSim(t)
	s.commits("", -1, at(0, 1))
	s.store()
	s.pass(25 * time.Hour)
	s.commits("", -1, at(0, 2))
	if got := gone(s, true); got != "[]" {
		t.Errorf("%s goes while a commit of it is on its way", got)
	}
}

// A clock that is set does not age an offset; the time that passes does.
func TestAge(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, tc := range map[string]struct {
		wall    time.Time // of the commit
		doubt   bool      // then
		trusted bool      // now
		want    time.Duration
	}{
		"before the last start":   {now.Add(-9 * day), false, true, 9 * day},
		"clock not known now":     {now.Add(-9 * day), false, false, time.Hour},
		"clock not known then":    {now.Add(-9 * day), true, true, time.Hour},
		"committed in the future": {now.Add(5 * day), false, true, time.Hour},
		"committed at no time":    {time.UnixMilli(-1), false, true, time.Hour},
		"this run":                {now.Add(-time.Hour), false, true, time.Hour},
	} {
		if got := (stamp{tc.wall.UnixMilli(), tc.doubt, now.Add(-time.Hour)}).age(now, tc.trusted); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// A deleted group takes with it also what was on its way; when the deletion is not
// stored, it is there as before.
func TestDeleteGroup(t *testing.T) {
	s := newSim(t)
	s.commits("", -1, at(0, 1))
	s.store()
	s.commits("", -1, at(1, 1))
	a := &answer[error]{t: t}
	s.delete(a.reply)
	s.fail()
	want(t, "delete that is not stored", a.one(), errDisk)
	s.commits("", -1, at(0, 2)).open() // and not refused
	s.store()
	s.commits("", -1, at(1, 2))
	s.delete(func(err error) { want(t, "delete", err, nil) })
	s.store()
	if !s.gone {
		t.Error("not gone")
	}
	l := loadedFrom(t, s.stored)
	if len(l.groups) != 0 {
		t.Errorf("a restart finds %v", l.groups)
	}
}
