package update

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// Here is the machine that this runs on, whose program has a version of its own. On one
// that was not started from a firmware image it returns an error wrapping ErrNoFirmware.
func Here(version string, log *slog.Logger) (*Box, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, fmt.Errorf("%w: its command line cannot be read: %w", ErrNoFirmware, err)
	}
	slot, err := slotOf(string(line))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(layout.BootMount + "/" + layout.EntriesDir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its boot partition has no entries", ErrNoFirmware)
	}
	return New(Box{
		FS: disk.OS{}, BootDir: layout.BootMount, StateDir: layout.StateDir, Running: slot, Version: version,
		Root:     func(s layout.Slot) (Partition, error) { return openRoot(s) },
		Writable: func() (func() error, error) { return writable(layout.BootMount) },
		Lock:     lock,
		Log:      log,
	}), nil
}

// lockDir is in memory: who changes the box is not for the data partition, which may be
// full or broken.
const lockDir = "/run/headwater/update"

func lock() (io.Closer, error) {
	if err := os.MkdirAll(lockDir, 0o755); err != nil {
		return nil, err
	}
	return disk.Lock(lockDir)
}

// slotOf reads which slot a kernel's command line says was started.
func slotOf(line string) (layout.Slot, error) {
	for _, word := range strings.Fields(line) {
		if name, ok := strings.CutPrefix(word, "hw.slot="); ok {
			slot, err := layout.ParseSlot(name)
			if err != nil {
				return "", fmt.Errorf("%w: %w", ErrNoFirmware, err)
			}
			return slot, nil
		}
	}
	return "", fmt.Errorf("%w: its command line names none (hw.slot)", ErrNoFirmware)
}

// device is a partition of the machine.
type device struct{ *os.File }

// openRoot opens a slot's partition, on the disk that the boot partition is on: another
// card that is in the machine may have partitions of the same names.
func openRoot(slot layout.Slot) (Partition, error) {
	var st unix.Stat_t
	if err := unix.Stat(layout.BootMount, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", layout.BootMount, err)
	}
	name, err := sibling("/sys/dev/block", unix.Major(st.Dev), unix.Minor(st.Dev), slot.RootLabel())
	if err != nil {
		return nil, err
	}
	return openDevice("/dev/" + name)
}

// openDevice takes a block device for itself: one that is mounted is refused.
func openDevice(path string) (Partition, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	return device{f}, nil
}

func (d device) Size() (int64, error) { return d.Seek(0, io.SeekEnd) }

// writable makes a mounted file system writable until done is called, where it is not.
func writable(dir string) (done func() error, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, fmt.Errorf("statfs %s: %w", dir, err)
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return func() error { return nil }, nil
	}
	kept := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME) // ST_ and MS_ are the same bits
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|kept, ""); err != nil {
		return nil, err
	}
	return func() error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|kept, "") }, nil
}

// Reboot asks PID 1 to restart the machine in order. It is what the kernel sends when
// somebody presses ctrl-alt-del.
func Reboot() error {
	if err := unix.Kill(1, unix.SIGINT); err != nil {
		return fmt.Errorf("ask PID 1 to restart the machine: %w", err)
	}
	return nil
}
