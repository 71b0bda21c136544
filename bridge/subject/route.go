package subject

import (
	"errors"
	"fmt"
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
		if earlier, covered := t.coveredBy(c.pattern); covered {
			complaints = append(complaints, fmt.Errorf("subject: %.60q never gets here, rule %d (%.60q) takes all of it", r.Subject, earlier, rules[earlier].Subject))
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

// coveredBy looks for a rule so far that takes everything that p takes. A pattern
// that could not be parsed has no tokens, and neither covers nor is covered.
func (t *Table) coveredBy(p pattern) (int, bool) {
	if len(p.tokens) == 0 {
		return 0, false
	}
	for i, r := range t.rules {
		if len(r.pattern.tokens) > 0 && r.pattern.covers(p) {
			return i, true
		}
	}
	return 0, false
}

// Route is where one subject's messages go. It may be used again for the next
// subject, and then allocates nothing while topics do not depend on subjects.
type Route struct {
	Rule  int    // which rule took the subject; -1 for none
	Topic []byte // valid until the next call
	Key   []byte // valid until the next call; nil is null

	partition Partitioning
	key       []byte // Key's memory, kept while Key is nil
	tokens    []span
}

// span is where a token stands in its subject.
type span struct{ start, end int }

func (s span) of(subject []byte) []byte { return subject[s.start:s.end] }

// Route sets r to where messages on subject go. It returns ErrNoRule when no
// rule takes it. With an error that wraps ErrUnroutable, r.Rule still tells the
// rule that took it.
func (t *Table) Route(subject []byte, r *Route) error {
	r.Rule, r.Topic, r.Key, r.partition = -1, r.Topic[:0], nil, ""
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
	if n := max(c.topic.tokens(), c.key.tokens()); n > len(r.tokens) {
		return fmt.Errorf("%w: %.60q has no token %d", ErrUnroutable, subject, n)
	}
	token := func(n int) []byte { return r.tokens[n-1].of(subject) }
	r.partition = c.partition
	r.Topic = c.topic.expand(r.Topic, token)
	if len(c.key) > 0 {
		r.key = c.key.expand(r.key[:0], token)
		r.Key = r.key
	}
	if !c.fixedTopic {
		if err := validTopic(string(r.Topic)); err != nil {
			return fmt.Errorf("%w: %w", ErrUnroutable, err)
		}
	}
	return nil
}

// homePartition is the partition that this box is the home of. A box without a
// region is at home in all of them, and takes the first.
const homePartition = 0

// Partition is which of the topic's n partitions the route leads to.
func (r *Route) Partition(n int32) int32 {
	if r.partition == ByKey {
		return Partition(r.Key, n)
	}
	return homePartition
}
