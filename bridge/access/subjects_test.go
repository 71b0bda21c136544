package access

import (
	"strings"
	"testing"
)

func TestMayPublish(t *testing.T) {
	for _, tc := range []struct {
		list, subject string
		want          bool
	}{
		{"telemetry.>", "telemetry.press3.temp", true},
		{"telemetry.>", "telemetry", false},
		{"telemetry.>", "telemetry.", false},
		{"telemetry.>", "other.press3", false},
		{"telemetry.*", "telemetry.press3", true},
		{"telemetry.*", "telemetry.press3.temp", false},
		{"*.press3.*", "telemetry.press3.temp", true},
		{"*.press3.*", "telemetry.press3", false},
		{"a", "a", true},
		{"a", "a.b", false},
		{"a", "ab", false},
		{"a", "", false},
		{">", "$JS.API.INFO", true},
		{"> !_INBOX.>", "_INBOX.x", false},
		{"> !_INBOX.>", "a", true},
		{"a b", "b", true},
		{"!a", "b", false},
		{"!a a", "a", false},
	} {
		s, err := parseSubjects(strings.Fields(tc.list))
		if err != nil {
			t.Fatal(err)
		}
		if got := newIdentity("u", s, subjects{}).MayPublish([]byte(tc.subject)); got != tc.want {
			t.Errorf("%s: %q: %v, want %v", tc.list, tc.subject, got, tc.want)
		}
	}
}

func TestMaySubscribe(t *testing.T) {
	for _, tc := range []struct {
		list, pattern string
		want          bool
	}{
		{"cmd.>", "cmd.press3", true},
		{"cmd.>", "cmd.*", true},
		{"cmd.>", "cmd.>", true},
		{"cmd.>", ">", false},
		{"cmd.>", "*.press3", false},
		{"cmd.*", "cmd.>", false},
		{"cmd.press3", "cmd.*", false},
		{"cmd.press3", "cmd.press3.x", false},
		{"cmd.>", "cmd..x", false},
		{"cmd.>", "cmd.>.x", false},
		{"", "_INBOX.x.*", true},
		{"!_INBOX.>", "_INBOX.x.*", false},
		{"!_INBOX.> _INBOX_press3.>", "_INBOX_press3.>", true},
		{"> !secret.>", "secret.x", false},
		{"> !secret.>", "*.x", false}, // some of it
		{"> !secret.>", ">", false},
		{"> !secret.x", "secret.y", true},
		{">", "$JS.API.>", false},
		{"$JS.>", "$JS.API.INFO", false},
		{"$JS.API.INFO", "$JS.API.INFO", false},
		{">", "$JS.*", false},
		{">", ">", true}, // $JS.> is none of what it stands for
		{">", "*.API.>", true},
		{">", "$other.>", true},
	} {
		s, err := parseSubjects(strings.Fields(tc.list))
		if err != nil {
			t.Fatal(err)
		}
		if got := newIdentity("u", subjects{}, s).MaySubscribe(tc.pattern); got != tc.want {
			t.Errorf("%s: %s: %v, want %v", tc.list, tc.pattern, got, tc.want)
		}
	}
}
