package subject

import (
	"bytes"
	"strings"
)

// Pattern is a NATS subject, perhaps with wildcards: * stands for any one token, >,
// which can only be the last, for all that follow, one or more. What else a token may
// be is for those to say who take patterns from users; nothing is held of one with an
// empty token.
type Pattern string

// Matches reports whether p takes subject, in which * and > mean nothing.
func (p Pattern) Matches(subject []byte) bool {
	pattern := string(p)
	for {
		want, restOfPattern, moreWanted := strings.Cut(pattern, ".")
		if want == ">" {
			return len(subject) > 0
		}
		token, rest, more := bytes.Cut(subject, dot)
		if want != "*" && want != string(token) || more != moreWanted {
			return false
		}
		if !more {
			return len(token) > 0
		}
		pattern, subject = restOfPattern, rest
	}
}

// Covers reports whether p takes every subject that q takes.
func (p Pattern) Covers(q Pattern) bool {
	a, b := string(p), string(q)
	for {
		x, restOfA, moreA := strings.Cut(a, ".")
		y, restOfB, moreB := strings.Cut(b, ".")
		switch {
		case x == ">":
			return true
		case y == ">", x != "*" && x != y, moreA != moreB:
			return false
		case !moreA:
			return true
		}
		a, b = restOfA, restOfB
	}
}

// Overlaps reports whether there is a subject that p and q both take.
func (p Pattern) Overlaps(q Pattern) bool {
	a, b := string(p), string(q)
	for {
		x, restOfA, moreA := strings.Cut(a, ".")
		y, restOfB, moreB := strings.Cut(b, ".")
		switch {
		case x == ">" || y == ">":
			return true
		case x != y && x != "*" && y != "*", moreA != moreB:
			return false
		case !moreA:
			return true
		}
		a, b = restOfA, restOfB
	}
}

var dot = []byte{'.'}
