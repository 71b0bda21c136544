package subject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxPatternLen bounds a rule's pattern in bytes, well inside the line of 4 KiB
// that nats-server takes.
const maxPatternLen = 1024

// splitPattern is a rule's Pattern, taken apart once for all the subjects that are
// held against it.
type splitPattern struct {
	whole  Pattern
	tokens []string
	open   bool // the last token is >
}

func splitTokens(tokens []string) splitPattern {
	return splitPattern{Pattern(strings.Join(tokens, ".")), tokens, tokens[len(tokens)-1] == ">"}
}

func wild(token string) bool { return token == "*" || token == ">" }

func parsePattern(s string) (splitPattern, error) {
	switch {
	case s == "":
		return splitPattern{}, errors.New("subject: it is empty")
	case len(s) > maxPatternLen:
		return splitPattern{}, fmt.Errorf("subject: %d bytes, at most %d are allowed", len(s), maxPatternLen)
	case reserved([]byte(s)):
		return splitPattern{}, fmt.Errorf("subject: %.60q can match nothing, subjects that start with $ or _INBOX. are never taken", s)
	}
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		if err := checkToken(token, i == len(tokens)-1); err != nil {
			return splitPattern{}, fmt.Errorf("subject: token %d of %.60q: %w", i+1, s, err)
		}
	}
	return splitTokens(tokens), nil
}

func checkToken(token string, last bool) error {
	switch {
	case token == "":
		return errors.New("it is empty")
	case token == ">" && !last:
		return errors.New("> can only be the last")
	case !wild(token) && strings.ContainsAny(token, "*>"):
		return errors.New("* and > stand alone in a token")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return errors.New("it has a space or a control character")
	}
	return nil
}

// example is a subject that p matches, with n tokens or more if p is open. What p
// leaves open is the letter x.
func (p splitPattern) example(n int) []byte {
	tokens := slices.Clone(p.tokens)
	for i, token := range tokens {
		if wild(token) {
			tokens[i] = "x"
		}
	}
	for p.open && len(tokens) < max(1, n) {
		tokens = append(tokens, "x")
	}
	return []byte(strings.Join(tokens, "."))
}

// reserved reports whether subject is of the kind that no rule takes: what NATS
// keeps for itself, and answers to requests.
func reserved(subject []byte) bool {
	const inbox = "_INBOX."
	return len(subject) > 0 && subject[0] == '$' ||
		len(subject) >= len(inbox) && string(subject[:len(inbox)]) == inbox
}

// matches reports whether p takes the subject of the given tokens.
func (p splitPattern) matches(subject []byte, tokens []span) bool {
	if len(tokens) < len(p.tokens) || len(tokens) > len(p.tokens) && !p.open {
		return false
	}
	for i, want := range p.tokens {
		if !wild(want) && want != string(tokens[i].of(subject)) {
			return false
		}
	}
	return true
}

// split returns two patterns that together match what p, which ends in >, does.
func (p splitPattern) split() (one, more splitPattern) {
	last := len(p.tokens) - 1
	tokens := append(slices.Clone(p.tokens[:last]), "*")
	return splitTokens(tokens), splitTokens(append(slices.Clone(tokens), ">"))
}
