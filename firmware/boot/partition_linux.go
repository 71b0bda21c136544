package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/headwater/headwater/firmware/boot/gpt"
)

// ErrNoPartition is wrapped when a partition is not there.
var ErrNoPartition = errors.New("no such partition on the disk that the machine was started from")

// partitionLimit is how long a disk may take to be there.
const partitionLimit = 20 * time.Second

// Partition implements Machine.
func (k *Kernel) Partition(ctx context.Context, label string) (device string, err error) {
	var root unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		return "", err
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(partitionLimit); ; {
		name, err := partition("/sys", unix.Major(root.Dev), unix.Minor(root.Dev), label)
		if err == nil || time.Now().After(end) {
			return "/dev/" + name, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-ticker.C:
		}
	}
}

// partition looks in sysfs for the one with that label on the disk that has the root,
// which is device major:minor. With a root in memory it is looked for on all disks.
func partition(sys string, major, minor uint32, label string) (name string, err error) {
	pattern := filepath.Join(sys, "class/block/*")
	if dir, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", fmt.Sprintf("%d:%d", major, minor))); err == nil {
		pattern = filepath.Join(filepath.Dir(dir), "*")
	}
	entries, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(entry, "uevent"))
		if err != nil {
			continue // not a partition
		}
		if value, _ := uevent(string(text), "PARTNAME"); value == label {
			return filepath.Base(entry), nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrNoPartition, label)
}

func uevent(text, name string) (value string, ok bool) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// GrowPartition implements Machine: first in the table, then in what the kernel knows
// of it.
func (k *Kernel) GrowPartition(device, label string) (grown bool, err error) {
	return growPartition("/sys", device, label)
}

func growPartition(sys, device, label string) (grown bool, err error) {
	disk, err := diskOf(sys, filepath.Base(device))
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(filepath.Join(filepath.Dir(device), disk), os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	sectorBytes, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return false, fmt.Errorf("size of a sector of %s: %w", disk, err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	extent, grown, err := gpt.Grow(f, size, int64(sectorBytes), label)
	if err != nil {
		return false, fmt.Errorf("partition table of %s: %w", disk, err)
	}
	now, err := number(filepath.Join(sys, "class/block", filepath.Base(device), "size")) // in 512 bytes, always
	if err != nil {
		return grown, err
	}
	if now*512 >= extent.Bytes {
		return grown, nil
	}
	if err := resizePartition(f, extent); err != nil {
		return grown, fmt.Errorf("tell the kernel that %s has grown: %w", device, err)
	}
	return true, nil
}

// diskOf is the disk of a partition.
func diskOf(sys, name string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(sys, "class/block", name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err != nil {
		return "", fmt.Errorf("%s is no partition", name)
	}
	return filepath.Base(filepath.Dir(dir)), nil
}

func number(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

func resizePartition(disk *os.File, e gpt.Extent) error {
	part := unix.BlkpgPartition{Start: e.Start, Length: e.Bytes, Pno: int32(e.Number)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_RESIZE_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}

// resizeFS is ext4's EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64).
const resizeFS = 0x40086610

// GrowFS implements Machine, while it is in use. One that has all of its partition
// stays as it is.
func (k *Kernel) GrowFS(mountPoint, device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	dir, err := os.Open(mountPoint)
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return err
	}
	blocks := uint64(size) / uint64(st.Bsize)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks)))
	if errno != 0 {
		return fmt.Errorf("resize to %d blocks: %w", blocks, errno)
	}
	return nil
}

// checker is e2fsck, which an image has beside its binary.
const checker = "/e2fsck"

// Exit codes of e2fsck are sums of these.
const (
	checkRepaired = 1
	checkReboot   = 2 // it was mounted, which it is not here
	checkLeft     = 4 // errors that it may not repair without being asked
)

// Check implements Machine. What the journal does not heal is repaired in any way that
// there is: nobody is there to be asked, and the broker knows by its checksums what is
// not as it was.
func (k *Kernel) Check(ctx context.Context, device string) (repaired bool, err error) {
	if _, err := os.Stat(checker); errors.Is(err, os.ErrNotExist) {
		return false, nil // the journal alone must do
	}
	code, said, err := k.runChecker(ctx, "-p", device)
	if err == nil && code&checkLeft != 0 {
		repaired = true
		code, said, err = k.runChecker(ctx, "-f", "-y", device)
	}
	switch {
	case err != nil:
		return false, err
	case code&^(checkRepaired|checkReboot) != 0:
		return repaired, fmt.Errorf("e2fsck ended with code %d: %s", code, said)
	}
	return repaired || code != 0, nil
}

const maxSaid = 2 << 10 // of what e2fsck says, its end

func (k *Kernel) runChecker(ctx context.Context, args ...string) (code int, said string, err error) {
	out := &tail{}
	c, err := k.children.start(Command{Path: checker, Args: args, Output: out})
	if err != nil {
		return 0, "", err
	}
	defer context.AfterFunc(ctx, func() { c.Signal(unix.SIGTERM) })()
	<-c.Done()
	if code := c.code(); code >= 0 {
		return code, strings.ReplaceAll(strings.TrimSpace(string(out.text)), "\n", "; "), nil
	}
	return 0, "", fmt.Errorf("e2fsck %s", c.Status())
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - maxSaid; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}
