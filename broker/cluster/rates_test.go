package cluster

import (
	"errors"
	"maps"
	"testing"

	"github.com/headwater/headwater/broker/topic"
)

func TestAlterRates(t *testing.T) {
	rate := func(op topic.Op, value string) []topic.Change {
		return []topic.Change{{Name: FollowerRate, Op: op, Value: value}}
	}
	before := map[string]string{FollowerRate: "10", LeaderRate: "20", "log.retention.ms": "30"}
	for name, tc := range map[string]struct {
		changes []topic.Change
		replace bool
		want    map[string]string // nil: refused
	}{
		"set":     {rate(topic.OpSet, "11"), false, map[string]string{FollowerRate: "11", LeaderRate: "20", "log.retention.ms": "30"}},
		"delete":  {rate(topic.OpDelete, ""), false, map[string]string{LeaderRate: "20", "log.retention.ms": "30"}},
		"replace": {rate(topic.OpSet, "11"), true, map[string]string{FollowerRate: "11", "log.retention.ms": "30"}},
		"nothing": {nil, false, before},
		"less":    {rate(topic.OpSet, "-1"), false, nil},
		"words":   {rate(topic.OpSet, "much"), false, nil},
		"list":    {rate(topic.OpAppend, "1"), false, nil},
	} {
		got := maps.Clone(before)
		err := AlterRates(got, tc.changes, tc.replace)
		if tc.want == nil && !errors.Is(err, topic.ErrInvalidSetting) || tc.want != nil && (err != nil || !maps.Equal(got, tc.want)) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestChangedRate(t *testing.T) {
	for name, tc := range map[string]struct {
		all, this string
		want      int64
		ok        bool
	}{
		"none":    {"", "", 0, false},
		"all":     {"5", "", 5, true},
		"this":    {"5", "6", 6, true},
		"unknown": {"5", "much", 5, true},
	} {
		rates := Rates{map[string]string{LeaderRate: tc.all}, map[string]string{LeaderRate: tc.this}}
		if got, ok := rates.Changed(LeaderRate); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %d, %t", name, got, ok)
		}
	}
}
