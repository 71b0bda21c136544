package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// noRoot is the environment variable that says that the tests which must mount a
// file system are to be left out.
const noRoot = "HEADWATER_NO_ROOT"

// card is a real ext4 in an image file, mounted through a loop device of its own,
// whose power can be cut.
type card struct {
	dir     string // where it is mounted
	device  string
	mounted bool
}

// newCard makes a card of that many bytes and mounts it. When the test ends it is
// unmounted and its device is freed.
func newCard(t *testing.T, size int64) *card {
	t.Helper()
	if os.Getenv(noRoot) == "1" {
		t.Skipf("%s=1: nothing is mounted, so power cuts are not tested here", noRoot)
	}
	if os.Geteuid() != 0 {
		t.Fatalf("this test mounts a file system and must run as root; set %s=1 to do without it", noRoot)
	}
	at := t.TempDir()
	image := filepath.Join(at, "card.img")
	c := &card{dir: filepath.Join(at, "card")}
	if err := errors.Join(os.Mkdir(c.dir, 0o755), os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", image)
	c.device = command(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() { command(t, "losetup", "--detach", c.device) })
	c.mount(t)
	t.Cleanup(func() {
		if c.mounted {
			c.unmount(t)
		}
	})
	return c
}

// command runs a command to its end and returns what it says.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s(this test needs loop devices and may be left out with %s=1)", cmd, err, complaint.Bytes(), noRoot)
	}
	return strings.TrimSpace(string(out))
}

func (c *card) mount(t *testing.T) {
	t.Helper()
	if err := syscall.Mount(c.device, c.dir, "ext4", 0, ""); err != nil {
		t.Fatalf("mount %s: %v; where that is not permitted, set %s=1 to do without this test", c.device, err, noRoot)
	}
	c.mounted = true
}

// unmount unmounts the card. Nothing of it may be open.
func (c *card) unmount(t *testing.T) {
	t.Helper()
	if err := syscall.Unmount(c.dir, 0); err != nil {
		t.Errorf("unmount %s: %v; it is detached instead", c.dir, err)
		if err := syscall.Unmount(c.dir, syscall.MNT_DETACH); err != nil {
			t.Fatalf("detach %s: %v", c.dir, err)
		}
	}
	c.mounted = false
}

const (
	shutdownIoctl     = 0x8004587d // FS_IOC_SHUTDOWN
	shutdownNoLogging = 2          // what is neither on the card nor in its journal is gone
)

// cut cuts the power: from now on nothing reaches the card, and every write and
// sync on it fails.
func (c *card) cut() error { return c.ioctl("shutdown", shutdownIoctl, shutdownNoLogging) }

func (c *card) ioctl(name string, number uintptr, argument uint32) error {
	dir, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), number, uintptr(unsafe.Pointer(&argument))); errno != 0 {
		return &os.PathError{Op: name, Path: c.dir, Err: errno}
	}
	return nil
}

const (
	freezeIoctl = 0xc0045877 // FIFREEZE
	thawIoctl   = 0xc0045878 // FITHAW
)

// freeze stalls the card until thaw: nothing that was written is lost, and whoever
// writes waits, unkillable. The test's end thaws it, and so does its death; who
// writes to the card must have been started before, so as to end after that.
func (c *card) freeze(t *testing.T) {
	t.Helper()
	guard := exec.Command("sh", "-c", `cat; fsfreeze --unfreeze "$0"`, c.dir)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		_ = guard.Wait() // fsfreeze complains of what is thawed already
	})
	if err := c.ioctl("freeze", freezeIoctl, 0); err != nil {
		t.Fatalf("%v; where that is not permitted, set %s=1 to do without this test", err, noRoot)
	}
}

func (c *card) thaw(t *testing.T) {
	t.Helper()
	if err := c.ioctl("thaw", thawIoctl, 0); err != nil {
		t.Fatal(err)
	}
}
