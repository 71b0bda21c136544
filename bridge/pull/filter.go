package pull

import (
	"bytes"
	"strings"
)

// filter is a subject, perhaps with wildcards, that messages are chosen by.
type filter string

// valid reports whether f is one: tokens that are not empty, * or > alone in theirs,
// > in the last.
func (f filter) valid() bool {
	if f == "" || len(f) > maxSubjectLen {
		return false
	}
	rest := string(f)
	for more := true; more; {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "", token == ">" && more:
			return false
		case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return false
		}
	}
	return true
}

// matches reports whether a valid f takes the subject.
func (f filter) matches(subject []byte) bool {
	pattern := string(f)
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

// overlaps reports whether there is a subject that valid f and g both take.
func (f filter) overlaps(g filter) bool {
	a, b := string(f), string(g)
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

// covers reports whether a valid f takes every subject that a valid g takes.
func (f filter) covers(g filter) bool {
	a, b := string(f), string(g)
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
