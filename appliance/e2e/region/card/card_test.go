//go:build interop

package card

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// What was synced is there after a power cut, what was not is gone.
func TestCut(t *testing.T) {
	c := newCard(t)
	kept := create(t, c, "kept")
	dir, err := os.Open(c.Dir)
	if err := errors.Join(err, kept.Sync(), dir.Sync(), kept.Close(), dir.Close()); err != nil {
		t.Fatal(err)
	}
	lost := create(t, c, "lost")
	if err := errors.Join(c.Cut(), lost.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "late"), nil, 0o600); err == nil {
		t.Error("a card without power was written to")
	}
	if err := c.Restore(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(c.Dir, "kept")); string(got) != "kept" {
		t.Errorf("what was synced reads %q, %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(c.Dir, "lost")); len(got) != 0 {
		t.Errorf("what was not synced reads %q, %v", got, err)
	}
}

// newCard is one that goes with the test.
func newCard(t *testing.T) *Card {
	t.Helper()
	c, err := New(t.TempDir(), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func create(t *testing.T, c *Card, name string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(c.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(name); err != nil {
		t.Fatal(err)
	}
	return file
}

// A card that a process with mounts of its own still has is waited for: mounted anew
// before that one has let go, it would have no power.
func TestAwaitRelease(t *testing.T) {
	c := newCard(t)
	other := exec.Command("sh", "-c", "echo; read line; umount "+c.Dir)
	other.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err := errors.Join(err, other.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		other.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Cut(), run("umount", c.Dir)); err != nil {
		t.Fatal(err)
	}
	if attached, err := c.attached(); !attached || err != nil {
		t.Errorf("attached: %v (%v), and another has it", attached, err)
	}
	if _, err := in.Write([]byte("\n")); err != nil { // the other one lets go
		t.Fatal(err)
	}
	if err := c.awaitRelease(); err != nil {
		t.Fatal(err)
	}
	if attached, err := c.attached(); attached || err != nil {
		t.Errorf("attached: %v (%v), and nobody has it", attached, err)
	}
	if err := c.mount(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "there"), nil, 0o600); err != nil {
		t.Errorf("it has no power: %v", err)
	}
}
