package pull

import (
	"strings"

	"github.com/headwater/headwater/bridge/subject"
)

// filter is what messages are chosen by.
type filter = subject.Pattern

// validFilter reports whether f is one: tokens that are not empty, > only as the last.
func validFilter(f filter) bool {
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
