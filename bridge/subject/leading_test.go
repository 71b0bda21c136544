package subject

import (
	"slices"
	"testing"
)

func TestLeading(t *testing.T) {
	table, err := Compile([]Rule{
		{Subject: "telemetry.>", Topic: "telemetry"},
		{Subject: "plant.*.press.>", Topic: "press"},
		{Subject: "site.*.*", Topic: "site.{2}-{3}.all"},
		{Subject: "x.*", Topic: "{1}{2}"},
		{Subject: "more.>", Topic: "press"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string][]string{
		"telemetry":        {"telemetry.>", "x.*"},
		"press":            {"plant.*.press.>", "x.*", "more.>"},
		"site.a-b.all":     {"site.*.*", "x.*"},
		"site.a-b.all.all": {"site.*.*", "x.*"},
		"site.-b.all":      {"x.*"},
		"site.a-.all":      {"x.*"},
		"site.ab.all":      {"x.*"},
		"site.a-b.al":      {"x.*"},
		"asite.a-b.all":    {"x.*"},
		"site.a-.allx":     {"x.*"},
		"site.a-.all.all":  {"site.*.*", "x.*"},
		"site.a-b.all2":    {"x.*"},
		"telemetry2":       {"x.*"},
		"a":                nil,
	} {
		if got := table.Leading(topic); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", topic, got, want)
		}
	}
}
