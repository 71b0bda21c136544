//go:build interop

package firmware

import (
	"bytes"
	"encoding/binary"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/firmware/layout"
	"github.com/headwater/headwater/firmware/uefi/uefitest"
	"github.com/headwater/headwater/firmware/update"
)

// Kernels that are signed and no good: one that UEFI does not load, and one that starts
// and does not know the disk.
func TestBadKernels(t *testing.T) {
	t.Parallel()
	kernel, root := contents(t, image.Kernel), contents(t, image.Root)
	b := newBadUpdates(t)
	b.goesBack(t, badUpdate{"1.1.0", "a kernel too large for the machine", tooLarge(), root, `Error loading \hw\b\vmlinuz`, 2, neverTold})
	b.goesBack(t, badUpdate{"1.2.0", "a kernel that does not know the disk", withoutDisk(t, kernel), root, noRootFS, 2, neverTold})
}

// A root that is signed and none, then a first process that hangs, which the machine's
// watchdog ends, and then a broker that ends at once on the first try, and never gets
// ready on the second.
func TestBadRoots(t *testing.T) {
	t.Parallel()
	kernel := contents(t, image.Kernel)
	b := newBadUpdates(t)
	b.goesBack(t, badUpdate{"1.1.0", "a root that is none", kernel, bytes.Repeat([]byte("no squashfs"), 1000), noRootFS, 2, neverTold})
	b.goesBack(t, badUpdate{"1.2.0", "a first process that hangs", kernel, rootOf(t, "hangs"), "it hangs, and the watchdog has", 2, neverTold})
	b.goesBack(t, badUpdate{"1.3.0", "a broker that is never ready", kernel, rootOf(t, "neverready"), "neverready stays", 1, "did not get ready"})
	if !strings.Contains(b.m.Log(), "neverready ends") {
		t.Error("no broker ended at once")
	}
}

// badUpdate is an update that is no good, and how that shows.
type badUpdate struct {
	version, what string
	kernel, root  []byte
	says          string // the console
	times         int    // so often
	why           string // the status
}

const (
	noRootFS  = "Unable to mount root fs"
	neverTold = "its kernel or its root does not start"
)

// badUpdates is a machine that is given them one after the other.
type badUpdates struct {
	m     *machine.Machine
	acked map[int64]string
}

// newBadUpdates has trials as short as they may be, and as short a wait for a disk that
// is not there.
func newBadUpdates(t *testing.T) *badUpdates {
	t.Helper()
	b := &badUpdates{newMachine(t, t.TempDir(), 1<<30, withPassword(t)), map[int64]string{}}
	if err := b.m.AddOptions(t.Context(), "hw.trial=20s rootwait=2"); err != nil {
		t.Fatal(err)
	}
	powerOn(t, b.m)
	return b
}

// goesBack gives the box an update under load, and holds that it is back on the old slot by
// itself, tells what became of the update, and has every record.
func (b *badUpdates) goesBack(t *testing.T, bad badUpdate) {
	t.Helper()
	data := bundle(t, bad.version, bad.kernel, bad.root)
	defer took(t, "%s: %s", bad.version, bad.what)()
	said, before := strings.Count(b.m.Log(), bad.says), len(b.acked)
	l := startLoad(t, b.m, bad.version, 1)
	upload(t, b.m, data)
	maps.Copy(b.acked, l.stop()) // it ends with the box's restart
	s := awaitStatus(t, b.m, func(s update.Status) bool {
		return s.Last != nil && s.Last.Version == bad.version && s.Last.Outcome == update.RolledBack
	})
	if s.Running != layout.A || s.Slots[0].Version != "1.0.0" || s.Slots[0].State != update.SlotGood || s.Slots[1].State != update.SlotBad || !strings.Contains(s.Last.Why, bad.why) {
		t.Errorf("after %s the box has %+v, last %+v", bad.what, s, s.Last)
	}
	awaitReady(t, b.m, time.Now())
	if n := strings.Count(b.m.Log(), bad.says) - said; n != bad.times {
		t.Errorf("with %s the console says %q %d times, want %d", bad.what, bad.says, n, bad.times)
	}
	checkAcked(t, b.m, b.acked)
	if n := len(b.acked) - before; n < 10 {
		t.Errorf("only %d records were acknowledged: that shows little", n)
	}
}

// tooLarge is a program whose header is right, and asks for more memory than the machine
// has.
func tooLarge() []byte {
	const imageBytes = 0x40 + 24 + 56 // its place in what uefitest makes
	p := uefitest.Program([]byte("no kernel"))
	binary.LittleEndian.PutUint32(p[imageBytes:], 0x7f000000)
	return p
}

// withoutDisk has a kernel look for disks of another maker: its driver for virtio knows
// devices by this line of a table.
func withoutDisk(t *testing.T, kernel []byte) []byte {
	t.Helper()
	virtio := append([]byte{0xf4, 0x1a, 0, 0}, bytes.Repeat([]byte{0xff}, 12)...)
	if n := bytes.Count(kernel, virtio); n != 1 {
		t.Fatalf("the kernel's table of virtio devices was found %d times", n)
	}
	other := bytes.Clone(virtio)
	other[1] = 0x1b
	return bytes.Replace(kernel, virtio, other, 1)
}

// rootOf builds the root of a box whose program is another, from below this directory.
func rootOf(t *testing.T, name string) []byte {
	t.Helper()
	defer took(t, "built %s", name)()
	dir := t.TempDir()
	binary := filepath.Join(dir, name)
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64"}
	if err := process.BuildPackage(t.Context(), "./appliance/e2e/firmware/"+name, binary, env, []string{"-ldflags", "-s -w"}); err != nil {
		t.Fatal(err)
	}
	img, err := machine.Make(t.Context(), dir, name, binary)
	if err != nil {
		t.Fatal(err)
	}
	return contents(t, img.Root)
}
