package update

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// An update of real files: what is written is there, and the file that stands for a
// partition keeps its size.
func TestInstallToFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put("boot/"+layout.EntriesDir+"/hw-a.conf", layout.EntryFile{Slot: layout.A, Version: "1.3.0", Sequence: 1, Options: layout.CommandLine(layout.A, "")}.Text())
	put("boot/"+layout.KeysPath, PublicText(publicOf(1)[0]))
	put("boot/"+layout.CompatiblePath, target)
	put("root-b", string(make([]byte, partitionSize)))
	ends := 0
	b := New(Box{
		FS: disk.OS{}, BootDir: filepath.Join(dir, "boot"), StateDir: filepath.Join(dir, "state"), Running: layout.A,
		Root:     func(layout.Slot) (Partition, error) { return openDevice(filepath.Join(dir, "root-b")) },
		Writable: func() (func() error, error) { return func() error { ends++; return nil }, nil },
	})
	f := filepath.Join(dir, "bundle")
	if err := os.WriteFile(f, pack(t, keyOf(1), "1.4.0", target), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.InstallFile(t.Context(), file, info.Size(), Options{}); err != nil {
		t.Fatal(err)
	}
	if kernel := read(t, disk.OS{}, b.boot(layout.B.KernelPath())); !bytes.Equal(kernel, content("1.4.0", "kernel", kernelSize)) {
		t.Errorf("the kernel is another one, of %d bytes", len(kernel))
	}
	if root := read(t, disk.OS{}, filepath.Join(dir, "root-b")); !bytes.HasPrefix(root, content("1.4.0", "root", rootSize)) || len(root) != partitionSize {
		t.Errorf("the root is another one, of %d bytes", len(root))
	}
	if got := status(t, b).String(); got != `a runs; a 1.3.0 good 0-0; b 1.4.0 on trial 2-0; last b 1.4.0 on trial ""` || ends != 1 {
		t.Errorf("%s; read-only again %d times", got, ends)
	}
}

func TestSlotOf(t *testing.T) {
	if slot, err := slotOf(layout.CommandLine(layout.B, "quiet") + "\n"); slot != layout.B || err != nil {
		t.Errorf("%s, %v", slot, err)
	}
	for _, line := range []string{"", "root=/dev/sda1 ro", "hw.slot=c", "xhw.slot=a"} {
		if slot, err := slotOf(line); !errors.Is(err, ErrNoFirmware) {
			t.Errorf("%q: slot %s, %v", line, slot, err)
		}
	}
}

// The partition is looked for on the disk that the boot partition is on, and there alone.
func TestSibling(t *testing.T) {
	dir := t.TempDir()
	part := func(disk, name, label, number string) {
		t.Helper()
		at := filepath.Join(dir, "devices", disk, name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		text := "MAJOR=1\nDEVNAME=" + name + "\nDEVTYPE=partition\nPARTNAME=" + label + "\n"
		if err := os.WriteFile(filepath.Join(at, "uevent"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "block"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../devices/"+disk+"/"+name, filepath.Join(dir, "block", number)); err != nil {
			t.Fatal(err)
		}
	}
	part("vda", "vda1", layout.BootLabel, "1:1")
	part("vda", "vda3", layout.RootBLabel, "1:3")
	part("vdb", "vdb1", layout.BootLabel, "2:1")
	part("vdb", "vdb3", layout.RootBLabel, "2:3")
	part("vdb", "vdb4", layout.RootBLabel, "2:4")
	if err := os.MkdirAll(filepath.Join(dir, "devices/vda/queue"), 0o755); err != nil {
		t.Fatal(err)
	}
	sys := filepath.Join(dir, "block")
	if name, err := sibling(sys, 1, 1, layout.RootBLabel); name != "vda3" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	for what, err := range map[string]error{
		"none": second(sibling(sys, 1, 1, layout.RootALabel)), "two": second(sibling(sys, 2, 1, layout.RootBLabel)), "no disk": second(sibling(sys, 3, 1, layout.RootBLabel)),
	} {
		if err == nil {
			t.Errorf("%s: found", what)
		}
	}
}

func second(_ string, err error) error { return err }
