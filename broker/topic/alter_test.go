package topic

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

func TestAlter(t *testing.T) {
	before := map[string]string{"retention.ms": "5000", "segment.bytes": "1048576"}
	for name, tc := range map[string]struct {
		changes []Change
		want    map[string]string
	}{
		"nothing":         {nil, before},
		"set":             {[]Change{{"retention.bytes", OpSet, "1048576"}}, map[string]string{"retention.ms": "5000", "segment.bytes": "1048576", "retention.bytes": "1048576"}},
		"setAgain":        {[]Change{{"retention.ms", OpSet, "-1"}}, map[string]string{"retention.ms": "-1", "segment.bytes": "1048576"}},
		"delete":          {[]Change{{"retention.ms", OpDelete, ""}}, map[string]string{"segment.bytes": "1048576"}},
		"deleteWhatIsNot": {[]Change{{"retention.bytes", OpDelete, ""}}, before},
		"appendIsThere":   {[]Change{{"cleanup.policy", OpAppend, "delete"}}, map[string]string{"retention.ms": "5000", "segment.bytes": "1048576", "cleanup.policy": "delete"}},
		"subtractIsNot":   {[]Change{{"cleanup.policy", OpSubtract, "none"}}, map[string]string{"retention.ms": "5000", "segment.bytes": "1048576", "cleanup.policy": "delete"}},
	} {
		was := maps.Clone(before)
		got, err := Alter(before, tc.changes, Defaults())
		if err != nil || !maps.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tc.want)
		}
		if !maps.Equal(before, was) {
			t.Fatalf("%s: the topic's own map was changed to %v", name, before)
		}
	}
}

// Lists are put together word by word; whether a list may be so is Apply's to say.
func TestChangeOfAList(t *testing.T) {
	for name, tc := range map[string]struct {
		change Change
		before string
		want   string
	}{
		"append":        {Change{"cleanup.policy", OpAppend, "b"}, "a", "a,b"},
		"appendTwo":     {Change{"cleanup.policy", OpAppend, "a,c"}, "a,b", "a,b,c"},
		"appendToNone":  {Change{"cleanup.policy", OpAppend, "a"}, "", "a"},
		"subtract":      {Change{"cleanup.policy", OpSubtract, "a"}, "a,b", "b"},
		"subtractAll":   {Change{"cleanup.policy", OpSubtract, "b,a"}, "a,b", ""},
		"subtractOther": {Change{"cleanup.policy", OpSubtract, "c"}, "a,b", "a,b"},
	} {
		to := map[string]string{"cleanup.policy": tc.before}
		if err := tc.change.apply(to, Defaults()); err != nil || to["cleanup.policy"] != tc.want {
			t.Errorf("%s: %q, %v; want %q", name, to["cleanup.policy"], err, tc.want)
		}
	}
}

// Everything wrong is told at once.
func TestAlterRefuses(t *testing.T) {
	got, err := Alter(nil, []Change{
		{"colour", OpSet, "red"},
		{"flavour", OpAppend, "sweet"},
		{"retention.ms", OpAppend, "1"},
		{"segment.bytes", OpSet, "3"},
		{"max.message.bytes", OpSet, strings.Repeat("0", maxValueLen) + "2000000"},
	}, Defaults())
	if got != nil || !errors.Is(err, ErrInvalidSetting) {
		t.Fatalf("%v, %v", got, err)
	}
	for _, says := range []string{"colour", "flavour", "retention.ms is not a list", "segment.bytes", "max.message.bytes"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in:\n%v", says, err)
		}
	}
}

func TestByBrokerKey(t *testing.T) {
	for key, want := range map[string]string{"log.retention.ms": "retention.ms", "message.max.bytes": "max.message.bytes", "retention.ms": "", "colour": "", "": ""} {
		if got, ok := ByBrokerKey(key); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", key, got, ok, want)
		}
	}
}
