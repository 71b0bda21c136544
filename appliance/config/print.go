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
	for _, k := range keys {
		section, name := top, k.name
		for head, rest, below := strings.Cut(name, "."); below; head, rest, below = strings.Cut(name, ".") {
			section, name = sectionOf(section, head), rest
		}
		section.Content = append(section.Content, scalar(name), k.value(&c))
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(top); err != nil {
		return err
	}
	return enc.Close()
}

// sectionOf is the mapping called name in top, which is made when it is not the last:
// settings of one section stand together.
func sectionOf(top *yaml.Node, name string) *yaml.Node {
	if n := len(top.Content); n > 0 && top.Content[n-2].Value == name {
		return top.Content[n-1]
	}
	section := &yaml.Node{Kind: yaml.MappingNode}
	top.Content = append(top.Content, scalar(name), section)
	return section
}

// value is the setting's value as YAML has it.
func (k key) value(c *Config) *yaml.Node {
	if k.node != nil {
		return k.node(c)
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
