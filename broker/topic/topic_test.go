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
	if err != nil || got.Cleanup != Compact || got.Full != Reject || got.Retention != Forever || got.RetentionBytes != -1 {
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
		"retention.ms": "-1", "retention.bytes": "1048576", "segment.ms": "60000", "cleanup.policy": "delete, compact", "headwater.full": "reject",
		"min.cleanable.dirty.ratio": "0.25", "delete.retention.ms": "0", "min.compaction.lag.ms": "60000", "max.compaction.lag.ms": "120000",
		"min.insync.replicas": "2", "unclean.leader.election.enable": "true", "leader.replication.throttled.replicas": "0:1", "follower.replication.throttled.replicas": "*",
	})
	want := Defaults()
	want.Cleanup, want.MinDirtyRatio, want.DeleteRetention = CompactAndDelete, 0.25, 0
	want.MinCompactionLag, want.MaxCompactionLag = time.Minute, 2*time.Minute
	want.MinISR, want.UncleanElection, want.LeaderThrottled, want.FollowerThrottled = 2, true, "0:1", "*"
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
		"cleanup.policy":    "compact,shred",
		"headwater.full":    "0",
		"colour":            "red",

		"min.cleanable.dirty.ratio": "1.5",
		"delete.retention.ms":       "-1",
		"max.compaction.lag.ms":     "0",
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

func TestCleanupPolicy(t *testing.T) {
	for text, want := range map[string]CleanupPolicy{
		"delete": Delete, "compact": Compact, "compact,delete": CompactAndDelete,
		"delete,compact": CompactAndDelete, " compact , delete ": CompactAndDelete, "compact,compact": Compact,
	} {
		if got, err := ParseCleanupPolicy(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", ",", "compact,", "Delete", "shred"} {
		if got, err := ParseCleanupPolicy(bad); !errors.Is(err, ErrInvalidSetting) {
			t.Errorf("%q is %v, %v, want an error", bad, got, err)
		}
	}
}

// Records cannot have to wait longer than they may.
func TestCompactionLags(t *testing.T) {
	for name, tc := range map[string]struct {
		low, high string
		ok        bool
	}{
		"same":  {"5", "5", true},
		"above": {"6", "5", false},
		"never": {"6", "9223372036854775807", true},
	} {
		_, err := Apply(Defaults(), map[string]string{"min.compaction.lag.ms": tc.low, "max.compaction.lag.ms": tc.high})
		if errors.Is(err, ErrInvalidSetting) == tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What Describe lists, Apply takes back unchanged: a tool that copies a topic's
// settings makes an equal one.
func TestDescribeAppliesBack(t *testing.T) {
	want := Defaults()
	want.Retention, want.SegmentAge, want.MaxMessageBytes, want.Full = Forever, time.Hour, 1<<20, Reject
	want.Cleanup, want.MinDirtyRatio = CompactAndDelete, 0.1
	listed := map[string]string{}
	for _, d := range want.Describe() {
		listed[d.Name] = d.Value
	}
	got, err := Apply(Defaults(), listed)
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v\nlisted %v", got, err, want, listed)
	}
	if names := slices.Collect(maps.Keys(listed)); len(names) != len(settings)+len(throttled)+len(fixed) {
		t.Errorf("%d settings listed, want %d", len(names), len(settings)+len(throttled)+len(fixed))
	}
}
