package config

import (
	"errors"

	"github.com/headwater/headwater/bridge/subject"
)

// commands is a list of commands.
func commands() kind[[]subject.Command] {
	return list[subject.Command]{
		entry: "command",
		fields: []field[subject.Command]{
			textField("topic", func(c *subject.Command) *string { return &c.Topic }),
			textField("subject", func(c *subject.Command) *string { return &c.Subject }),
		},
		notList: errors.New(`is not a list of commands; allowed is one such as [{topic: commands, subject: "commands.{key}"}]`),
		judge:   subject.ValidateCommands,
	}.kind()
}
