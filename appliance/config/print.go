package config

import (
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes every setting to w as a YAML file that Load reads to the same
// Config.
func (c Config) Print(w io.Writer) error {
	top := &yaml.Node{Kind: yaml.MappingNode}
	var section *yaml.Node
	last := ""
	for _, k := range keys {
		head, name, _ := strings.Cut(k.name, ".")
		if head != last {
			last, section = head, &yaml.Node{Kind: yaml.MappingNode}
			top.Content = append(top.Content, scalar(head), section)
		}
		section.Content = append(section.Content, scalar(name), k.node(&c))
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(top); err != nil {
		return err
	}
	return enc.Close()
}

// node is the setting's value as YAML has it.
func (k key) node(c *Config) *yaml.Node {
	if k.name == "bridge.rules" {
		return ruleList(c.Bridge.Rules)
	}
	return scalar(k.text(c))
}

// scalar is a value as users write it: without a tag it is quoted only where
// YAML would read it as something other than a single value, or as nothing.
func scalar(value string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: value}
	switch value {
	case "", "~", "null", "Null", "NULL":
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}
