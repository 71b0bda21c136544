package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// list is how a setting is read and written that is a list of mappings, each of them
// a T: as YAML, of which JSON is a part.
type list[T any] struct {
	entry   string     // what a T is called in complaints
	fields  []field[T] // all that a T can say, in the order in which it is written
	notList error
	empty   error // the complaint about a list of none; nil where that is allowed

	// judge says what is wrong with the entries themselves. Of such as could not be read
	// in full it is asked where inPart is set: else what they lack would be noise.
	judge  func([]T) error
	inPart bool
}

// field is one thing that an entry can say. nil for its value is that the entry does
// not say it.
type field[T any] struct {
	name string
	get  func(*T) *yaml.Node
	set  func(*T, *yaml.Node) error
}

func (l list[T]) kind() kind[[]T] { return kind[[]T]{parse: l.parse, format: l.format, node: l.node} }

// parse reads the list. Whatever is wrong is told of all entries at once.
func (l list[T]) parse(text string) ([]T, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode {
		return nil, l.notList
	}
	var entries []T
	var errs []error
	mappings := true
	for i, item := range doc.Content[0].Content {
		item = resolved(item)
		mappings = mappings && item.Kind == yaml.MappingNode
		var entry T
		for _, err := range l.parseEntry(item, &entry) {
			errs = append(errs, fmt.Errorf("%s %d %w", l.entry, i, err))
		}
		entries = append(entries, entry)
	}
	switch {
	case len(entries) == 0:
		return nil, l.empty
	case len(errs) == 0 || l.inPart && mappings:
		errs = append(errs, each(l.judge(entries))...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return entries, nil
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

// parseEntry reads one entry, and returns everything that is wrong with how it is
// written.
func (l list[T]) parseEntry(node *yaml.Node, entry *T) (errs []error) {
	if node.Kind != yaml.MappingNode {
		return []error{fmt.Errorf("is not a mapping; allowed are %s", l.names())}
	}
	seen := map[string]bool{}
	for key, value := range pairs(node) {
		name := key.Value
		i := slices.IndexFunc(l.fields, func(f field[T]) bool { return f.name == name })
		switch {
		case i < 0:
			errs = append(errs, fmt.Errorf("has %.60q; %s", name, l.unknown(name)))
		case seen[name]:
			errs = append(errs, fmt.Errorf("has %s twice; allowed is once", name))
		case value.Tag != "!!null":
			if err := l.fields[i].set(entry, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		seen[name] = true
	}
	return errs
}

// unknown is the complaint about a field that no entry has, with the one that was
// perhaps meant.
func (l list[T]) unknown(name string) string {
	best, least := "", 3 // letters that differ
	for _, f := range l.fields {
		if d := distance(letters(name[:min(len(name), 100)]), letters(f.name)); d < least {
			best, least = f.name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "allowed are " + l.names()
}

func (l list[T]) names() string {
	names := make([]string, len(l.fields))
	for i, f := range l.fields {
		names[i] = f.name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// format writes each field that says something, on one line of YAML.
func (l list[T]) format(entries []T) string {
	node := l.node(entries)
	node.Style = yaml.FlowStyle
	out, err := yaml.Marshal(node)
	if err != nil {
		panic(err) // a list of mappings always has a YAML form
	}
	return strings.TrimSuffix(string(out), "\n")
}

func (l list[T]) node(entries []T) *yaml.Node {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	if len(entries) == 0 {
		node.Style = yaml.FlowStyle // []
	}
	for i := range entries {
		item := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range l.fields {
			if value := f.get(&entries[i]); value != nil {
				item.Content = append(item.Content, scalar(f.name), value)
			}
		}
		node.Content = append(node.Content, item)
	}
	return node
}

// textField is a field whose text another package judges.
func textField[T any](name string, at func(*T) *string) field[T] {
	return valueField(name, anyText(), at)
}

// valueField is a field of kind k, which is not said when it is zero.
func valueField[T any, V comparable](name string, k kind[V], at func(*T) *V) field[T] {
	return field[T]{
		name: name,
		get: func(entry *T) *yaml.Node {
			if *at(entry) == *new(V) {
				return nil
			}
			return scalar(k.format(*at(entry)))
		},
		set: func(entry *T, node *yaml.Node) error {
			if node.Kind != yaml.ScalarNode {
				return errors.New("holds a list or a mapping; allowed is one value")
			}
			v, err := k.parse(node.Value)
			if err != nil {
				return fmt.Errorf("%.60q %w", node.Value, err)
			}
			*at(entry) = v
			return nil
		},
	}
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
