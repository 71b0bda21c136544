// Package subject says where a NATS subject's messages go: to which topic, under
// which key, and to which partition.
//
// A table of rules is tried in order and the first whose pattern matches decides.
// The package is pure: no I/O, no goroutines, no clock. A Table does not change
// once it is compiled, so that any goroutine may use it; a Route is scratch space
// of one goroutine. Tokens of a subject are counted from 1, rules from 0.
package subject

import (
	"errors"
	"fmt"

	"github.com/headwater/headwater/broker/topic"
)

// ErrInvalidRule is wrapped by every complaint about a rule.
var ErrInvalidRule = errors.New("invalid subject rule")

// MaxRules bounds a table: each rule is a subscription, and a set of counters.
const MaxRules = 256

// Rule sends the subjects that match a pattern to a topic.
type Rule struct {
	Subject   string       // a NATS pattern: tokens, * for any one token, > for all that follow
	Topic     string       // a template: {1} stands for the subject's first token, and so on
	Key       string       // a template; "" leaves the records' keys null
	Partition Partitioning // "" is Home
}

// Partitioning says how a rule chooses among a topic's partitions.
type Partitioning string

// The ways to choose a partition.
const (
	Home  Partitioning = "home" // the one partition that this box is the home of
	ByKey Partitioning = "key"  // the key's hash, as Kafka's Java client has it
)

// DefaultRules takes telemetry.<device>.> into one topic, keyed by device.
func DefaultRules() []Rule {
	return []Rule{{Subject: "telemetry.>", Topic: "telemetry", Key: "{2}", Partition: Home}}
}

// Validate reports everything that is wrong with rules at once, each rule by its
// place in the list, counted from 0.
func Validate(rules []Rule) error {
	_, err := Compile(rules)
	return err
}

// rule is a Rule taken apart.
type rule struct {
	pattern    pattern
	topic, key template
	fixedTopic bool // the topic does not depend on the subject, and is known to be valid
	partition  Partitioning
}

// compile takes r apart. It returns what could be understood beside all that is
// wrong, so that later rules can still be held against the pattern.
func compile(r Rule) (rule, []error) {
	var c rule
	var errs []error
	complain := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	c.pattern, err = parsePattern(r.Subject)
	complain(err)
	fitting := c.pattern
	if err != nil {
		fitting.open = true // any token may be there, for all that is known
	}
	if c.topic, err = parseTemplate(r.Topic); err == nil {
		err = checkTopic(c.topic, fitting)
	}
	complain(wrap("topic", err))
	c.fixedTopic = c.topic.fixed()

	if c.key, err = parseTemplate(r.Key); err == nil {
		err = c.key.fits(fitting)
	}
	complain(wrap("key", err))

	switch c.partition = r.Partition; c.partition {
	case "":
		c.partition = Home
	case Home:
	case ByKey:
		if r.Key == "" {
			complain(errors.New("partition: \"key\" needs a key"))
		}
	default:
		complain(fmt.Errorf("partition: %.40q is neither \"home\" nor \"key\"", string(r.Partition)))
	}
	return c, errs
}

// checkTopic refuses a template that makes no valid topic of any subject that p
// matches: tokens that p leaves open count as a letter.
func checkTopic(t template, p pattern) error {
	if err := t.fits(p); err != nil {
		return err
	}
	example := string(t.expand(nil, func(n int) []byte {
		if i := n - 1; i < len(p.tokens) && !wild(p.tokens[i]) {
			return []byte(p.tokens[i])
		}
		return []byte("x")
	}))
	return validTopic(example)
}

// validTopic holds name against Kafka's rule, and against those topics that the
// broker keeps for itself.
func validTopic(name string) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	if topic.Internal(name) {
		return fmt.Errorf("%w: %q is the broker's own", topic.ErrInvalidName, name)
	}
	return nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
