package subject

import (
	"errors"
	"fmt"

	"github.com/headwater/headwater/broker/topic"
)

var (
	// ErrNoRule is returned for a subject that no rule takes.
	ErrNoRule = errors.New("no rule takes the subject")
	// ErrUnroutable is wrapped by errors about a subject that a rule takes but
	// cannot make a topic or a key of.
	ErrUnroutable = errors.New("subject cannot be routed")
)

// Table is the rules, ready for use.
type Table struct {
	rules []rule
}

// Compile makes a Table. Its error lists everything wrong with rules, and wraps
// ErrInvalidRule.
func Compile(rules []Rule) (*Table, error) {
	var errs []error
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("%w: %d rules, at most %d are allowed", ErrInvalidRule, len(rules), MaxRules)
	}
	t := &Table{rules: make([]rule, 0, len(rules))}
	for i, r := range rules {
		c, complaints := compile(r)
		if err := t.covers(c.pattern, r.Subject, rules); err != nil {
			complaints = append(complaints, err)
		}
		for _, err := range complaints {
			errs = append(errs, fmt.Errorf("%w %d: %w", ErrInvalidRule, i, err))
		}
		t.rules = append(t.rules, c)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return t, nil
}

// NamedTopics are the topics that rules name, whatever the subject.
func (t *Table) NamedTopics() []string {
	var names []string
	for i := range t.rules {
		if name := t.rules[i].fixedTopic; name != "" {
			names = append(names, name)
		}
	}
	return names
}

// covers reports that the rules so far leave nothing of p, which is subject taken
// apart, to a later one.
func (t *Table) covers(p splitPattern, subject string, rules []Rule) error {
	if i, ok := t.coveredBy(p); ok {
		return fmt.Errorf("subject: %.60q never gets here, rule %d (%.60q) takes all of it", subject, i, rules[i].Subject)
	}
	if !p.open {
		return nil
	}
	one, more := p.split()
	i, ok1 := t.coveredBy(one)
	j, ok2 := t.coveredBy(more)
	if !ok1 || !ok2 {
		return nil
	}
	return fmt.Errorf("subject: %.60q never gets here, rules %d (%.60q) and %d (%.60q) together take all of it", subject, i, rules[i].Subject, j, rules[j].Subject)
}

// coveredBy looks for a rule so far that takes everything that p takes. A pattern
// that could not be parsed has no tokens, and neither covers nor is covered.
func (t *Table) coveredBy(p splitPattern) (int, bool) {
	if len(p.tokens) == 0 {
		return 0, false
	}
	for i, r := range t.rules {
		if len(r.pattern.tokens) > 0 && r.pattern.whole.Covers(p.whole) {
			return i, true
		}
	}
	return 0, false
}

// Route is where one subject's messages go. It may be used again for the next
// subject, and then allocates nothing while topics do not depend on subjects.
type Route struct {
	Rule    int      // which rule took the subject; -1 for none
	Topic   []byte   // valid until the next call
	Key     []byte   // valid until the next call; nil is null
	Headers []Header // those that the rule gives; valid until the next call

	rule   *rule  // nil for none
	key    []byte // Key's memory, kept while Key is nil
	values []byte // the memory of Headers' values
	tokens []span
}

// span is where a token stands in its subject.
type span struct{ start, end int }

func (s span) of(subject []byte) []byte { return subject[s.start:s.end] }

// Route sets r to where messages on subject go. It returns ErrNoRule when no
// rule takes it. With an error that wraps ErrUnroutable, r.Rule still tells the
// rule that took it.
func (t *Table) Route(subject []byte, r *Route) error {
	r.Rule, r.Key, r.rule = -1, nil, nil
	r.Topic = r.Topic[:0] // each a statement of its own, which then changes no pointer
	r.Headers = r.Headers[:0]
	if reserved(subject) {
		return ErrNoRule
	}
	r.tokens = split(r.tokens[:0], subject)
	for i := range t.rules {
		if t.rules[i].pattern.matches(subject, r.tokens) {
			r.Rule = i
			return t.rules[i].apply(subject, r)
		}
	}
	return ErrNoRule
}

// split appends the places of subject's tokens to spans.
func split(spans []span, subject []byte) []span {
	start := 0
	for i, c := range subject {
		if c == '.' {
			spans = append(spans, span{start, i})
			start = i + 1
		}
	}
	return append(spans, span{start, len(subject)})
}

// apply fills in r for subject, whose tokens r has.
func (c *rule) apply(subject []byte, r *Route) error {
	for i, token := range r.tokens {
		if token.start == token.end {
			return fmt.Errorf("%w: token %d of %.60q is empty", ErrUnroutable, i+1, subject)
		}
	}
	if c.tokens > len(r.tokens) {
		return fmt.Errorf("%w: %.60q has no token %d", ErrUnroutable, subject, c.tokens)
	}
	r.rule = c
	if c.fixedTopic != "" {
		r.Topic = append(r.Topic, c.fixedTopic...)
	} else {
		r.Topic = c.topic.expand(r.Topic, subject, r.tokens)
		if err := validTopic(string(r.Topic)); err != nil {
			return fmt.Errorf("%w: %w", ErrUnroutable, err)
		}
	}
	if len(c.key) > 0 {
		r.key = c.key.expand(r.key[:0], subject, r.tokens)
		r.Key = r.key
	}
	if len(c.headers) > 0 {
		r.expandHeaders(c.headers, subject)
	}
	return nil
}

// Partition is which of the topic's partitions the route leads to, ok when it is one
// that this box writes to: a rule may name another. A box that writes to its home
// alone has all keys there.
func (r *Route) Partition(of topic.Partitions) (index int32, ok bool) {
	switch {
	case r.rule.partition == Home, r.rule.partition == ByKey && of.HomeOnly:
		return of.Home, true
	case r.rule.partition == ByKey:
		return Partition(r.Key, of.Count), true
	}
	return r.rule.index, r.rule.index < of.Count && (!of.HomeOnly || r.rule.index == of.Home)
}
