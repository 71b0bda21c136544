// Package processtest is what the tests share that run the built program, or run
// themselves again in a network of their own. It is imported by tests alone.
package processtest

import (
	"strings"
	"testing"

	"github.com/headwater/headwater/appliance/process"
)

// New returns a program on dataDir that is not started yet. It is killed when the test
// ends, and must not have panicked; of a test that failed its last lines are shown.
func New(t *testing.T, program, dataDir string, env ...string) *process.Process {
	t.Helper()
	p, err := process.New(program, dataDir)
	if err != nil {
		t.Fatal(err)
	}
	p.Env = env
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Errorf("kill: %v", err)
		}
		for _, bad := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if strings.Contains(p.Log(), bad) {
				t.Errorf("the process says %q", bad)
			}
		}
		if t.Failed() {
			t.Logf("the process wrote:\n%s", LastLines(p.Log(), 60))
		}
	})
	return p
}

// LastLines are the last n lines of text, or all.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
