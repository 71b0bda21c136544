package update

import (
	"errors"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// restarts is how many file systems are looked at that one cut can leave.
const restarts = 6

// cutEverywhere runs do on machines whose power goes at the k-th write, for every k, and
// has check look at what each cut can leave.
func cutEverywhere(t *testing.T, prepare func(seed uint64) *disk.Crash, do func(*disk.Crash) error, check func(t *testing.T, left *disk.Crash)) {
	t.Helper()
	for k := 0; ; k++ {
		for seed := range uint64(restarts) {
			fsys := prepare(seed)
			fsys.CrashAt(k)
			err := do(fsys)
			if !fsys.Crashed() {
				if err != nil {
					t.Fatal(err)
				}
				if k < 3 {
					t.Fatalf("there were but %d writes", k)
				}
				check(t, fsys.Restart(seed))
				t.Logf("%d writes", k)
				return
			}
			left := fsys.Restart(seed)
			check(t, left)
			if t.Failed() {
				t.Fatalf("after a cut at write %d, seed %d: %s", k, seed, names(t, left))
			}
		}
	}
}

// Wherever the power goes during an installation, the old slot starts, or the new one
// whole; the status is told; and the installation can be made again.
func TestPowerCutDuringInstall(t *testing.T) {
	bundle := pack(t, keyOf(1), "1.4.0", target)
	old, tried := 0, 0
	cutEverywhere(t,
		func(seed uint64) *disk.Crash { return newMachine(t, seed) },
		func(fsys *disk.Crash) error {
			b := boxOn(fsys, layout.A)
			if err := install(t, b, bundle, Options{}); err != nil && !errors.Is(err, disk.ErrCrashed) {
				return err
			}
			return nil
		},
		func(t *testing.T, left *disk.Crash) {
			slot, version := start(t, left, "1.3.0", "1.4.0")
			untouched(t, left)
			b := boxOn(left, slot)
			s, err := b.Settle()
			if err != nil {
				t.Fatal(err)
			}
			if version == "1.4.0" {
				tried++
				if slot != layout.B || s.Last == nil || s.Last.Outcome != Trial {
					t.Errorf("the new one is tried: %s", s)
				}
				return
			}
			old++
			if slot != layout.A || s.Last != nil && s.Last.Outcome != Failed {
				t.Errorf("the old one runs: %s", s)
			}
			if err := install(t, b, bundle, Options{}); err != nil {
				t.Errorf("once more: %v", err)
			}
			if slot, version := start(t, left, "1.4.0"); slot != layout.B || version != "1.4.0" {
				t.Errorf("once more: %s %s starts", slot, version)
			}
		})
	if old == 0 || tried == 0 {
		t.Errorf("the old one ran %d times, the new one was tried %d times", old, tried)
	}
}

// Wherever the power goes while an update is marked good, one of the two starts, with a
// try left or none needed; and marking it once more is all there is to do.
func TestPowerCutDuringMarkGood(t *testing.T) {
	bundle := pack(t, keyOf(1), "1.4.0", target)
	again := 0
	cutEverywhere(t,
		func(seed uint64) *disk.Crash {
			fsys := newMachine(t, seed)
			if err := install(t, boxOn(fsys, layout.A), bundle, Options{}); err != nil {
				t.Fatal(err)
			}
			start(t, fsys, "1.4.0")
			return fsys
		},
		func(fsys *disk.Crash) error {
			if err := boxOn(fsys, layout.B).MarkGood(); !errors.Is(err, disk.ErrCrashed) {
				return err
			}
			return nil
		},
		func(t *testing.T, left *disk.Crash) {
			slot, _ := start(t, left, "1.4.0")
			untouched(t, left)
			b := boxOn(left, slot)
			if on, _, err := b.OnTrial(); err != nil || on {
				again++
			}
			if err := b.MarkGood(); err != nil {
				t.Fatal(err)
			}
			if got := names(t, left); got != "hw-a.conf hw-b.conf" {
				t.Errorf("marked good, there are %s", got)
			}
			if s := status(t, b); s.Last == nil || s.Last.Outcome != Good {
				t.Errorf("marked good: %s", s)
			}
		})
	if again == 0 {
		t.Error("no cut left it on trial")
	}
}

// Wherever the power goes while a box is rolled back by hand, one of the two starts.
func TestPowerCutDuringRollBack(t *testing.T) {
	bundle := pack(t, keyOf(1), "1.4.0", target)
	back := 0
	cutEverywhere(t,
		func(seed uint64) *disk.Crash {
			fsys := newMachine(t, seed)
			if err := install(t, boxOn(fsys, layout.A), bundle, Options{}); err != nil {
				t.Fatal(err)
			}
			start(t, fsys, "1.4.0")
			if err := boxOn(fsys, layout.B).MarkGood(); err != nil {
				t.Fatal(err)
			}
			return fsys
		},
		func(fsys *disk.Crash) error {
			if _, err := boxOn(fsys, layout.B).RollBack(); !errors.Is(err, disk.ErrCrashed) {
				return err
			}
			return nil
		},
		func(t *testing.T, left *disk.Crash) {
			slot, _ := start(t, left, "1.3.0", "1.4.0")
			untouched(t, left)
			if slot == layout.A {
				back++
			}
			b := boxOn(left, slot)
			if _, err := b.Settle(); err != nil {
				t.Fatal(err)
			}
			if err := b.MarkGood(); err != nil {
				t.Fatal(err)
			}
			if again, _ := start(t, left, "1.3.0", "1.4.0"); again != slot {
				t.Errorf("slot %s was marked good, and %s starts", slot, again)
			}
		})
	if back == 0 {
		t.Error("it never went back")
	}
}
