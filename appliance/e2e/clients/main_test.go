//go:build interop

// Package clients tests the appliance with the Kafka clients that people have, each
// in the language that it is written in. It holds tests only, for `make interop`.
//
// A driver is a small program around one client: it takes one command as JSON and
// answers in JSON lines, so that one test serves all clients. The drivers lie in
// python, node, golang and java. Their libraries are pinned there; what is installed
// for them goes into the user's cache directory and stays for the next run.
package clients

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
const patience = 90 * time.Second

var headwater string // the binary that TestMain built

func TestMain(m *testing.M) { os.Exit(prepareAndRun(m)) }

func prepareAndRun(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "headwater-clients-")
	if err == nil {
		defer os.RemoveAll(dir)
		headwater = filepath.Join(dir, "headwater")
		err = process.Build(ctx, headwater, nil, nil)
	}
	if err == nil {
		err = prepareDrivers(ctx, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start starts a headwater on an empty data directory, and kills it when the test
// ends.
func start(t *testing.T, env ...string) *process.Process {
	t.Helper()
	p := processtest.New(t, headwater, t.TempDir(), env...)
	if err := p.Start(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	return p
}

// within returns a context of the test's that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
