// Package subject says where a NATS subject's messages go: to which topic, under
// which key, with which headers, to which partition, and how they are treated on
// the way.
//
// A table of rules is tried in order and the first whose pattern matches decides.
// The package is pure: no I/O, no goroutines, no clock. A Table does not change
// once it is compiled, so that any goroutine may use it; a Route is scratch space
// of one goroutine. Tokens of a subject are counted from 1, rules from 0.
package subject

import (
	"errors"
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/topic"
)

// ErrInvalidRule is wrapped by every complaint about a rule.
var ErrInvalidRule = errors.New("invalid subject rule")

// MaxRules bounds a table: each rule is a subscription, and a set of counters.
const MaxRules = 256

// Rule sends the subjects that match a pattern to a topic.
type Rule struct {
	Subject   string       // a NATS pattern: tokens, * for any one token, > for all that follow
	Topic     string       // a template: {1} stands for the subject's first token, {>} for what > matches
	Key       string       // a template; "" leaves the records' keys null
	Partition Partitioning // "" is Home
	Headers   []HeaderRule // in the order in which records carry them

	Linger          time.Duration // for how long a best-effort message waits for others; 0 is the bridge's
	Compression     string        // of batches, one of Compressions; "" is none
	MaxMessageBytes int64         // of a message with its headers; 0 is no limit of the rule's own
}

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
	pattern    splitPattern
	topic, key template
	headers    []header
	fixedTopic string // the topic, if it does not depend on the subject; known to be valid
	tokens     int    // the highest number of a token that a template asks for
	partition  Partitioning
	index      int32 // the partition, if partition is a number
	settings   Settings
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
	if c.topic.fixed() {
		c.fixedTopic = string(c.topic.expand(nil, nil, nil))
	}

	if c.key, err = parseTemplate(r.Key); err == nil {
		err = c.key.fit(fitting)
	}
	complain(wrap("key", err))

	c.partition, err = r.Partition.checked(r.Key)
	complain(err)
	c.index, _ = c.partition.fixed()

	var more []error
	c.headers, more = compileHeaders(r.Headers, fitting)
	errs = append(errs, more...)
	c.settings = Settings{r.Linger, r.Compression, r.MaxMessageBytes}
	errs = append(errs, c.settings.check()...)

	c.tokens = max(c.topic.tokens(), c.key.tokens())
	for _, h := range c.headers {
		c.tokens = max(c.tokens, h.value.tokens())
	}
	return c, errs
}

// checkTopic prepares a template, and refuses one that makes no valid topic of any
// subject that p matches: tokens that p leaves open count as a letter.
func checkTopic(t template, p splitPattern) error {
	if err := t.fit(p); err != nil {
		return err
	}
	example := p.example(t.tokens())
	return validTopic(string(t.expand(nil, example, split(nil, example))))
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
