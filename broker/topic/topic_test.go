package topic

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestValidateName(t *testing.T) {
	for name, ok := range map[string]bool{
		"telemetry":              true,
		"plant7.press_3-temp":    true,
		"...":                    true,
		strings.Repeat("a", 249): true,
		"":                       false,
		".":                      false,
		"..":                     false,
		strings.Repeat("a", 250): false,
		"a/b":                    false,
		"a b":                    false,
		"größe":                  false,
		"a\x00":                  false,
	} {
		err := ValidateName(name)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrInvalidName) {
			t.Errorf("%q: got %v, want valid %v", name, err, ok)
		}
	}
}

func TestInternal(t *testing.T) {
	if !Internal("__consumer_offsets") || Internal("telemetry") || Internal("__other") {
		t.Error("the broker's own topics are __consumer_offsets and __transaction_state, no others")
	}
}

// The settings of internal topics are ones that topics can have.
func TestInternalOverrides(t *testing.T) {
	got, err := Apply(Defaults(), InternalOverrides())
	if err != nil || got.Full != Reject || got.Retention != Forever || got.RetentionBytes != -1 {
		t.Errorf("got %+v, %v, want a topic of which nothing goes", got, err)
	}
}

func TestID(t *testing.T) {
	for range 200 {
		id := NewID()
		text := id.String()
		if len(text) != 22 || text[0] == '-' || id == (ID{}) {
			t.Fatalf("new id %q", text)
		}
		if got, err := ParseID(text); err != nil || got != id {
			t.Fatalf("ParseID(%q) = %v, %v", text, got, err)
		}
		doc, err := json.Marshal(id)
		var back ID
		if err != nil || json.Unmarshal(doc, &back) != nil || back != id {
			t.Fatalf("JSON %s, %v: %v", doc, err, back)
		}
	}
	for _, bad := range []string{"", "AAAA", strings.Repeat("A", 23), "!!!!!!!!!!!!!!!!!!!!!!"} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", bad, id)
		}
	}
}

func TestApply(t *testing.T) {
	got, err := Apply(Defaults(), map[string]string{
		"retention.ms": "-1", "retention.bytes": "1048576", "segment.ms": "60000", "cleanup.policy": "delete", "headwater.full": "reject",
	})
	want := Defaults()
	want.Retention, want.RetentionBytes, want.SegmentAge, want.Full = Forever, 1<<20, time.Minute, Reject
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// Everything wrong is told at once, by the names that users write.
func TestApplyComplains(t *testing.T) {
	bad := map[string]string{
		"segment.bytes":     "12",
		"retention.ms":      "a week",
		"max.message.bytes": "99999999999999999999",
		"cleanup.policy":    "compact",
		"headwater.full":    "0",
		"colour":            "red",
	}
	_, err := Apply(Defaults(), bad)
	if !errors.Is(err, ErrInvalidSetting) {
		t.Fatalf("got %v, want %v", err, ErrInvalidSetting)
	}
	for name, value := range bad {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s is not complained about in:\n%v", name, value, err)
		}
	}
}

// What Describe lists, Apply takes back unchanged: a tool that copies a topic's
// settings makes an equal one.
func TestDescribeAppliesBack(t *testing.T) {
	want := Defaults()
	want.Retention, want.SegmentAge, want.MaxMessageBytes, want.Full = Forever, time.Hour, 1<<20, Reject
	listed := map[string]string{}
	for _, d := range want.Describe() {
		listed[d.Name] = d.Value
	}
	got, err := Apply(Defaults(), listed)
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v\nlisted %v", got, err, want, listed)
	}
	if names := slices.Collect(maps.Keys(listed)); len(names) != len(settings)+len(fixed) {
		t.Errorf("%d settings listed, want %d", len(names), len(settings)+len(fixed))
	}
}
