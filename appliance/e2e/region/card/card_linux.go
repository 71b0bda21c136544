// Package card gives a broker of a test a real file system of its own, whose power can be
// cut: what was not synced is gone then, as on a gateway's flash. It needs root, loop
// devices and ext4, or another file system that is asked for.
//
// A Card is one goroutine's. Sizes are bytes.
package card

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Card is a file system in an image file.
type Card struct {
	// Dir is where it is mounted.
	Dir   string
	image string
}

// mark is how mount points begin, so that a later run finds what a run left that was
// killed.
const mark = "hwregion-card-"

// New makes a card with an ext4 below a directory, and mounts it. It takes no more of the
// disk than is written to it.
func New(below string, size int64) (*Card, error) { return NewOn("ext4", below, size) }

// quick has a file system made without questions and without a word.
var quick = map[string][]string{"ext4": {"-q", "-F"}, "xfs": {"-q", "-f"}, "btrfs": {"-q", "-f"}}

// NewOn makes a card with one of ext4, xfs and btrfs.
func NewOn(filesystem, below string, size int64) (*Card, error) {
	flags, known := quick[filesystem]
	if !known {
		return nil, fmt.Errorf("no cards with %q are made here", filesystem)
	}
	if err := sweep(); err != nil {
		return nil, err
	}
	c := &Card{Dir: filepath.Join(below, mark+strconv.Itoa(os.Getpid())), image: filepath.Join(below, "card.img")}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(c.image, nil, 0o600), os.Truncate(c.image, size)); err != nil {
		return nil, err
	}
	words := append([]string{"mkfs." + filesystem}, flags...)
	if err := run(append(words, c.image)...); err != nil {
		return nil, err
	}
	return c, c.mount()
}

// mount takes a loop device that goes with the mount.
func (c *Card) mount() error { return run("mount", "-o", "loop", c.image, c.Dir) }

const (
	shutdownIoctl     = 0x8004587d // FS_IOC_SHUTDOWN
	shutdownNoLogging = 2          // what is neither on the card nor in its journal is gone
)

// Cut cuts the power: from now on nothing reaches the card, and every write and sync on
// it fails.
func (c *Card) Cut() error {
	dir, err := os.Open(c.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	flags := uint32(shutdownNoLogging)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdownIoctl, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("cut the power of %s: %w", c.Dir, errno)
	}
	return nil
}

// Restore mounts the card anew. Whoever had files on it open must have ended.
func (c *Card) Restore() error {
	if err := run("umount", c.Dir); err != nil {
		return err
	}
	if err := c.awaitRelease(); err != nil {
		return err
	}
	return c.mount()
}

// releaseLimit is how long others may have the card mounted, too.
const releaseLimit = 10 * time.Second

// awaitRelease waits until nobody has the card mounted. A process with mounts of its own
// that was started meanwhile has them until it lets go; what is mounted then is the file
// system that has no power.
func (c *Card) awaitRelease() error {
	for end := time.Now().Add(releaseLimit); ; time.Sleep(10 * time.Millisecond) {
		attached, err := c.attached()
		if err != nil || !attached {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is mounted elsewhere after %v, in another mount namespace or by hand", c.image, releaseLimit)
		}
	}
}

// attached reports whether a loop device has the image.
func (c *Card) attached() (bool, error) {
	names, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range names {
		text, err := os.ReadFile(name) // one that is gone meanwhile has nothing
		if err == nil && strings.TrimSpace(string(text)) == c.image {
			return true, nil
		}
	}
	return false, err
}

// Close unmounts the card.
func (c *Card) Close() error { return run("umount", c.Dir) }

// sweep unmounts what dead runs left.
func sweep() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		pid, ours := strings.CutPrefix(filepath.Base(fields[1]), mark)
		if !ours {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, run("umount", "--lazy", fields[1]))
		}
	}
	return errors.Join(errs...)
}

func run(words ...string) error {
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", words, err, out)
	}
	return nil
}
