package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/bridge/access"
)

// users is a list of users as YAML, of which JSON is a part.
func users() kind[[]access.User] {
	return kind[[]access.User]{parse: parseUsers, format: formatUsers}
}

// userField is one thing that is said of a user: a value, or a list of subjects.
type userField struct {
	name  string
	value func(*access.User) *string   // nil for a list
	list  func(*access.User) *[]string // nil for a value
}

// userFields are all of them, in the order in which they are written.
var userFields = []userField{
	{"name", func(u *access.User) *string { return &u.Name }, nil},
	{"password", func(u *access.User) *string { return &u.Password }, nil},
	{"nkey", func(u *access.User) *string { return &u.NKey }, nil},
	{"certificate", func(u *access.User) *string { return &u.Certificate }, nil},
	{"publish", nil, func(u *access.User) *[]string { return &u.Publish }},
	{"subscribe", nil, func(u *access.User) *[]string { return &u.Subscribe }},
}

const allowedOfUser = "allowed are name, password, nkey, certificate, publish and subscribe"

// The value is not repeated: it may hold passwords.
var errUsers = errors.Join(errors.New(`it is not a list of users; allowed is one such as [{name: press3, password: "$2a$10$...", publish: [telemetry.press3.>]}]`))

// parseUsers reads the list, and has package access say what is wrong with the users
// themselves. Whatever is wrong is told of all at once.
func parseUsers(text string) ([]access.User, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode {
		return nil, errUsers
	}
	var list []access.User
	var errs []error
	for i, item := range doc.Content[0].Content {
		var u access.User
		for _, err := range parseUser(resolved(item), &u) {
			errs = append(errs, fmt.Errorf("user %d %w", i, err))
		}
		list = append(list, u)
	}
	if len(errs) == 0 { // else what could not be read would be missed again
		_, err := access.Compile(list)
		errs = each(err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return list, nil
}

func parseUser(node *yaml.Node, u *access.User) (errs []error) {
	if node.Kind != yaml.MappingNode {
		return []error{errors.New("is not a mapping; " + allowedOfUser)}
	}
	seen := map[string]bool{}
	for key, value := range pairs(node) {
		name := key.Value
		i := slices.IndexFunc(userFields, func(f userField) bool { return f.name == name })
		switch {
		case i < 0:
			errs = append(errs, fmt.Errorf("has %.60q; %s", name, allowedOfUser))
		case seen[name]:
			errs = append(errs, fmt.Errorf("has %s twice; allowed is once", name))
		case value.Tag != "!!null":
			if err := userFields[i].set(u, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		seen[name] = true
	}
	return errs
}

func (f userField) set(u *access.User, node *yaml.Node) error {
	if f.value != nil {
		if node.Kind != yaml.ScalarNode {
			return errors.New("holds a list or a mapping; allowed is one value")
		}
		*f.value(u) = node.Value
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		return errors.New(`is not a list; allowed is one of subjects, such as ["telemetry.press3.>"]`)
	}
	for _, item := range node.Content {
		if item = resolved(item); item.Kind != yaml.ScalarNode {
			return errors.New("holds a list or a mapping; allowed are subjects")
		}
		*f.list(u) = append(*f.list(u), item.Value)
	}
	return nil
}

// formatUsers writes each field that says something, on one line of YAML.
func formatUsers(list []access.User) string {
	node := userList(list)
	node.Style = yaml.FlowStyle
	out, err := yaml.Marshal(node)
	if err != nil {
		panic(err) // a list of mappings always has a YAML form
	}
	return strings.TrimSuffix(string(out), "\n")
}

func userList(list []access.User) *yaml.Node {
	out := &yaml.Node{Kind: yaml.SequenceNode}
	if len(list) == 0 {
		out.Style = yaml.FlowStyle // []
	}
	for _, u := range list {
		item := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range userFields {
			switch {
			case f.value != nil && *f.value(&u) != "":
				item.Content = append(item.Content, scalar(f.name), scalar(*f.value(&u)))
			case f.list != nil && len(*f.list(&u)) > 0:
				subjects := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
				for _, s := range *f.list(&u) {
					subjects.Content = append(subjects.Content, quotedScalar(s))
				}
				item.Content = append(item.Content, scalar(f.name), subjects)
			}
		}
		out.Content = append(out.Content, item)
	}
	return out
}

// quotedScalar is a subject: ! and > and * mean something at the start of a YAML value.
func quotedScalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Style: yaml.DoubleQuotedStyle}
}
