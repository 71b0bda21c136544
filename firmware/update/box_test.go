package update

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

const partitionSize = 400 << 10

// spacious is a file system that tells how much it can take.
type spacious struct {
	*disk.Crash
	free int64
}

func (s spacious) Free(string) (int64, error) { return s.free, nil }

// newMachine returns the file system of a machine that runs 1.3.0 in slot a and had
// 1.2.0 in slot b; all of it is synced.
func newMachine(t *testing.T, seed uint64) *disk.Crash {
	t.Helper()
	fsys := disk.NewCrash(seed)
	put := func(name string, data []byte) {
		name = filepath.FromSlash(name)
		if err := fsys.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := disk.WriteFile(fsys, name, data); err != nil {
			t.Fatal(err)
		}
		for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
			if err := fsys.SyncDir(dir); err != nil {
				t.Fatal(err)
			}
			if dir == filepath.Dir(dir) {
				return
			}
		}
	}
	boot := func(name, text string) { put(path.Join("/boot", name), []byte(text)) }
	for slot, of := range map[layout.Slot]struct {
		version  string
		sequence int
	}{layout.A: {"1.3.0", 2}, layout.B: {"1.2.0", 1}} {
		boot(slot.KernelPath(), string(content(of.version, "kernel", kernelSize+1000))) // longer than the next
		root := content(of.version, "root", rootSize)
		put("/dev/"+slot.RootLabel(), append(bytes.Clone(root), make([]byte, partitionSize-len(root))...))
		boot(path.Join(layout.EntriesDir, layout.Entry{Slot: slot}.Name()), layout.EntryFile{
			Slot: slot, Version: of.version, Sequence: of.sequence, Options: layout.CommandLine(slot, "console=ttyAMA0"),
		}.Text())
	}
	boot(layout.KeysPath, "# of the plant\n"+PublicText(publicOf(1)[0])+"\n")
	boot(layout.CompatiblePath, target+"\n")
	boot(layout.SitePath, "hostname: press3\n")
	put("/data/headwater/telemetry-0/00000000000000000000.log", []byte("records"))
	put(filepath.Join(layout.StateDir, "clock"), []byte("1800000000"))
	return fsys
}

// boxOn is the box whose machine runs a slot.
func boxOn(fsys disk.FS, running layout.Slot) *Box {
	return New(Box{
		FS: fsys, BootDir: "/boot", StateDir: layout.StateDir, Running: running,
		Root: func(s layout.Slot) (Partition, error) {
			if s == running {
				panic("the root that runs is opened")
			}
			return fsys.OpenFile("/dev/"+s.RootLabel(), os.O_RDWR, 0)
		},
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	})
}

// read is a file's bytes.
func read(t *testing.T, fsys disk.FS, name string) []byte {
	t.Helper()
	data, err := disk.ReadFile(fsys, name, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// untouched fails the test if anything changed that is no update's.
func untouched(t *testing.T, fsys disk.FS) {
	t.Helper()
	for name, want := range map[string]string{
		"/data/headwater/telemetry-0/00000000000000000000.log": "records",
		layout.StateDir + "/clock":                             "1800000000",
		"/boot/" + layout.SitePath:                             "hostname: press3\n",
		"/boot/" + layout.CompatiblePath:                       target + "\n",
	} {
		if got := read(t, fsys, name); string(got) != want {
			t.Errorf("%s has become %q", name, got)
		}
	}
	found, err := fsys.ReadDir("/data")
	if err != nil || len(found) != 2 {
		t.Errorf("/data has %v (%v)", found, err)
	}
}

// loaded is what the boot loader makes of an entry.
type loaded struct {
	name     string
	entry    layout.Entry
	sequence int
	options  string
	kernel   string // path on the boot partition
}

// loader does what systemd-boot does with the entries (boot.c: config_entry_compare,
// config_entry_add_type1): those without a kernel are passed over, bad ones go last, the
// highest version is first. It returns what it starts, and counts the try.
func loader(t *testing.T, fsys disk.FS) (loaded, bool) {
	t.Helper()
	found, err := fsys.ReadDir("/boot/" + layout.EntriesDir)
	if err != nil {
		t.Fatal(err)
	}
	var all []loaded
	for _, f := range found {
		e, ours := layout.ParseEntry(f.Name())
		if !ours {
			continue
		}
		l := loaded{name: f.Name(), entry: e, sequence: -1}
		for line := range strings.SplitSeq(string(read(t, fsys, "/boot/"+layout.EntriesDir+"/"+f.Name())), "\n") {
			switch key, value, _ := strings.Cut(line, " "); key {
			case "linux":
				l.kernel = value
			case "options":
				l.options = value
			case "version":
				l.sequence, _ = strconv.Atoi(value)
			}
		}
		if _, err := fsys.Stat("/boot" + l.kernel); l.kernel != "" && err == nil {
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		return loaded{}, false
	}
	bad := func(l loaded) int {
		if l.entry.Counted && l.entry.Left == 0 {
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b loaded) int {
		return cmp.Or(cmp.Compare(bad(a), bad(b)), cmp.Compare(b.sequence, a.sequence), cmp.Compare(b.name, a.name))
	})
	first := all[0]
	if e := first.entry; e.Counted && e.Left > 0 {
		e.Left, e.Done = e.Left-1, e.Done+1
		dir := "/boot/" + layout.EntriesDir
		if err := fsys.Rename(dir+"/"+first.name, dir+"/"+e.Name()); err != nil {
			t.Fatal(err)
		}
		if err := fsys.SyncDir(dir); err != nil {
			t.Fatal(err)
		}
		first.entry = e
	}
	return first, true
}

// start lets the loader choose and returns the slot that comes up and its version. It
// fails the test if that is not a kernel and a root that belong together.
func start(t *testing.T, fsys disk.FS, versions ...string) (layout.Slot, string) {
	t.Helper()
	l, ok := loader(t, fsys)
	if !ok {
		t.Fatal("the box does not start: no boot entry")
	}
	kernel := read(t, fsys, "/boot"+l.kernel)
	slot := l.entry.Slot
	if want := layout.CommandLine(slot, "console=ttyAMA0"); l.options != want {
		t.Errorf("slot %s starts with %q, want %q", slot, l.options, want)
	}
	root := read(t, fsys, "/dev/"+slot.RootLabel())
	for _, version := range versions {
		whole := content(version, "kernel", kernelSize+1000)
		if version > "1.3.0" {
			whole = content(version, "kernel", kernelSize)
		}
		if bytes.Equal(kernel, whole) && bytes.HasPrefix(root, content(version, "root", rootSize)) {
			return slot, version
		}
	}
	t.Fatalf("slot %s is started (%s) and is none of %v", slot, l.name, versions)
	return "", ""
}

// names are the entries that are there.
func names(t *testing.T, fsys disk.FS) string {
	t.Helper()
	found, err := fsys.ReadDir("/boot/" + layout.EntriesDir)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(slices.Collect(func(yield func(string) bool) {
		for _, f := range found {
			if !yield(f.Name()) {
				return
			}
		}
	}), " ")
}

// install gives a box a bundle.
func install(t *testing.T, b *Box, bundle []byte, o Options) error {
	t.Helper()
	_, err := b.Install(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), o)
	return err
}

func status(t *testing.T, b *Box) Status {
	t.Helper()
	s, err := b.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s Status) String() string {
	text := fmt.Sprintf("%s runs", s.Running)
	for _, slot := range s.Slots {
		text += fmt.Sprintf("; %s %s %s %d-%d", slot.Slot, slot.Version, slot.State, slot.Left, slot.Done)
	}
	if s.Last != nil {
		text += fmt.Sprintf("; last %s %s %s %q", s.Last.Slot, s.Last.Version, s.Last.Outcome, s.Last.Why)
	}
	return text
}
