package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const page = `text

| other | limit |
|---|---|
| size | 1 MB |

| what | limit | measured |
|---|---|---|
| size | 30 MB | 1 |
| start | 1,000 ms | 2 |
| speed | – | 3 |

| size | 2 MB |
`

// What is above its limit, in another unit or on one side alone is told; the rest is not.
func TestJudge(t *testing.T) {
	limits, err := parseLimits(page)
	if err != nil {
		t.Fatal(err)
	}
	good := []row{{"size", 30, "MB"}, {"start", 999.9, "ms"}, {"speed", 1e9, ""}}
	if err := judge(good, limits); err != nil {
		t.Errorf("within all limits: %v", err)
	}
	for name, tc := range map[string]struct {
		rows []row
		want string
	}{
		"above":   {[]row{{"size", 30.1, "MB"}, good[1], good[2]}, "size is 30.1 MB; the limit is 30.0 MB"},
		"unit":    {[]row{{"size", 1, "GB"}, good[1], good[2]}, `size is 1.0 GB, and its limit is in "MB"`},
		"unnamed": {append(good[:3:3], row{"more", 1, ""}), "more is 1.0, and the page does not name it"},
		"missing": {good[:2], "speed has a limit, and is not measured"},
	} {
		if err := judge(tc.rows, limits); err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestParseLimits(t *testing.T) {
	for name, text := range map[string]string{
		"noTable": "| what | aim |\n|---|---|\n| a | 1 |\n",
		"twice":   "| what | limit |\n|---|---|\n| a | 1 |\n| a | 2 |\n",
		"noLimit": "| what | limit |\n|---|---|\n| a | little |\n",
	} {
		if limits, err := parseLimits(text); err == nil {
			t.Errorf("%s: %v", name, limits)
		}
	}
}

// The table that is printed can stand on the page.
func TestTableIsAPage(t *testing.T) {
	limits, err := parseLimits(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := []row{{"size", 1, "MB"}, {"start", 2, "ms"}, {"speed", 3, ""}}
	again, err := parseLimits(table(rows, limits))
	if err != nil || judge(rows, again) != nil || again["start"] != limits["start"] {
		t.Errorf("%v, %v\n%s", again, err, table(rows, limits))
	}
}

// The page in the docs can be read, and says something of every processor.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "FOOTPRINT.md"))
	if err != nil {
		t.Fatal(err)
	}
	limits, err := parseLimits(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets[1:] {
		if what := "stripped binary, " + target.name; limits[what].value == 0 {
			t.Errorf("there is no limit for %s", what)
		}
	}
	for what := range limits {
		if strings.Contains(what, "  ") {
			t.Errorf("%q is not as it is measured", what)
		}
	}
}
