package config

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxRules bounds the list that every message is held against.
const maxRules = 1000

// rules is a list of rules as YAML, of which JSON is a part.
func rules() kind[[]Rule] {
	return kind[[]Rule]{
		parse: parseRules,
		format: func(rules []Rule) string {
			out, err := yaml.Marshal(rules)
			if err != nil {
				panic(err) // a list of structs of strings always has a YAML form
			}
			return strings.TrimSuffix(string(out), "\n")
		},
	}
}

var errRules = errors.New(`is not a list of rules; allowed is one such as [{subject: "plant.*.>", topic: plant, key: "{2}"}]`)

func parseRules(text string) ([]Rule, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode {
		return nil, errRules
	}
	items := doc.Content[0].Content
	if len(items) > maxRules {
		return nil, fmt.Errorf("has %d rules; allowed is %d", len(items), maxRules)
	}
	rules := make([]Rule, len(items))
	var errs []error
	for i, item := range items {
		if err := parseRule(item, &rules[i]); err != nil {
			errs = append(errs, fmt.Errorf("rule %d %w", i+1, err))
		}
	}
	return rules, errors.Join(errs...)
}

func parseRule(node *yaml.Node, rule *Rule) error {
	fields := map[string]*string{
		"subject": &rule.Subject, "topic": &rule.Topic, "key": &rule.Key, "partition": &rule.Partition,
	}
	if node.Kind != yaml.MappingNode {
		return errors.New("is not a mapping; allowed are subject, topic, key and partition")
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i].Value, node.Content[i+1]
		field, known := fields[name]
		if !known || value.Kind != yaml.ScalarNode {
			return fmt.Errorf("has %.60q; allowed are subject, topic, key and partition, with one value each", name)
		}
		if value.Tag != "!!null" {
			*field = value.Value
		}
	}
	if rule.Subject == "" || rule.Topic == "" {
		return errors.New("has no subject or no topic; both are needed")
	}
	return nil
}
