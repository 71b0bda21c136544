package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/headwater/headwater/bridge/subject"
)

// Commands are read from text and written back.
func TestCommands(t *testing.T) {
	list, err := commands().parse(`[{topic: commands, subject: "commands.{key}"}, {topic: firmware, subject: fw.all}]`)
	want := []subject.Command{{Topic: "commands", Subject: "commands.{key}"}, {Topic: "firmware", Subject: "fw.all"}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Fatalf("%+v, %v", list, err)
	}
	if again, err := commands().parse(commands().format(list)); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("written as %s, read as %+v, %v", commands().format(list), again, err)
	}
	if none, err := commands().parse("[]"); err != nil || len(none) != 0 || commands().format(none) != "[]" {
		t.Errorf("none: %+v, %v, %s", none, err, commands().format(none))
	}
}

func TestCommandsErrors(t *testing.T) {
	for text, want := range map[string]string{
		"commands":                                  "is not a list of commands",
		"{topic: a, subject: b}":                    "is not a list of commands",
		"[a]":                                       "command 0 is not a mapping",
		"[{topic: a, subject: b, to: c}]":           `command 0 has "to"`,
		"[{topic: a, topic: b, subject: b}]":        "command 0 has topic twice",
		"[{topic: [a], subject: b}]":                "command 0 topic: holds a list",
		"[{topic: a}]":                              "subject: \"\" is no subject",
		"[{topic: a, subject: 'commands.>'}]":       "is no subject",
		"[{topic: __consumer_offsets, subject: a}]": "broker's own",
	} {
		if _, err := commands().parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
