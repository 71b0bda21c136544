//go:build interop

// Package boot tries what PID 1 does to a machine on a real kernel, as far as that can
// be done beside other processes: a disk behind a loop device, a network of its own.
package boot

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// noRoot is the environment variable that says that tests which need to be root are to
// be left out.
const noRoot = "HEADWATER_NO_ROOT"

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getenv(noRoot) == "1" {
		t.Skipf("%s=1: nothing is mounted and no network made", noRoot)
	}
	if os.Geteuid() != 0 {
		t.Fatalf("this test must run as root; set %s=1 to do without it", noRoot)
	}
}

// command runs a command to its end and returns what it says.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", cmd, err, out, complaint.Bytes())
	}
	return strings.TrimSpace(string(out))
}
