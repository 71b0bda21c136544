package processtest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inNetwork is set for the process of a test that has a network of its own.
const inNetwork = "HEADWATER_TEST_NETWORK"

// OwnNetwork reports whether this process has a network of its own, in which nothing is
// up yet, and mounts of its own. Where it has not, the test is run by another process
// that has, and its outcome is the test's, which must be over within limit. It needs root.
func OwnNetwork(t *testing.T, limit time.Duration, env ...string) bool {
	t.Helper()
	if os.Getenv(inNetwork) != "" {
		letGoOfCards(t)
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), inNetwork+"=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a network of its own: %v", err)
	}
	return false
}

// letGoOfCards unmounts, for this process alone, the loop devices that others had mounted
// when it was started: they could not be taken away from them else.
func letGoOfCards(t *testing.T) {
	t.Helper()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[0], "/dev/loop") {
			if err := syscall.Unmount(fields[1], syscall.MNT_DETACH); err != nil {
				t.Fatalf("unmount %s: %v", fields[1], err)
			}
		}
	}
}
