package access

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// pattern is a subject with wildcards, a token each; > stands for one or more.
type pattern []string

// subjects are what one may do, and in it what one may not.
type subjects struct{ allow, deny []pattern }

func parseSubjects(list []string) (s subjects, err error) {
	if len(list) > maxSubjects {
		return s, fmt.Errorf("there are %d subjects, at most %d are allowed", len(list), maxSubjects)
	}
	var errs []error
	for _, text := range list {
		denied, isDenied := strings.CutPrefix(text, "!")
		p, err := parsePattern(denied)
		switch {
		case err != nil:
			errs = append(errs, err)
		case isDenied:
			s.deny = append(s.deny, p)
		default:
			s.allow = append(s.allow, p)
		}
	}
	return s, joined(errs)
}

// joined is one error with all of them, on one line.
func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

func parsePattern(s string) (pattern, error) {
	if len(s) > maxSubject {
		return nil, fmt.Errorf("a subject has %d bytes, at most %d are allowed", len(s), maxSubject)
	}
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		switch {
		case token == "":
			return nil, fmt.Errorf("%q has an empty token", s)
		case token == ">" && i != len(tokens)-1:
			return nil, fmt.Errorf("%q: > can only be the last token", s)
		case token != "*" && token != ">" && strings.ContainsAny(token, "*>"):
			return nil, fmt.Errorf("%q: * and > stand alone in a token", s)
		case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return nil, fmt.Errorf("%q has a space or a control character", s)
		}
	}
	return tokens, nil
}

func (p pattern) String() string { return strings.Join(p, ".") }

// matches reports whether p takes subject, which has no wildcards.
func (p pattern) matches(subject []byte) bool {
	for i, want := range p {
		if len(subject) == 0 {
			return false
		}
		if want == ">" {
			return true
		}
		token, rest, more := bytes.Cut(subject, []byte{'.'})
		if want != "*" && want != string(token) || more != (i < len(p)-1) {
			return false
		}
		subject = rest
	}
	return true
}

// covers reports whether p takes every subject that q takes.
func (p pattern) covers(q pattern) bool {
	for i, mine := range p {
		switch {
		case i == len(q):
			return false
		case mine == ">":
			return true
		case q[i] == ">", mine != "*" && mine != q[i]:
			return false
		}
	}
	return len(p) == len(q)
}

// overlaps reports whether some subject is taken by both.
func (p pattern) overlaps(q pattern) bool {
	for i := range min(len(p), len(q)) {
		switch {
		case p[i] == ">" || q[i] == ">":
			return true
		case p[i] != "*" && q[i] != "*" && p[i] != q[i]:
			return false
		}
	}
	return len(p) == len(q)
}
