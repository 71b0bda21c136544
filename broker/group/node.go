package group

import (
	"strings"
	"unicode/utf8"
)

// NamesNode reports whether a group's id can be the name of one node in ZooKeeper, as
// in /consumers/<group>/offsets. Ids are clients' words: one with a slash would be
// another path.
func NamesNode(id string) bool {
	if id == "" || id == "." || id == ".." || !utf8.ValidString(id) {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		switch {
		case r == '/', r < 0x20, r >= 0x7f && r <= 0x9f, r >= 0xd800 && r <= 0xf8ff, r >= 0xfff0 && r <= 0xffff:
			return true // these are ZooKeeper's own
		}
		return false
	})
}
