package commitlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
)

// What is set aside stays until there is no more room for it; then the oldest goes, and
// that is said and counted. What came last stays in any case, as does what is not ours.
func TestSetAside(t *testing.T) {
	var said bytes.Buffer
	path := t.TempDir()
	d, err := OpenDir(path, Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	foreign := filepath.Join(path, setAsideDir, "notes")
	if err := os.MkdirAll(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	sparse := func(dir string, bytes int64) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "00000000000000000000.log"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "00000000000000000000.log"), bytes); err != nil {
			t.Fatal(err)
		}
	}
	sparse(foreign, maxSetAsideBytes)
	const third = maxSetAsideBytes / 3
	for i, step := range []struct {
		bytes   int64
		left    []int // by the numbers of the steps
		dropped int64
	}{
		{third, []int{0}, 0},
		{third, []int{0, 1}, 0},
		{third, []int{0, 1, 2}, 0},
		{third, []int{1, 2, 3}, third},
		{2 * third, []int{3, 4}, 3 * third},
		{maxSetAsideBytes + 1, []int{5}, 6 * third},
		{0, []int{6}, 6*third + maxSetAsideBytes + 1},
	} {
		name := fmt.Sprintf("press-%d", i)
		if err := os.Mkdir(filepath.Join(path, name), 0o755); err != nil {
			t.Fatal(err)
		}
		sparse(filepath.Join(path, name), step.bytes)
		aside, err := d.SetAside(name)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(aside, "00000000000000000000.log")); err != nil || info.Size() != step.bytes {
			t.Errorf("step %d: %v, %v", i, info, err)
		}
		all, err := listSetAside(disk.OS{}, path)
		if err != nil {
			t.Fatal(err)
		}
		var left []int
		for _, s := range all {
			var n int
			fmt.Sscanf(s.name, "press-%d.", &n)
			left = append(left, n)
		}
		if slices.Sort(left); !slices.Equal(left, step.left) || testutil.ToFloat64(d.metrics.setAsideDropped) != float64(step.dropped) {
			t.Errorf("step %d: left %d, want %d; %v bytes dropped, want %d", i, left, step.left, testutil.ToFloat64(d.metrics.setAsideDropped), step.dropped)
		}
	}
	if n := strings.Count(said.String(), "set aside are removed"); n != 6 {
		t.Errorf("said %d times", n)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
	var noted []FileReport
	if err := CheckFiles(disk.OS{}, path, func(r FileReport) { noted = append(noted, r) }); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(noted, func(r FileReport) bool {
		return r.Wrong == "" && strings.HasPrefix(r.Name, setAsideDir+"/press-6.") && strings.HasPrefix(r.Note, "0 bytes")
	}) || slices.ContainsFunc(noted, func(r FileReport) bool { return r.Name == setAsideDir }) {
		t.Errorf("noted %+v", noted)
	}
}
