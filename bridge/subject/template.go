package subject

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// template is text with braces in it, which stand for parts of a subject: {n} for
// its n-th token, {>} for all that the > of the rule's pattern stands for, and
// {subject} for the whole. {{ and }} are braces that stand for themselves.
type template []part

// part is text, or what of the subject stands in its place.
type part struct {
	text string
	what what
	n    int // the token's number, counted from 1; for > that of the first token of the rest
}

// what is a kind of part.
type what int8

const (
	text what = iota
	token
	rest  // of the subject, from a token on
	whole // subject
)

const (
	maxTemplateLen   = 1024 // bytes
	maxTokens        = 2048 // of a subject, whose line NATS bounds at 4 KiB
	maxTemplateParts = 16   // so that a subject of 4 KiB makes 64 KiB at most
)

func parseTemplate(s string) (template, error) {
	if len(s) > maxTemplateLen {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(s), maxTemplateLen)
	}
	var t template
	for left := s; left != ""; {
		p, after, err := nextPart(left)
		if err != nil {
			return nil, fmt.Errorf("%.60q %w", s, err)
		}
		left, t = after, t.with(p)
	}
	if len(t) > maxTemplateParts {
		return nil, fmt.Errorf("%.60q has %d parts, at most %d are allowed", s, len(t), maxTemplateParts)
	}
	return t, nil
}

// with adds p to t; text that follows text becomes one with it.
func (t template) with(p part) template {
	if last := len(t) - 1; p.what == text && last >= 0 && t[last].what == text {
		t[last].text += p.text
		return t
	}
	return append(t, p)
}

// nextPart splits the first part off s, which is not empty.
func nextPart(s string) (p part, after string, err error) {
	at := strings.IndexAny(s, "{}")
	switch {
	case at < 0:
		return part{text: s}, "", nil
	case at > 0:
		return part{text: s[:at]}, s[at:], nil
	case strings.HasPrefix(s, "{{"), strings.HasPrefix(s, "}}"):
		return part{text: s[:1]}, s[2:], nil
	}
	end := strings.IndexByte(s, '}')
	if end <= 0 {
		return part{}, "", errors.New("has a brace without its partner; one that stands for itself is written twice")
	}
	if p, err = parsePlace(s[1:end]); err != nil {
		return part{}, "", fmt.Errorf("has %.60q, %w", s[:end+1], err)
	}
	return p, s[end+1:], nil
}

// parsePlace reads what stands between braces.
func parsePlace(name string) (part, error) {
	switch name {
	case ">":
		return part{what: rest}, nil
	case "subject":
		return part{what: whole}, nil
	}
	n, err := strconv.Atoi(name)
	switch {
	case err != nil, n < 1, name[0] == '+':
		return part{}, errors.New("which is not the number of a token, which starts at {1}, nor {>} nor {subject}")
	case n > maxTokens:
		return part{}, fmt.Errorf("and no subject has more than %d tokens", maxTokens)
	}
	return part{what: token, n: n}, nil
}

// fit prepares t for the subjects of p, or reports a part that none of them has.
func (t template) fit(p splitPattern) error {
	for i := range t {
		switch part := &t[i]; part.what {
		case token:
			if !p.open && part.n > len(p.tokens) {
				return fmt.Errorf("{%d} is past the end, a subject of this rule has %d tokens", part.n, len(p.tokens))
			}
		case rest:
			if !p.open {
				return errors.New("{>} stands for nothing, the rule's subject does not end in >")
			}
			part.n = max(1, len(p.tokens)) // none are known of a bad pattern
		}
	}
	return nil
}

// fixed reports whether t is the same for every subject.
func (t template) fixed() bool {
	for _, part := range t {
		if part.what != text {
			return false
		}
	}
	return true
}

// tokens is the highest number of a token that t asks for.
func (t template) tokens() int {
	highest := 0
	for _, part := range t {
		highest = max(highest, part.n)
	}
	return highest
}

// expand appends to dst what t becomes for subject, whose tokens are given and as
// many as t asks for.
func (t template) expand(dst, subject []byte, tokens []span) []byte {
	for i := range t {
		switch part := &t[i]; part.what {
		case text:
			dst = append(dst, part.text...)
		case token:
			dst = append(dst, tokens[part.n-1].of(subject)...)
		case rest:
			dst = append(dst, subject[tokens[part.n-1].start:]...)
		case whole:
			dst = append(dst, subject...)
		}
	}
	return dst
}
