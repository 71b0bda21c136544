// Package layout is how a firmware image is laid out: which partitions the disk has,
// what lies on the boot partition and how its boot entries are called. The builder
// writes it, PID 1 finds its way by it, an update changes it. Pure; for any goroutine.
package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// Labels of the partitions, by which the kernel, PID 1 and updates find them, and
// their order on the disk.
const (
	BootLabel  = "hw-boot"   // 1: FAT32, the EFI system partition
	RootALabel = "hw-root-a" // 2: squashfs
	RootBLabel = "hw-root-b" // 3: squashfs
	DataLabel  = "hw-data"   // 4: ext4; grows to the end of the disk
)

const (
	MiB       = 1 << 20
	BootBytes = 192 * MiB // two kernels of 60 MB each, and room for a third while one is written
	RootBytes = 64 * MiB
	DataBytes = 256 * MiB // at first
)

// Paths on the boot partition, from its root.
const (
	LoaderPath     = "EFI/BOOT/BOOTAA64.EFI" // systemd-boot
	LoaderConfPath = "loader/loader.conf"
	EntriesDir     = "loader/entries"
	SitePath       = "headwater/site.yaml"   // what is this site's, by the operator; nobody else writes it
	KeysPath       = "headwater/update-keys" // public keys of updates, one a line, base64; may be absent
	CompatiblePath = "headwater/compatible"  // which images this box takes, one line
)

// Where PID 1 mounts things, and the binary on the root.
const (
	Binary    = "/headwater"
	BootMount = "/boot"
	DataMount = "/data"
	DataDir   = "/data/headwater" // data.dir of the broker
	LogDir    = "/data/log"       // the small ring of logs
	StateDir  = "/data/firmware"  // of updates and the clock; never of the broker
)

// MountPoints are empty directories that a root has, and MountFiles empty files: the
// root is read-only, and PID 1 mounts something on each of them.
var (
	MountPoints = []string{"/proc", "/sys", "/dev", "/run", "/tmp", BootMount, DataMount}
	MountFiles  = []string{"/etc/resolv.conf", "/etc/hosts"}
)

// Slot is one of the two places for a kernel and a root.
type Slot string

const (
	A Slot = "a"
	B Slot = "b"
)

// ParseSlot reads a slot's name, as hw.slot on the kernel's command line has it.
func ParseSlot(s string) (Slot, error) {
	if s != string(A) && s != string(B) {
		return "", fmt.Errorf("slot is a or b, not %.20q", s)
	}
	return Slot(s), nil
}

// Other is the slot that this one is not.
func (s Slot) Other() Slot {
	if s == A {
		return B
	}
	return A
}

// RootLabel is the label of the slot's root partition.
func (s Slot) RootLabel() string { return "hw-root-" + string(s) }

// KernelPath is where its kernel lies on the boot partition.
func (s Slot) KernelPath() string { return "hw/" + string(s) + "/vmlinuz" }

// Entry is a boot entry's file name as systemd-boot counts tries (Boot Loader
// Specification, "Boot counting"): hw-a.conf is good; hw-a+2-1.conf has two tries left
// and one behind it; +0 is bad.
type Entry struct {
	Slot    Slot
	Counted bool // on trial; else good
	Left    int
	Done    int
}

// maxTries bounds the numbers in names of entries.
const maxTries = 99

// Name is the file's.
func (e Entry) Name() string {
	switch {
	case !e.Counted:
		return "hw-" + string(e.Slot) + ".conf"
	case e.Done == 0:
		return fmt.Sprintf("hw-%s+%d.conf", e.Slot, e.Left)
	default:
		return fmt.Sprintf("hw-%s+%d-%d.conf", e.Slot, e.Left, e.Done)
	}
}

// ParseEntry reads a file's name; ok is false for files that are not ours.
func ParseEntry(name string) (e Entry, ok bool) {
	rest, found := strings.CutPrefix(name, "hw-")
	if !found {
		return e, false
	}
	if rest, found = strings.CutSuffix(rest, ".conf"); !found {
		return e, false
	}
	slot, tries, counted := strings.Cut(rest, "+")
	var err error
	if e.Slot, err = ParseSlot(slot); err != nil {
		return e, false
	}
	if !counted {
		return e, true
	}
	left, done, both := strings.Cut(tries, "-")
	e.Counted = true
	if e.Left, ok = number(left); !ok {
		return e, false
	}
	if both {
		if e.Done, ok = number(done); !ok {
			return e, false
		}
	}
	return e, true
}

func number(s string) (n int, ok bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= maxTries
}

// rootWait is how long a kernel waits for the disk that its root is on. One that waited
// for ever would keep a box whose new kernel does not know its disk from going back.
const rootWait = "rootwait=60"

// CommandLine is the kernel's for a slot. more is what a machine needs beside it, such
// as its console.
func CommandLine(s Slot, more string) string {
	line := "root=PARTLABEL=" + s.RootLabel() + " ro " + rootWait + " init=" + Binary + " hw.slot=" + string(s) + " panic=5 oops=panic quiet"
	if more != "" {
		line += " " + more
	}
	return line
}
