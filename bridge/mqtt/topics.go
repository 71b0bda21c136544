package mqtt

import (
	"bytes"
	"strings"
)

// subjectOf appends topic as a NATS subject: a level is a token. ok is false for a
// topic that has no subject: one with an empty level, or with a character that NATS
// keeps for itself, or one of those that never cross: those that start with $, and
// NATS's inboxes.
func subjectOf(dst []byte, topic string) (subject []byte, ok bool) {
	if topic == "" || topic[0] == '$' || topic == inbox || strings.HasPrefix(topic, inbox+"/") {
		return dst, false
	}
	begin := len(dst)
	for i := range len(topic) {
		switch c := topic[i]; {
		case c == '/':
			if len(dst) == begin || dst[len(dst)-1] == '.' {
				return dst, false
			}
			dst = append(dst, '.')
		case c <= ' ' || c == 0x7f || c == '.' || c == '*' || c == '>':
			return dst, false
		default:
			dst = append(dst, c)
		}
	}
	return dst, dst[len(dst)-1] != '.'
}

const inbox = "_INBOX"

// topicOf is a subject as a topic. ok is false for a subject that has none.
func topicOf(subject []byte) (topic string, ok bool) {
	if len(subject) == 0 || subject[0] == '$' || bytes.HasPrefix(subject, []byte(inbox+".")) || bytes.ContainsAny(subject, "/+#\x00") {
		return "", false
	}
	return strings.ReplaceAll(string(subject), ".", "/"), true
}

// patternsOf are the NATS patterns that together match what an MQTT filter does: a/#
// matches a too. There are none for a filter that no subject can match.
func patternsOf(filter string) []string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		if _, filter, ok = strings.Cut(rest, "/"); !ok {
			return nil
		}
	}
	levels := strings.Split(filter, "/")
	var tokens []string
	for i, level := range levels {
		switch {
		case level == "+":
			tokens = append(tokens, "*")
		case level == "#" && i == len(levels)-1:
			all := strings.Join(append(tokens[:i:i], ">"), ".")
			if i == 0 {
				return []string{all}
			}
			return []string{strings.Join(tokens, "."), all}
		default:
			token, ok := subjectOf(nil, level)
			if !ok {
				return nil
			}
			tokens = append(tokens, string(token))
		}
	}
	if tokens[0] == inbox {
		return nil
	}
	return []string{strings.Join(tokens, ".")}
}
