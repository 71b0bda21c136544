package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// verify runs headwater verify and returns what it wrote and its exit code.
func verify(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(within(t, patience), headwater, append([]string{"verify"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// verify finds a directory whole that a stop or a kill has left, and leaves each
// byte as it is; it refuses one in use, and one that is none.
func TestVerifyLooks(t *testing.T) {
	for name, clean := range map[string]bool{"stopped": true, "killed": false} {
		whole := newPristine(t, clean)
		dir := filepath.Join(t.TempDir(), "data")
		restore(t, dir, whole.files)
		stdout, stderr, code := verify(t, dir)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "3 partitions, ") || !strings.Contains(stdout, " 0 findings\n") {
			t.Errorf("%s: exit code %d, %q, %q", name, code, stdout, stderr)
		}
		if clean == strings.Contains(stdout, "the last stop was not a clean one") {
			t.Errorf("%s: %q", name, stdout)
		}
		if !maps.EqualFunc(filesOf(t, dir), whole.files, bytes.Equal) {
			t.Errorf("%s: a look has changed the directory", name)
		}
	}
	p := start(t)
	for _, args := range [][]string{{p.DataDir}, {p.DataDir, "--repair"}, {t.TempDir()}, {filepath.Join(t.TempDir(), "none")}, {}} {
		stdout, stderr, code := verify(t, args...)
		if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("verify %v: exit code %d, %q, %q; want 2 and one sentence", args, code, stdout, stderr)
		}
	}
}

// What happens to a sealed segment, or to one that is written, is found by verify.
// The binary starts and serves the rest, with or without a repair before, and
// counts what is gone.
func TestDamagedFiles(t *testing.T) {
	whole := newPristine(t, true)
	segments := whole.segmentsOf()
	if len(segments) < 3 {
		t.Fatalf("segments %v, want 3 at least", segments)
	}
	sealed, active := segments[1], segments[len(segments)-1]
	for name, tc := range map[string]struct {
		do    func(files map[string][]byte)
		finds string // by verify
		lost  bool
	}{
		"truncated":    {func(f map[string][]byte) { f[sealed+".log"] = f[sealed+".log"][:300_000] }, "gap", true},
		"missing":      {func(f map[string][]byte) { delete(f, sealed+".log") }, "gap", true},
		"zeroed":       {func(f map[string][]byte) { f[sealed+".log"] = make([]byte, len(f[sealed+".log"])) }, "damage", true},
		"flipped":      {func(f map[string][]byte) { f[sealed+".log"] = flipped(f[sealed+".log"], 500_000) }, "damage", true},
		"active":       {func(f map[string][]byte) { f[active+".log"] = flipped(f[active+".log"], 1000) }, "damage", true},
		"noIndex":      {func(f map[string][]byte) { delete(f, sealed+".index") }, "index", false},
		"noIndexes":    {func(f map[string][]byte) { delete(f, sealed+".index"); delete(f, sealed+".timeindex") }, "index", false},
		"wrongIndex":   {func(f map[string][]byte) { f[sealed+".index"] = flipped(f[sealed+".index"], 15) }, "index", false},
		"noCheckpoint": {func(f map[string][]byte) { f["headwater.checkpoint"] = nil }, "checkpoint", false},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(whole.files)
			tc.do(files)
			p := prepare(t, filepath.Join(t.TempDir(), "data"), smallSegments...)
			restore(t, p.DataDir, files)
			if kinds, code := verifyKinds(t, p.DataDir); code != 1 || !kinds[tc.finds] {
				t.Errorf("verify finds %v, exit code %d; want %s and 1", kinds, code, tc.finds)
			}
			restart(t, p)
			without := whole.checkAll(t, p, damageParts)
			stopWell(t, p)
			if (without > 0) != tc.lost {
				t.Errorf("%d offsets are lost", without)
			}

			restore(t, p.DataDir, files)
			if out, stderr, code := verify(t, "--repair", p.DataDir); code != 0 || !strings.Contains(out, "; repaired, 0 left\n") {
				t.Errorf("repair: exit code %d, %s%s", code, out, stderr)
			}
			if kinds, code := verifyKinds(t, p.DataDir); code != 0 || len(kinds) > 0 {
				t.Errorf("after a repair verify finds %v, exit code %d", kinds, code)
			}
			restart(t, p)
			after := int64(0)
			for _, of := range damageParts {
				after += whole.check(t, p, of)
			}
			if after != without {
				t.Errorf("%d offsets are missing after a repair, %d without", after, without)
			}
			if counted, err := p.Metric(within(t, patience), "headwater_log_gap_offsets_total"); err != nil || counted != 0 {
				t.Errorf("%v offsets are counted again, %v", counted, err)
			}
		})
	}
}

func flipped(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 4
	return data
}

// verifyKinds returns the kinds of what verify --json finds.
func verifyKinds(t *testing.T, dir string) (kinds map[string]bool, code int) {
	t.Helper()
	stdout, _, code := verify(t, "--json", dir)
	kinds, summary := map[string]bool{}, 0
	for line := range strings.Lines(stdout) {
		var o struct {
			Type, Kind, Wrong, Partition string
			Findings                     int
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch o.Type {
		case "finding":
			kinds[o.Kind] = true
		case "summary":
			summary++
			if o.Findings == 0 != (len(kinds) == 0) {
				t.Errorf("%d findings, of kinds %v", o.Findings, kinds)
			}
		}
	}
	if summary != 1 {
		t.Errorf("%d summaries:\n%s", summary, stdout)
	}
	return kinds, code
}
