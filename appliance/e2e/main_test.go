// Package e2e tests the whole appliance from outside: the real binary as a
// process of its own, real clients on its ports, SIGKILL and SIGTERM.
//
// It holds tests only. Every test has a process, ports and a data directory of
// its own, and waits for what it waits for within a generous deadline, never for
// a time to pass. What the tests need on the machine beside Go is kcat.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// patience is how long anything here may take before it counts as not happening.
const patience = 60 * time.Second

var headwater string // the binary that TestMain built

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "headwater-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	headwater = filepath.Join(dir, "headwater")
	if err := process.Build(context.Background(), headwater, nil, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start starts a headwater on an empty data directory, and kills it when the test
// ends.
func start(t *testing.T) *process.Process {
	t.Helper()
	p := prepare(t, t.TempDir())
	restart(t, p)
	return p
}

// prepare returns a headwater that is not started.
func prepare(t *testing.T, dataDir string, env ...string) *process.Process {
	t.Helper()
	return processtest.New(t, headwater, dataDir, env...)
}

// restart starts p, which is not running, and waits until it is ready.
func restart(t *testing.T, p *process.Process) {
	t.Helper()
	if err := p.Start(within(t, patience)); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, p *process.Process) {
	t.Helper()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

// within returns a context of the test's that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// wait waits until done is closed, for patience at most.
func wait(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-within(t, patience).Done():
		t.Fatalf("waited %v: %s", patience, what)
	}
}
