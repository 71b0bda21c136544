package subject

import (
	"fmt"
	"strconv"
	"strings"
)

// template is text with {n} in it, which stands for the n-th token of a subject.
type template []part

// part is either text or the number of a token.
type part struct {
	text  string
	token int // counted from 1; 0 when the part is text
}

// maxTemplateLen bounds a template in bytes.
const maxTemplateLen = 1024

func parseTemplate(s string) (template, error) {
	if len(s) > maxTemplateLen {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(s), maxTemplateLen)
	}
	var t template
	for rest := s; rest != ""; {
		at := strings.IndexAny(rest, "{}")
		if at < 0 {
			return append(t, part{text: rest}), nil
		}
		if at > 0 {
			t = append(t, part{text: rest[:at]})
		}
		rest = rest[at:]
		end := strings.IndexByte(rest, '}')
		if end <= 0 {
			return nil, fmt.Errorf("%.60q has a brace without its partner", s)
		}
		n, err := strconv.Atoi(rest[1:end])
		if err != nil || n < 1 || rest[1] == '+' {
			return nil, fmt.Errorf("%.60q in %.60q is not the number of a token, which starts at {1}", rest[:end+1], s)
		}
		t = append(t, part{token: n})
		rest = rest[end+1:]
	}
	return t, nil
}

// fits reports a token that no subject of p has.
func (t template) fits(p pattern) error {
	if p.open {
		return nil
	}
	for _, part := range t {
		if part.token > len(p.tokens) {
			return fmt.Errorf("{%d} is past the end, a subject of this rule has %d tokens", part.token, len(p.tokens))
		}
	}
	return nil
}

// fixed reports whether t is the same for every subject.
func (t template) fixed() bool {
	for _, part := range t {
		if part.token > 0 {
			return false
		}
	}
	return true
}

// tokens is the highest number of a token that t asks for.
func (t template) tokens() int {
	highest := 0
	for _, part := range t {
		highest = max(highest, part.token)
	}
	return highest
}

// expand appends to dst what t becomes when token gives the tokens.
func (t template) expand(dst []byte, token func(n int) []byte) []byte {
	for _, part := range t {
		if part.token > 0 {
			dst = append(dst, token(part.token)...)
		} else {
			dst = append(dst, part.text...)
		}
	}
	return dst
}
