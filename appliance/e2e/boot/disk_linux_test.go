//go:build interop

package boot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/headwater/headwater/firmware/boot"
	"github.com/headwater/headwater/firmware/layout"
)

const (
	imageBytes = 300 << 20
	cardBytes  = 8 << 30
)

// newImage is a disk image with a table and a data partition, as an image file is
// before it is written to a card.
func newImage(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.img")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, imageBytes)); err != nil {
		t.Fatal(err)
	}
	command(t, "sgdisk", "-n", "1:2048:+16M", "-c", "1:"+layout.BootLabel, "-n", "4:36864:+256M", "-c", "4:"+layout.DataLabel, path)
	command(t, "mkfs.ext4", "-q", "-F", "-E", "offset=18874368,resize=67108864", path, "256m")
	return path
}

// attach makes a disk of the image, and its partition known to the kernel.
func attach(t *testing.T, path string) (partition string) {
	t.Helper()
	disk := command(t, "losetup", "--find", "--show", path)
	t.Cleanup(func() { command(t, "losetup", "--detach", disk) })
	if _, err := os.Stat(disk + "p4"); err != nil { // the kernel reads no tables
		command(t, "addpart", disk, "4", "36864", "524288")
		t.Cleanup(func() { command(t, "delpart", disk, "4") })
	}
	return disk + "p4"
}

// A card that is larger than the image is used to its end: the table, what the kernel
// knows, and the file system, in which everything stays.
func TestGrow(t *testing.T) {
	needRoot(t)
	path := newImage(t)
	if err := os.Truncate(path, cardBytes); err != nil {
		t.Fatal(err)
	}
	device := attach(t, path)
	k := &boot.Kernel{}
	for _, first := range []bool{true, false} {
		grown, err := k.GrowPartition(device, layout.DataLabel)
		if err != nil || grown != first {
			t.Fatalf("grown %v (%v), want %v", grown, err, first)
		}
	}
	if said := command(t, "sgdisk", "-v", path); !strings.Contains(said, "No problems found") {
		t.Errorf("sgdisk -v says %s", said)
	}
	dir := t.TempDir()
	kept := bytes.Repeat([]byte("kept "), 1<<20)
	mayGrow := true
	for round := range 2 {
		if err := k.Mount(boot.Mount{Source: device, Target: dir, Type: "ext4", Options: "errors=remount-ro"}); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			if err := os.WriteFile(filepath.Join(dir, "before"), kept, 0o600); err != nil {
				t.Error(err)
			}
		}
		if err := k.GrowFS(dir, device); errors.Is(err, unix.EPERM) {
			t.Log("this root may not have file systems grown (CAP_SYS_RESOURCE); a box's first process may:", err)
			mayGrow = false
		} else if err != nil {
			t.Error(err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Error(err)
		}
		if size := int64(st.Blocks) * int64(st.Bsize); mayGrow && size < 15*cardBytes/16 {
			t.Errorf("the file system has %d bytes, and the card %d", size, int64(cardBytes))
		}
		if got, err := os.ReadFile(filepath.Join(dir, "before")); err != nil || !bytes.Equal(got, kept) {
			t.Errorf("a file of before has %d bytes (%v)", len(got), err)
		}
		if err := k.Unmount(dir); err != nil {
			t.Fatal(err)
		}
		command(t, "e2fsck", "-fn", device)
	}
}

// What the kernel does not let go of becomes read-only instead.
func TestUnmountBusy(t *testing.T) {
	needRoot(t)
	device := attach(t, newImage(t))
	k, dir := &boot.Kernel{}, t.TempDir()
	if err := k.Mount(boot.Mount{Source: device, Target: dir, Type: "ext4"}); err != nil {
		t.Fatal(err)
	}
	busy, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Unmount(dir); err == nil {
		t.Error("unmounted what is in use")
	}
	if err := os.WriteFile(filepath.Join(dir, "late"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("written to: %v", err)
	}
	busy.Close()
	if err := k.Unmount(dir); err != nil {
		t.Error(err)
	}
	if err := k.Unmount(dir); err != nil {
		t.Errorf("what is not mounted: %v", err)
	}
}

// What is in memory is bounded.
func TestMountMemory(t *testing.T) {
	needRoot(t)
	k, dir := &boot.Kernel{}, t.TempDir()
	if err := k.Mount(boot.Mount{Source: "tmpfs", Target: dir, Type: "tmpfs", Options: "mode=0755,size=1m"}); err != nil {
		t.Fatal(err)
	}
	defer k.Unmount(dir)
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("2 MiB written to 1 MiB: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "program"), []byte("#!/bin/sh\n"), 0o700); !errors.Is(err, unix.ENOSPC) && err != nil {
		t.Error(err)
	}
	if err := unix.Access(filepath.Join(dir, "program"), unix.X_OK); !errors.Is(err, unix.EACCES) {
		t.Errorf("a program may run: %v", err)
	}
}
