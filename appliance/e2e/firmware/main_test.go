//go:build interop

// Package firmware tests the firmware image from power-on, in an emulated machine with
// 256 MiB of memory: it boots, devices publish and clients read from outside, and
// nothing acknowledged is lost when the power goes.
//
// It holds tests only. One image is built for all of them; each machine has a copy on
// a disk of its own. Times are generous: the machine is emulated instruction by
// instruction.
package firmware

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
	"github.com/headwater/headwater/appliance/process/processtest"
)

const (
	bootPatience  = 3 * time.Minute // from power-on to ready
	imagePatience = 10 * time.Minute
)

var image machine.Image // the one that TestMain built

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

// builtImage names an image that is there, for the process of a test that has a network
// of its own and builds none.
const builtImage = "HEADWATER_TEST_IMAGE"

func buildAndRun(m *testing.M) int {
	if image.Path = os.Getenv(builtImage); image.Path != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "headwater-firmware-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), imagePatience)
	defer cancel()
	if image, err = machine.Build(ctx, dir, "1.0.0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// newMachine returns one with the image that is off, with its disk in dir. It is cut off when the test ends; of a test that
// failed its console is shown.
func newMachine(t *testing.T, dir string, diskBytes int64, settings ...string) *machine.Machine {
	t.Helper()
	return newMachineOf(t, image, dir, diskBytes, settings...)
}

func newMachineOf(t *testing.T, image machine.Image, dir string, diskBytes int64, settings ...string) *machine.Machine {
	t.Helper()
	m, err := machine.New(t.Context(), dir, image.Path, diskBytes, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Errorf("cut: %v", err)
		}
		if t.Failed() {
			t.Logf("the console says:\n%s", processtest.LastLines(m.Log(), 80))
		}
	})
	return m
}

// powerOn switches m on and waits until it is ready; it says how long that took.
func powerOn(t *testing.T, m *machine.Machine) {
	t.Helper()
	start := time.Now()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, m, start)
}

func awaitReady(t *testing.T, m *machine.Machine, start time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), bootPatience, fmt.Errorf("within %v of power-on", bootPatience))
	defer cancel()
	if err := m.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready %.1f s after power-on", time.Since(start).Seconds())
}

// kcat reads a topic to its end with kcat, each record as format says.
func kcat(t *testing.T, m *machine.Machine, topic, format string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "kcat", "-b", m.Kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", format).CombinedOutput()
	if err != nil {
		t.Fatalf("kcat: %v\n%s", err, out)
	}
	return string(out)
}

// values reads a topic's.
func values(t *testing.T, m *machine.Machine, topic string) []string {
	t.Helper()
	return strings.Fields(kcat(t, m, topic, "%s\n"))
}

// onCard copies what is on m's disk from startMiB on into a file. m is off.
func onCard(t *testing.T, m *machine.Machine, startMiB int) (part string) {
	t.Helper()
	part = filepath.Join(t.TempDir(), "part")
	out, err := exec.CommandContext(t.Context(), "dd", "if="+m.Disk, "of="+part, "bs=1M", fmt.Sprintf("skip=%d", startMiB), "conv=sparse").CombinedOutput()
	if err != nil {
		t.Fatalf("dd: %v\n%s", err, out)
	}
	return part
}
