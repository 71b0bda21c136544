package natsd

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats-server/v2/server"
)

var (
	// ErrTooManySubscriptions is wrapped when there are as many as may be.
	ErrTooManySubscriptions = errors.New("too many subscriptions")
	// ErrSubject is wrapped by errors about what cannot be subscribed to.
	ErrSubject = errors.New("not a subject")
)

// maxSid is the largest number of a subscription that the parser reads.
const maxSid = 999_999_999

// subscriptions are what a Conn asks the server for: the fixed ones, whose numbers
// are their places, and those that come and go. They outlive connections. Numbers of
// those are not used again for as long as can be, so that a message that was on its
// way to one that has ended is not taken for another's.
type subscriptions struct {
	first   int // number that is not one of the fixed ones'
	limit   int // number that none reaches
	fixed   []string
	max     int            // of the others
	dynamic map[int]string // by sid
	next    int            // sid to try
}

func newSubscriptions(fixed []string, maxDynamic int) *subscriptions {
	s := &subscriptions{fixed: fixed, max: maxDynamic, dynamic: map[int]string{}}
	s.first, s.limit, s.next = len(fixed), len(fixed), len(fixed)
	if maxDynamic > 0 {
		s.limit = maxSid + 1
	}
	return s
}

func (s *subscriptions) add(subject string) (sid int, err error) {
	if len(subject) > maxSubjects || !server.IsValidSubject(subject) {
		return 0, fmt.Errorf("%w: %.100q", ErrSubject, subject)
	}
	if len(s.dynamic) >= s.max {
		return 0, fmt.Errorf("%w: there are %d", ErrTooManySubscriptions, len(s.dynamic))
	}
	for {
		sid = s.next
		if s.next++; s.next > maxSid {
			s.next = s.first
		}
		if _, used := s.dynamic[sid]; !used {
			s.dynamic[sid] = subject
			return sid, nil
		}
	}
}

// remove reports whether sid was there. The fixed ones cannot be removed.
func (s *subscriptions) remove(sid int) bool {
	_, ok := s.dynamic[sid]
	delete(s.dynamic, sid)
	return ok
}

// clear ends all, for good, and returns their numbers.
func (s *subscriptions) clear() (sids []int) {
	for sid := range s.fixed {
		sids = append(sids, sid)
	}
	sids = append(sids, slices.Sorted(maps.Keys(s.dynamic))...)
	s.fixed, s.max = nil, 0
	clear(s.dynamic)
	return sids
}

// lines are what the server is told at the start of a connection.
func (s *subscriptions) lines() []string {
	var lines []string
	for sid, subject := range s.fixed {
		lines = append(lines, subLine(subject, sid))
	}
	for _, sid := range slices.Sorted(maps.Keys(s.dynamic)) {
		lines = append(lines, subLine(s.dynamic[sid], sid))
	}
	return lines
}

func subLine(subject string, sid int) string { return fmt.Sprintf("SUB %s %d", subject, sid) }
