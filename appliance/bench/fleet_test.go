package bench

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFleetValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		fleet Fleet
		want  []string // in the error; nil for none
	}{
		"default": {Fleet{1000, 10 << 30}, nil},
		"empty":   {Fleet{1, 0}, nil},
		"none":    {Fleet{0, 0}, []string{"--partitions: 0"}},
		"both":    {Fleet{20_000, -1}, []string{"--partitions: 20000", "--bytes: -1"}},
	} {
		err := tc.fleet.Validate()
		if (err != nil) != (tc.want != nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", name, err, want)
			}
		}
	}
}

// A disk that would be filled is left alone, and nothing is started.
func TestFleetNeedsRoom(t *testing.T) {
	o := Options{Binary: "none", Dir: t.TempDir(), Rounds: 1, Log: io.Discard}
	_, startErr := Start(t.Context(), o, Fleet{1, 1 << 60})
	_, idleErr := Idle(t.Context(), o, Fleet{1, 1 << 60})
	for _, err := range []error{startErr, idleErr} {
		if err == nil || !strings.Contains(err.Error(), "GB free") {
			t.Errorf("%v, want a sentence about what is free", err)
		}
	}
	if left, err := os.ReadDir(o.Dir); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A scan reads all segments to their ends, and nothing else.
func TestScan(t *testing.T) {
	dir := t.TempDir()
	want := int64(0)
	for _, size := range []int{0, 1, scanBytes, scanBytes + 1, 3*scanBytes - 7} {
		sub := filepath.Join(dir, "t-"+string(rune('a'+len(dir)%3)), "x")
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{".log", ".index"} {
			if err := os.WriteFile(filepath.Join(sub, strings.Repeat("0", size%9+1)+ext), make([]byte, size), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want += int64(size)
	}
	if got, err := scan(t.Context(), dir); got != want || err != nil {
		t.Errorf("%d bytes, %v, want %d", got, err, want)
	}
	if _, err := scan(t.Context(), filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there was scanned")
	}
}

func TestFleetReports(t *testing.T) {
	start := StartReport{CPUs: 2, Go: "go", Fleet: Fleet{1000, 10e9}, Cached: StartFigures{
		Starts: []time.Duration{400 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond},
		Scans:  []time.Duration{3 * time.Second, 3 * time.Second, 6 * time.Second},
	}}
	var text strings.Builder
	if err := start.Print(&text); err != nil {
		t.Fatal(err)
	}
	const row = "| warm | 0.30 s (0.40 s, 0.20 s, 0.30 s) | 3.00 s (3.00 s, 3.00 s, 6.00 s) | 1 / 10.0 |\n"
	if !strings.Contains(text.String(), row) || strings.Contains(text.String(), "dropped") {
		t.Errorf("the report is\n%s, want the row\n%s", &text, row)
	}
	held := func(n int64) Held { return Held{n, n, n, n} }
	if got, want := medianHeld([]Held{held(5), held(1), held(3)}), held(3); got != want {
		t.Errorf("median %+v, want %+v", got, want)
	}
	idle := IdleReport{CPUs: 2, Go: "go", Fleet: Fleet{1000, 1e6}, Empty: Held{20e6, 5e6, 12, 30}, Idle: Held{22e6, 6e6, 13, 31}, Active: Held{30e6, 7e6, 1013, 32}}
	text.Reset()
	if err := idle.Print(&text); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(text.String()), "\n")
	if want := "| 1000 idle partitions | 22.0 | 2.0 | 2.0 | 6.0 | 13 | 31 |"; !slices.Contains(rows, want) {
		t.Errorf("the report is\n%s, want the row\n%s", &text, want)
	}
}
