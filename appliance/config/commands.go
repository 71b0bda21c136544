package config

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/bridge/subject"
)

// commands is a list of commands as YAML, of which JSON is a part.
func commands() kind[[]subject.Command] {
	return kind[[]subject.Command]{parse: parseCommands, format: formatCommands}
}

var errCommands = errors.New(`is not a list of commands; allowed is one such as [{topic: commands, subject: "commands.{key}"}]`)

// parseCommands reads the list, and has package subject say what is wrong with the
// commands themselves. Whatever is wrong is told of all at once.
func parseCommands(text string) ([]subject.Command, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode {
		return nil, errCommands
	}
	var list []subject.Command
	var errs []error
	for i, item := range doc.Content[0].Content {
		var c subject.Command
		for _, err := range parseCommand(resolved(item), &c) {
			errs = append(errs, fmt.Errorf("command %d %w", i, err))
		}
		list = append(list, c)
	}
	if len(errs) == 0 { // else what could not be read would be missed again
		errs = each(subject.ValidateCommands(list))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return list, nil
}

func parseCommand(node *yaml.Node, c *subject.Command) (errs []error) {
	if node.Kind != yaml.MappingNode {
		return []error{errors.New("is not a mapping; allowed are topic and subject")}
	}
	fields := map[string]*string{"topic": &c.Topic, "subject": &c.Subject}
	seen := map[string]bool{}
	for key, value := range pairs(node) {
		switch field := fields[key.Value]; {
		case field == nil:
			errs = append(errs, fmt.Errorf("has %.60q; allowed are topic and subject", key.Value))
		case seen[key.Value]:
			errs = append(errs, fmt.Errorf("has %s twice; allowed is once", key.Value))
		case value.Kind != yaml.ScalarNode:
			errs = append(errs, fmt.Errorf("%s: holds a list or a mapping; allowed is one value", key.Value))
		default:
			*field = value.Value
		}
		seen[key.Value] = true
	}
	return errs
}

// formatCommands writes the list on one line of YAML.
func formatCommands(list []subject.Command) string {
	node := commandList(list)
	node.Style = yaml.FlowStyle
	out, err := yaml.Marshal(node)
	if err != nil {
		panic(err) // a list of mappings always has a YAML form
	}
	return strings.TrimSuffix(string(out), "\n")
}

func commandList(list []subject.Command) *yaml.Node {
	out := &yaml.Node{Kind: yaml.SequenceNode}
	if len(list) == 0 {
		out.Style = yaml.FlowStyle // []
	}
	for _, c := range list {
		item := &yaml.Node{Kind: yaml.MappingNode}
		item.Content = append(item.Content, scalar("topic"), scalar(c.Topic), scalar("subject"), quotedScalar(c.Subject))
		out.Content = append(out.Content, item)
	}
	return out
}
