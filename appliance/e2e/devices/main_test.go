//go:build interop

// Package devices tests the appliance with the NATS and MQTT clients that people
// have: the nats command, nats.go, nats.js, mosquitto's tools and paho. It holds
// tests only, for `make interop`.
//
// Clients in other languages stand behind small drivers, in python and node. Versions
// are pinned there and in prepare_test.go, and TestVersions prints them.
package devices

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/install"
	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// patience is how long anything here may take before it counts as not happening.
const patience = 60 * time.Second

// natsCommand is the package and version of the nats command.
const natsCommand, natsVersion = "github.com/nats-io/natscli/nats", "v0.5.1"

// What prepareAndRun made ready.
var (
	headwater string   // the binary
	natsTool  string   // the nats command
	python    []string // the driver of paho
	node      []string // the driver of nats.js
)

func TestMain(m *testing.M) { os.Exit(prepareAndRun(m)) }

func prepareAndRun(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "headwater-devices-")
	if err == nil {
		defer os.RemoveAll(dir)
		headwater = filepath.Join(dir, "headwater")
		err = process.Build(ctx, headwater, nil, nil)
	}
	if err == nil {
		err = prepare(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func prepare(ctx context.Context) (err error) {
	if natsTool, err = install.Go(ctx, natsCommand, natsVersion); err != nil {
		return err
	}
	interpreter, err := install.Python(ctx, "python/requirements.txt")
	if err != nil {
		return err
	}
	python = []string{interpreter, "python/driver.py"}
	at, err := install.Node(ctx, "node")
	if err == nil {
		err = install.Copy("node/driver.mjs", at)
	}
	node = []string{"node", filepath.Join(at, "driver.mjs")}
	return err
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

// restart stops p, as an operator does, and starts it again.
func restart(t *testing.T, p *process.Process) {
	t.Helper()
	ctx := within(t, patience)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(ctx); err != nil || code != 0 {
		t.Fatalf("ended with %d, %v", code, err)
	}
	if err := p.Start(ctx); err != nil {
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

// command runs a program that must succeed, and returns what it wrote.
func command(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := try(t, stdin, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// try runs a program, and returns what it wrote to both of its outputs.
func try(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(within(t, patience), args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	err := cmd.Run()
	return out.String(), err
}

// runNATS runs the nats command against p.
func runNATS(t *testing.T, p *process.Process, args ...string) string {
	t.Helper()
	return command(t, "", natsArgs(p, args)...)
}

func natsArgs(p *process.Process, args []string) []string {
	return append([]string{natsTool, "--server", "nats://" + p.NATS, "--no-context", "--timeout", "10s"}, args...)
}
