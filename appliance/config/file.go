package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFileBytes is far more than the longest useful file.
const maxFileBytes = 1 << 20

// layer is what one source says, by the names of keys, as text.
type layer struct {
	values   map[string]string
	origins  map[string]string // where in the source each value stands
	problems Problems
}

func newLayer() *layer {
	return &layer{values: map[string]string{}, origins: map[string]string{}}
}

func (l *layer) set(name, value, origin string) {
	l.values[name], l.origins[name] = value, origin
}

func (l *layer) wrong(name, origin, format string, args ...any) {
	l.problems = append(l.problems, Problem{name, origin, fmt.Sprintf(format, args...)})
}

// fromFile reads a YAML file. The text of each value stays what the user wrote,
// so that a value means the same in the file, the environment and a flag.
func fromFile(path string) *layer {
	l := newLayer()
	if path == "" {
		return l
	}
	doc, err := parseFile(path)
	if err != nil {
		l.wrong(path, "", "%v", err)
		return l
	}
	if doc != nil {
		l.walk(path, "", doc)
	}
	return l
}

// parseFile returns the top of the document, nil when there is nothing in it.
func parseFile(path string) (*yaml.Node, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("is larger than %s", FormatBytes(maxFileBytes))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		return nil, fmt.Errorf("is not YAML: %s", strings.ReplaceAll(text, "\n", " "))
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("holds no settings; wanted are lines such as data: {dir: ./data}")
	}
	return doc.Content[0], nil
}

// bare takes the path off an error of package os; the sentence has it already.
func bare(err error) error {
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// walk sets what stands in node, a mapping whose keys continue prefix. It goes
// down only where settings are, so its depth is theirs.
func (l *layer) walk(path, prefix string, node *yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := prefix+node.Content[i].Value, node.Content[i+1]
		origin := fmt.Sprintf("file %s line %d", path, node.Content[i].Line)
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		k, known := find(name)
		switch {
		case known && l.origins[name] != "":
			l.wrong(name, origin, "stands there twice; allowed is once")
		case known:
			l.setNode(k, value, origin)
		case !isSection(name):
			l.wrong(name, origin, "%s", unknown(name))
		case value.Kind == yaml.MappingNode:
			l.walk(path, name+".", value)
		case value.Tag != "!!null":
			l.wrong(name, origin, "is no setting by itself; allowed are settings below it, such as %s", firstOf(name))
		}
	}
}

// setNode takes a setting's value. Nothing behind the colon leaves the default.
func (l *layer) setNode(k key, value *yaml.Node, origin string) {
	switch {
	case value.Tag == "!!null":
		return
	case value.Kind == yaml.ScalarNode:
		l.set(k.name, value.Value, origin)
	case value.Kind == yaml.SequenceNode && k.node != nil:
		text, err := yaml.Marshal(value)
		if err != nil {
			l.wrong(k.name, origin, "cannot be read: %v", err)
			return
		}
		l.set(k.name, string(text), origin)
	default:
		l.wrong(k.name, origin, "holds a list or a mapping; allowed is one value")
	}
}
