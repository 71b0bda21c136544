package config

import (
	"errors"
	"fmt"
	"math"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/bridge/subject"
)

// rules is a list of subject rules. What is wrong with a rule is told beside what is
// wrong with how another is written.
func rules() kind[[]subject.Rule] {
	return list[subject.Rule]{
		entry: "rule",
		fields: []field[subject.Rule]{
			textField("subject", func(r *subject.Rule) *string { return &r.Subject }),
			textField("topic", func(r *subject.Rule) *string { return &r.Topic }),
			textField("key", func(r *subject.Rule) *string { return &r.Key }),
			textField("partition", func(r *subject.Rule) *string { return (*string)(&r.Partition) }),
			{"headers", headersNode, setHeaders},
			valueField("linger", duration(subject.MinLinger, subject.MaxLinger), func(r *subject.Rule) *time.Duration { return &r.Linger }),
			textField("compression", func(r *subject.Rule) *string { return &r.Compression }),
			valueField("maxMessageBytes", size(1, math.MaxInt32), func(r *subject.Rule) *int64 { return &r.MaxMessageBytes }),
		},
		notList: errors.New(`is not a list of rules; allowed is one such as [{subject: "plant.*.>", topic: plant, key: "{2}"}]`),
		empty:   errors.New("holds no rule; allowed is one or more"),
		judge:   subject.Validate,
		inPart:  true,
	}.kind()
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
