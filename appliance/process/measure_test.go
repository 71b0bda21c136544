package process

import (
	"strings"
	"testing"
	"time"
)

func TestSumMetric(t *testing.T) {
	const text = `# HELP dropped_total Messages that were dropped.
# TYPE dropped_total counter
dropped_total{reason="full"} 2
dropped_total{reason="a b"} 3.5
dropped_total_created 17
syncs_total 1e+06
`
	for name, want := range map[string]float64{"dropped_total": 5.5, "syncs_total": 1e6, "dropped_total_created": 17} {
		if got, err := sumMetric(strings.NewReader(text), name, nil); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := sumMetric(strings.NewReader(text), "dropped", nil); err == nil {
		t.Error("a metric that is not there was found")
	}
	if got, err := sumMetric(strings.NewReader(text), "dropped_total", []string{`reason="a b"`}); got != 3.5 || err != nil {
		t.Errorf("one series: %v, %v, want 3.5", got, err)
	}
	if _, err := sumMetric(strings.NewReader(text), "dropped_total", []string{`reason="other"`}); err == nil {
		t.Error("a series that is not there was found")
	}
}

// What a process says at length is kept at both ends.
func TestOutput(t *testing.T) {
	var o output
	o.Write([]byte("first\n"))
	for range 5 {
		o.Write([]byte(strings.Repeat("x", maxHalf)))
	}
	o.Write([]byte("last\n"))
	got := o.String()
	if !strings.HasPrefix(got, "first\n") || !strings.HasSuffix(got, "last\n") || len(got) > 3*maxHalf {
		t.Errorf("%d bytes, from %q to %q", len(got), got[:6], got[len(got)-6:])
	}
}

func TestParseProc(t *testing.T) {
	stat := "42 (head) water) S 1 42 42 0 -1 4194304 100 0 0 0 250 130 0 0 20 0 5 0 1 1 1"
	if got, err := parseStat([]byte(stat)); got != 3800*time.Millisecond || err != nil {
		t.Errorf("%v, %v, want 3.8s", got, err)
	}
	if _, err := parseStat([]byte("42 (headwater) S 1")); err == nil {
		t.Error("a short line was read")
	}
	got := parseColons([]byte("Name:\theadwater\nVmRSS:\t  123 kB\nwrite_bytes: 4096\n"))
	if got["VmRSS"] != 123 || got["write_bytes"] != 4096 || len(got) != 2 {
		t.Errorf("%v", got)
	}
}
