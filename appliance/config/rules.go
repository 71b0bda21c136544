package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/bridge/subject"
)

// rules is a list of rules as YAML, of which JSON is a part.
func rules() kind[[]subject.Rule] {
	return kind[[]subject.Rule]{parse: parseRules, format: formatRules}
}

// ruleField is one thing that a rule can say. nil for its value is that the rule
// does not say it.
type ruleField struct {
	name string
	get  func(*subject.Rule) *yaml.Node
	set  func(*subject.Rule, *yaml.Node) error
}

// ruleFields are all of them, in the order in which they are written.
var ruleFields = []ruleField{
	ruleText("subject", func(r *subject.Rule) *string { return &r.Subject }),
	ruleText("topic", func(r *subject.Rule) *string { return &r.Topic }),
	ruleText("key", func(r *subject.Rule) *string { return &r.Key }),
	ruleText("partition", func(r *subject.Rule) *string { return (*string)(&r.Partition) }),
	{"headers", headersNode, setHeaders},
	ruleValue("linger", duration(subject.MinLinger, subject.MaxLinger), func(r *subject.Rule) *time.Duration { return &r.Linger }),
	ruleText("compression", func(r *subject.Rule) *string { return &r.Compression }),
	ruleValue("maxMessageBytes", size(1, math.MaxInt32), func(r *subject.Rule) *int64 { return &r.MaxMessageBytes }),
}

// ruleText is a field whose text package subject judges.
func ruleText(name string, at func(*subject.Rule) *string) ruleField {
	return ruleValue(name, kind[string]{
		parse:  func(s string) (string, error) { return s, nil },
		format: func(s string) string { return s },
	}, at)
}

// ruleValue is a field of kind k, which is not said when it is zero.
func ruleValue[T comparable](name string, k kind[T], at func(*subject.Rule) *T) ruleField {
	return ruleField{
		name: name,
		get: func(r *subject.Rule) *yaml.Node {
			if *at(r) == *new(T) {
				return nil
			}
			return scalar(k.format(*at(r)))
		},
		set: func(r *subject.Rule, node *yaml.Node) error {
			if node.Kind != yaml.ScalarNode {
				return errors.New("holds a list or a mapping; allowed is one value")
			}
			v, err := k.parse(node.Value)
			if err != nil {
				return fmt.Errorf("%.60q %w", node.Value, err)
			}
			*at(r) = v
			return nil
		},
	}
}

func headersNode(r *subject.Rule) *yaml.Node {
	if len(r.Headers) == 0 {
		return nil
	}
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, h := range r.Headers {
		node.Content = append(node.Content, scalar(h.Name), scalar(h.Value))
	}
	return node
}

func setHeaders(r *subject.Rule, node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return errors.New(`is not a mapping; allowed is one of names to values, such as {Device: "{2}"}`)
	}
	for name, value := range pairs(node) {
		if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
			return fmt.Errorf("%.60q has no single value; allowed is one such as \"{2}\"", name.Value)
		}
		r.Headers = append(r.Headers, subject.HeaderRule{Name: name.Value, Value: value.Value})
	}
	return nil
}

var errRules = errors.New(`is not a list of rules; allowed is one such as [{subject: "plant.*.>", topic: plant, key: "{2}"}]`)

// parseRules reads the list, and has package subject say what is wrong with the
// rules themselves. Whatever is wrong is told of all rules at once.
func parseRules(text string) ([]subject.Rule, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode {
		return nil, errRules
	}
	items := doc.Content[0].Content
	if len(items) == 0 {
		return nil, errors.New("holds no rule; allowed is one or more")
	}
	rules := make([]subject.Rule, len(items))
	var errs []error
	mappings := true
	for i, item := range items {
		item = resolved(item)
		mappings = mappings && item.Kind == yaml.MappingNode
		for _, err := range parseRule(item, &rules[i]) {
			errs = append(errs, fmt.Errorf("rule %d %w", i, err))
		}
	}
	if mappings { // else what those others lack would be noise
		errs = append(errs, each(subject.Validate(rules))...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return rules, nil
}

// each is the errors that err holds, so that complaints takes them as sentences of
// their own instead of words about the text.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// parseRule reads one rule, and returns everything that is wrong with how it is
// written.
func parseRule(node *yaml.Node, rule *subject.Rule) (errs []error) {
	if node.Kind != yaml.MappingNode {
		return []error{fmt.Errorf("is not a mapping; allowed are %s", fieldNames())}
	}
	seen := map[string]bool{}
	for key, value := range pairs(node) {
		name := key.Value
		i := slices.IndexFunc(ruleFields, func(f ruleField) bool { return f.name == name })
		switch {
		case i < 0:
			errs = append(errs, fmt.Errorf("has %.60q; %s", name, unknownField(name)))
		case seen[name]:
			errs = append(errs, fmt.Errorf("has %s twice; allowed is once", name))
		case value.Tag != "!!null":
			if err := ruleFields[i].set(rule, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		seen[name] = true
	}
	return errs
}

// pairs yields the names of a mapping with their values.
func pairs(mapping *yaml.Node) func(yield func(name, value *yaml.Node) bool) {
	return func(yield func(name, value *yaml.Node) bool) {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			if !yield(mapping.Content[i], resolved(mapping.Content[i+1])) {
				return
			}
		}
	}
}

// resolved is what node stands for, if it is an alias.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// unknownField is the complaint about a field that no rule has, with the one that
// was perhaps meant.
func unknownField(name string) string {
	best, least := "", 3 // letters that differ
	for _, f := range ruleFields {
		if d := distance(letters(name[:min(len(name), 100)]), letters(f.name)); d < least {
			best, least = f.name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "allowed are " + fieldNames()
}

func fieldNames() string {
	var names []string
	for _, f := range ruleFields {
		names = append(names, f.name)
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// formatRules writes each field that says something, on one line of YAML.
func formatRules(rules []subject.Rule) string {
	list := ruleList(rules)
	list.Style = yaml.FlowStyle
	out, err := yaml.Marshal(list)
	if err != nil {
		panic(err) // a list of mappings always has a YAML form
	}
	return strings.TrimSuffix(string(out), "\n")
}

func ruleList(rules []subject.Rule) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, r := range rules {
		item := &yaml.Node{Kind: yaml.MappingNode}
		for _, field := range ruleFields {
			if value := field.get(&r); value != nil {
				item.Content = append(item.Content, scalar(field.name), value)
			}
		}
		list.Content = append(list.Content, item)
	}
	return list
}
