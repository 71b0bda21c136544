package config

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/bridge/access"
)

// users is a list of users.
func users() kind[[]access.User] {
	return list[access.User]{
		entry: "user",
		fields: []field[access.User]{
			textField("name", func(u *access.User) *string { return &u.Name }),
			textField("password", func(u *access.User) *string { return &u.Password }),
			textField("nkey", func(u *access.User) *string { return &u.NKey }),
			textField("certificate", func(u *access.User) *string { return &u.Certificate }),
			subjectsField("publish", func(u *access.User) *[]string { return &u.Publish }),
			subjectsField("subscribe", func(u *access.User) *[]string { return &u.Subscribe }),
		},
		// Joined, so that it stands without the value, which may hold passwords.
		notList: errors.Join(errors.New(`it is not a list of users; allowed is one such as [{name: press3, password: "$2a$10$...", publish: [telemetry.press3.>]}]`)),
		judge:   func(list []access.User) error { _, err := access.Compile(list); return err },
	}.kind()
}

// passwordHash is a password's hash, or nothing.
func passwordHash() kind[string] {
	return kind[string]{
		parse: func(s string) (string, error) {
			if s == "" {
				return "", nil
			}
			if _, err := access.Compile([]access.User{{Name: "admin", Password: s, Publish: []string{">"}}}); err != nil {
				// Joined, so that it stands without the value, which may be the password.
				return "", errors.Join(errors.New("it is no bcrypt hash; `headwater passwd` makes one of a password"))
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

// subjectsField is a field that is a list of subjects.
func subjectsField(name string, at func(*access.User) *[]string) field[access.User] {
	return field[access.User]{
		name: name,
		get: func(u *access.User) *yaml.Node {
			if len(*at(u)) == 0 {
				return nil
			}
			node := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, s := range *at(u) {
				node.Content = append(node.Content, quotedScalar(s))
			}
			return node
		},
		set: func(u *access.User, node *yaml.Node) error {
			if node.Kind != yaml.SequenceNode {
				return errors.New(`is not a list; allowed is one of subjects, such as ["telemetry.press3.>"]`)
			}
			for _, item := range node.Content {
				if item = resolved(item); item.Kind != yaml.ScalarNode {
					return errors.New("holds a list or a mapping; allowed are subjects")
				}
				*at(u) = append(*at(u), item.Value)
			}
			return nil
		},
	}
}

// quotedScalar is a subject: ! and > and * mean something at the start of a YAML value.
func quotedScalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Style: yaml.DoubleQuotedStyle}
}
