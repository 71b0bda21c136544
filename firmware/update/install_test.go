package update

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// An update is written to the other slot, tried, and marked good; the old one stays to go
// back to. The status tells each step.
func TestInstall(t *testing.T) {
	fsys := newMachine(t, 1)
	bundle := pack(t, keyOf(1), "1.4.0", target)
	old := boxOn(fsys, layout.A)
	if got := status(t, old).String(); got != "a runs; a 1.3.0 good 0-0; b 1.2.0 good 0-0" {
		t.Errorf("before: %s", got)
	}
	if err := install(t, old, bundle, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := status(t, old).String(); got != `a runs; a 1.3.0 good 0-0; b 1.4.0 on trial 2-0; last b 1.4.0 on trial ""` {
		t.Errorf("installed: %s", got)
	}
	if slot, version := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.B || version != "1.4.0" {
		t.Fatalf("%s %s starts", slot, version)
	}
	b := boxOn(fsys, layout.B)
	if on, left, err := b.OnTrial(); !on || left != 1 || err != nil {
		t.Errorf("on trial %v, %d left, %v", on, left, err)
	}
	if err := install(t, b, bundle, Options{}); !errors.Is(err, ErrOnTrial) || !Refused(err) {
		t.Errorf("an update while one is on trial: %v", err)
	}
	if err := b.MarkGood(); err != nil {
		t.Fatal(err)
	}
	if got := status(t, b).String(); got != `b runs; a 1.3.0 good 0-0; b 1.4.0 good 0-0; last b 1.4.0 good ""` {
		t.Errorf("marked good: %s", got)
	}
	if on, _, err := b.OnTrial(); on || err != nil {
		t.Errorf("on trial %v, %v", on, err)
	}
	if slot, version := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.B || version != "1.4.0" {
		t.Errorf("%s %s starts", slot, version)
	}
	// The next one goes to the other slot.
	if err := install(t, b, pack(t, keyOf(1), "1.5.0", target), Options{}); err != nil {
		t.Fatal(err)
	}
	if slot, version := start(t, fsys, "1.4.0", "1.5.0"); slot != layout.A || version != "1.5.0" {
		t.Errorf("%s %s starts", slot, version)
	}
	untouched(t, fsys)
}

// What never gets good is tried twice; then the old slot runs again, and tells why.
func TestRollBackByItself(t *testing.T) {
	for why, want := range map[string]string{
		"": "it was started 2 times and never got as far as to tell why: its kernel or its root does not start, or the power went each time",
		"the broker was not ready within 5m: disk full": "the broker was not ready within 5m: disk full",
	} {
		fsys := newMachine(t, 1)
		if err := install(t, boxOn(fsys, layout.A), pack(t, keyOf(1), "1.4.0", target), Options{}); err != nil {
			t.Fatal(err)
		}
		for range tries {
			if slot, _ := start(t, fsys, "1.4.0"); slot != layout.B {
				t.Fatalf("slot %s is started", slot)
			}
			if why != "" {
				if err := boxOn(fsys, layout.B).TrialFailed(why); err != nil {
					t.Fatal(err)
				}
			}
		}
		if slot, version := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.A || version != "1.3.0" {
			t.Fatalf("%s %s starts", slot, version)
		}
		got, err := boxOn(fsys, layout.A).Settle()
		if err != nil || got.String() != `a runs; a 1.3.0 good 0-0; b 1.4.0 bad 0-2; last b 1.4.0 rolled back "`+want+`"` {
			t.Errorf("%s (%v)", got, err)
		}
		// It is not in the way of the next one.
		if err := install(t, boxOn(fsys, layout.A), pack(t, keyOf(1), "1.4.1", target), Options{}); err != nil {
			t.Fatal(err)
		}
		if slot, version := start(t, fsys, "1.4.1", "1.3.0"); slot != layout.B || version != "1.4.1" {
			t.Errorf("%s %s starts", slot, version)
		}
	}
}

// What is not right is refused with its reason, and not a byte is written.
func TestRefused(t *testing.T) {
	good := pack(t, keyOf(1), "1.4.0", target)
	older := pack(t, keyOf(1), "1.3.0-rc.2", target)
	for name, tc := range map[string]struct {
		bundle []byte
		size   int // other than the bundle's
		spoil  func(*disk.Crash, *Box)
		want   error
	}{
		"key":       {bundle: pack(t, keyOf(2), "1.4.0", target), want: ErrKey},
		"target":    {bundle: pack(t, keyOf(1), "1.4.0", "headwater-arm64-rpi"), want: ErrTarget},
		"older":     {bundle: older, want: ErrOlder},
		"truncated": {bundle: good[:len(good)-1], want: ErrTruncated},
		"longer":    {bundle: append(bytes.Clone(good), 0), want: ErrDamaged},
		"other":     {bundle: []byte("PK\x03\x04 something else altogether"), want: ErrNotBundle},
		"empty":     {bundle: nil, want: ErrNotBundle},
		"busy":      {bundle: good, spoil: func(_ *disk.Crash, b *Box) { b.one <- struct{}{} }, want: ErrBusy},
		"locked":    {bundle: good, spoil: func(_ *disk.Crash, b *Box) { b.Lock = func() (io.Closer, error) { return nil, disk.ErrLocked } }, want: ErrBusy},
		"kernel":    {bundle: packAny(t, []byte("no kernel at all")), want: ErrKernel},
		"cutKernel": {bundle: packAny(t, content("1.4.0", "kernel", kernelSize)[:kernelSize-1]), want: ErrKernel},
		"noKeys":    {bundle: good, spoil: func(fsys *disk.Crash, _ *Box) { fsys.Remove("/boot/" + layout.KeysPath) }, want: ErrKey},
		"badKeys": {bundle: good, spoil: func(fsys *disk.Crash, _ *Box) {
			disk.WriteFile(fsys, "/boot/"+layout.KeysPath, []byte("x"))
		}, want: ErrKey},
		"noTarget":    {bundle: good, spoil: func(fsys *disk.Crash, _ *Box) { fsys.Remove("/boot/" + layout.CompatiblePath) }, want: ErrTarget},
		"noFallback":  {bundle: good, spoil: func(fsys *disk.Crash, _ *Box) { fsys.Remove("/boot/" + layout.EntriesDir + "/hw-a.conf") }, want: ErrNoFallback},
		"noEntries":   {bundle: good, spoil: func(fsys *disk.Crash, _ *Box) { fsys.RemoveAll("/boot/" + layout.EntriesDir) }, want: ErrNoFirmware},
		"bootIsFull":  {bundle: good, spoil: func(fsys *disk.Crash, b *Box) { b.FS = spacious{fsys, bootReserve - 1001} }, want: ErrNoRoom},
		"rootIsSmall": {bundle: good, spoil: func(fsys *disk.Crash, _ *Box) { disk.WriteFile(fsys, "/dev/hw-root-b", make([]byte, rootSize-1)) }, want: ErrNoRoom},
		"unknown":     {bundle: good, spoil: func(_ *disk.Crash, b *Box) { retitle(t, b, "devel") }, want: ErrOlder},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := newMachine(t, 1)
			b := boxOn(fsys, layout.A)
			if tc.spoil != nil {
				tc.spoil(fsys, b)
			}
			before := fsys.Ops()
			err := install(t, b, tc.bundle, Options{})
			if !errors.Is(err, tc.want) || !Refused(err) {
				t.Errorf("%v (refused %v), want %v", err, Refused(err), tc.want)
			}
			if n := fsys.Ops() - before; n > 0 {
				t.Errorf("%d changes were made", n)
			}
		})
	}
}

// retitle has the entry of slot a say another version.
func retitle(t *testing.T, b *Box, version string) {
	t.Helper()
	text := read(t, b.FS, "/boot/"+layout.EntriesDir+"/hw-a.conf")
	text = bytes.Replace(text, []byte("1.3.0"), []byte(version), 1)
	if err := disk.WriteFile(b.FS, "/boot/"+layout.EntriesDir+"/hw-a.conf", text); err != nil {
		t.Fatal(err)
	}
}

// An older one is taken when that is asked for, and preferred then; so is one of the same
// version without asking.
func TestAllowDowngrade(t *testing.T) {
	for name, tc := range map[string]struct {
		version string
		o       Options
	}{"same": {"1.3.0", Options{}}, "older": {"1.0.0", Options{AllowDowngrade: true}}} {
		fsys := newMachine(t, 1)
		if err := install(t, boxOn(fsys, layout.A), pack(t, keyOf(1), tc.version, target), tc.o); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if l, ok := loader(t, fsys); !ok || l.entry.Slot != layout.B {
			t.Errorf("%s: %+v starts", name, l)
		}
	}
}

// An installation that ends in the middle leaves the old slot, and says why.
func TestInstallFails(t *testing.T) {
	bundle := pack(t, keyOf(1), "1.4.0", target)
	damaged := bytes.Clone(bundle)
	damaged[len(damaged)-100] ^= 1
	for name, tc := range map[string]struct {
		r    io.Reader
		want error
	}{
		"cut":     {io.LimitReader(bytes.NewReader(bundle), int64(len(bundle)-1000)), ErrTruncated},
		"network": {io.MultiReader(bytes.NewReader(bundle[:len(bundle)/2]), brokenReader{}), errBroken},
		"damaged": {bytes.NewReader(damaged), ErrDamaged},
	} {
		fsys := newMachine(t, 1)
		b := boxOn(fsys, layout.A)
		_, err := b.Install(t.Context(), tc.r, int64(len(bundle)), Options{})
		if !errors.Is(err, tc.want) || Refused(err) {
			t.Errorf("%s: %v (refused %v)", name, err, Refused(err))
		}
		if got := status(t, b).String(); !strings.HasPrefix(got, "a runs; a 1.3.0 good 0-0; b  empty 0-0; last b 1.4.0 failed ") || !strings.Contains(got, tc.want.Error()) {
			t.Errorf("%s: %s", name, got)
		}
		if slot, version := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.A || version != "1.3.0" {
			t.Errorf("%s: %s %s starts", name, slot, version)
		}
		untouched(t, fsys)
	}
}

var errBroken = errors.New("connection reset")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// A damaged file is found out before anything is written.
func TestInstallFileReadsTwice(t *testing.T) {
	bundle := pack(t, keyOf(1), "1.4.0", target)
	fsys := newMachine(t, 1)
	b := boxOn(fsys, layout.A)
	before := fsys.Ops()
	bundle[len(bundle)-100] ^= 1
	if _, err := b.InstallFile(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), Options{}); !errors.Is(err, ErrDamaged) || !Refused(err) || fsys.Ops() != before {
		t.Errorf("damaged: %v, %d changes", err, fsys.Ops()-before)
	}
	bundle[len(bundle)-100] ^= 1
	if _, err := b.InstallFile(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), Options{}); err != nil {
		t.Error(err)
	}
}

// Who gives it up ends it.
func TestInstallIsCancelled(t *testing.T) {
	bundle := pack(t, keyOf(1), "1.4.0", target)
	fsys := newMachine(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := boxOn(fsys, layout.A).Install(ctx, bytes.NewReader(bundle), int64(len(bundle)), Options{})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A partition that keeps something else than it was given is found out.
func TestReadBack(t *testing.T) {
	fsys := newMachine(t, 1)
	b := boxOn(fsys, layout.A)
	open := b.Root
	b.Root = func(s layout.Slot) (Partition, error) {
		p, err := open(s)
		return failing{p}, err
	}
	err := install(t, b, pack(t, keyOf(1), "1.4.0", target), Options{})
	if err == nil || !strings.Contains(err.Error(), "the card is failing") {
		t.Errorf("%v", err)
	}
	if slot, _ := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.A {
		t.Errorf("slot %s starts", slot)
	}
}

type failing struct{ Partition }

func (f failing) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.Partition.ReadAt(p, at)
	if n > 0 && at == 0 {
		p[0] ^= 1
	}
	return n, err
}

// An update goes on where its state cannot be saved.
func TestStateIsNotNeeded(t *testing.T) {
	fsys := newMachine(t, 1)
	b := boxOn(fsys, layout.A)
	b.StateDir = "/data/headwater/telemetry-0/00000000000000000000.log/no"
	if err := install(t, b, pack(t, keyOf(1), "1.4.0", target), Options{}); err != nil {
		t.Fatal(err)
	}
	if slot, version := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.B || version != "1.4.0" {
		t.Errorf("%s %s starts", slot, version)
	}
}
