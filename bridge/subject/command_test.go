package subject

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestValidateCommands(t *testing.T) {
	for name, tc := range map[string]struct {
		rules []Command
		want  string // in the error; "" for none
	}{
		"good":            {[]Command{{"commands", "commands.{key}"}, {"plant.a", "{topic}.all"}}, ""},
		"no topic":        {[]Command{{"", "commands.{key}"}}, "topic"},
		"internal":        {[]Command{{"__consumer_offsets", "commands.{key}"}}, "broker's own"},
		"twice":           {[]Command{{"commands", "a"}, {"commands", "b"}}, "the one at 0 is about commands already"},
		"wildcard":        {[]Command{{"commands", "commands.>"}}, "is no subject"},
		"empty token":     {[]Command{{"commands", "commands..{key}"}}, "is no subject"},
		"empty":           {[]Command{{"commands", ""}}, "is no subject"},
		"unknown part":    {[]Command{{"commands", "commands.{2}"}}, "is no subject"},
		"reserved":        {[]Command{{"commands", "$JS.{key}"}}, "is no subject"},
		"inbox":           {[]Command{{"commands", "_INBOX.{key}"}}, "is no subject"},
		"too long":        {[]Command{{"commands", strings.Repeat("a", 1025)}}, "is no subject"},
		"all of them":     {[]Command{{"", "a"}, {"b", ""}}, "1: subject"},
		"too many of all": {slices.Repeat([]Command{{"a", "b"}}, 65), "65, at most"},
	} {
		t.Run(name, func(t *testing.T) {
			err := ValidateCommands(tc.rules)
			if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrInvalidCommand) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestSubjectOfCommand(t *testing.T) {
	r := Command{"plant.a", "commands.{topic}.{key}"}
	for key, want := range map[string]string{
		"press3": "commands.plant.a.press3", "line1.press3": "commands.plant.a.line1.press3",
		"": "", "a b": "", "a.*": "", ">": "", "a..b": "", "{topic}": "", strings.Repeat("k", 1024): "",
	} {
		if got, ok := r.SubjectOf([]byte(key)); ok != (want != "") || ok && got != want {
			t.Errorf("key %.20q: %q, %v, want %q", key, got, ok, want)
		}
	}
}
