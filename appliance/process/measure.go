package process

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Memory returns how much of the process is in memory now, and the most that
// was since it started. It needs Linux's /proc.
func (p *Process) Memory() (residentBytes, peakBytes int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.current().cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(status) {
		name, value, _ := strings.Cut(string(line), ":")
		field := map[string]*int64{"VmRSS": &residentBytes, "VmHWM": &peakBytes}[name]
		if field == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s of the process: %w", name, err)
		}
		*field = kib << 10
	}
	if residentBytes == 0 || peakBytes == 0 {
		return 0, 0, fmt.Errorf("the status of the process tells no memory:\n%s", status)
	}
	return residentBytes, peakBytes, nil
}

// Metric returns a metric's value from /metrics, summed over those of its series that
// have all of labels, each written as there: rule="plant.>".
func (p *Process) Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("/metrics answers %s", answer.Status)
	}
	return sumMetric(answer.Body, name, labels)
}

// sumMetric reads Prometheus' text format.
func sumMetric(text io.Reader, name string, labels []string) (sum float64, err error) {
	found := false
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		at := strings.LastIndexByte(rest, ' ')
		if slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest[:at], l) }) {
			continue
		}
		v, err := strconv.ParseFloat(rest[at+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s%v", name, labels)
	}
	return sum, nil
}
