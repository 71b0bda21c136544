package subject

import "strings"

// Leading returns the patterns of the rules that can send a subject to the topic, in
// their order. That a subject which makes just this topic of a template can come is
// not proven.
func (t *Table) Leading(topic string) []string {
	var patterns []string
	for i := range t.rules {
		if t.rules[i].topic.canBe(topic) {
			patterns = append(patterns, string(t.rules[i].pattern.whole))
		}
	}
	return patterns
}

// canBe reports whether t becomes s for some parts of a subject, each a character at
// least.
func (t template) canBe(s string) bool {
	parts := 0 // of a subject, since the last text
	for i, p := range t {
		switch {
		case p.text == "":
			parts++
			continue
		case parts > len(s):
			return false
		case parts > 0 && i == len(t)-1:
			return strings.HasSuffix(s[parts:], p.text)
		}
		at := strings.Index(s[parts:], p.text)
		if at < 0 || parts == 0 && at > 0 {
			return false
		}
		s, parts = s[parts+at+len(p.text):], 0
	}
	return parts <= len(s) && (parts > 0 || s == "")
}
