package config

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/bridge/subject"
)

// rules is a list of rules as YAML, of which JSON is a part.
func rules() kind[[]subject.Rule] {
	return kind[[]subject.Rule]{parse: parseRules, format: formatRules}
}

// ruleFields are what a rule can say, in the order in which it is written.
var ruleFields = []struct {
	name string
	get  func(*subject.Rule) string
	set  func(*subject.Rule, string)
}{
	{"subject", func(r *subject.Rule) string { return r.Subject }, func(r *subject.Rule, s string) { r.Subject = s }},
	{"topic", func(r *subject.Rule) string { return r.Topic }, func(r *subject.Rule, s string) { r.Topic = s }},
	{"key", func(r *subject.Rule) string { return r.Key }, func(r *subject.Rule, s string) { r.Key = s }},
	{"partition", func(r *subject.Rule) string { return string(r.Partition) }, func(r *subject.Rule, s string) { r.Partition = subject.Partitioning(s) }},
}

var errRules = errors.New(`is not a list of rules; allowed is one such as [{subject: "plant.*.>", topic: plant, key: "{2}"}]`)

// parseRules reads the list, and has package subject say what is wrong with the
// rules themselves.
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
	for i, item := range items {
		if err := parseRule(item, &rules[i]); err != nil {
			errs = append(errs, fmt.Errorf("rule %d %w", i, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return rules, asList(subject.Validate(rules))
}

// asList makes a list of err, so that complaints takes it as sentences of their
// own instead of words about the text.
func asList(err error) error {
	if _, ok := err.(interface{ Unwrap() []error }); ok {
		return err
	}
	return errors.Join(err)
}

func parseRule(node *yaml.Node, rule *subject.Rule) error {
	if node.Kind != yaml.MappingNode {
		return errors.New("is not a mapping; allowed are subject, topic, key and partition")
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i].Value, node.Content[i+1]
		known := false
		for _, field := range ruleFields {
			if field.name == name && value.Kind == yaml.ScalarNode {
				known = true
				if value.Tag != "!!null" {
					field.set(rule, value.Value)
				}
			}
		}
		if !known {
			return fmt.Errorf("has %.60q; allowed are subject, topic, key and partition, with one value each", name)
		}
	}
	return nil
}

// formatRules writes each field that says something, on one line of YAML.
func formatRules(rules []subject.Rule) string {
	list := ruleList(rules)
	list.Style = yaml.FlowStyle
	out, err := yaml.Marshal(list)
	if err != nil {
		panic(err) // a list of mappings of scalars always has a YAML form
	}
	return strings.TrimSuffix(string(out), "\n")
}

func ruleList(rules []subject.Rule) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, r := range rules {
		item := &yaml.Node{Kind: yaml.MappingNode}
		for _, field := range ruleFields {
			if value := field.get(&r); value != "" {
				item.Content = append(item.Content, scalar(field.name), scalar(value))
			}
		}
		list.Content = append(list.Content, item)
	}
	return list
}
