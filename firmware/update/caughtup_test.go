package update

import (
	"errors"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// What a trial has to ask for is noted when it is prepared, whichever way, and read again
// at each start that tries it. Where nothing is known, and of what is not on trial, it is
// nothing.
func TestWasCaughtUp(t *testing.T) {
	behind := errors.New("not registered with ZooKeeper")
	for name, tc := range map[string]struct {
		now  func() error
		want bool
	}{
		"caughtUp": {func() error { return nil }, true},
		"behind":   {func() error { return behind }, false},
		"unknown":  {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := newMachine(t, 1)
			check := func(running layout.Slot, want bool) {
				t.Helper()
				if was, err := boxOn(fsys, running).WasCaughtUp(); was != want || err != nil {
					t.Errorf("slot %s: %v, %v, want %v", running, was, err, want)
				}
			}
			check(layout.A, false)
			old := boxOn(fsys, layout.A)
			old.CaughtUp = tc.now
			if err := install(t, old, pack(t, keyOf(1), "1.4.0", target), Options{}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(read(t, fsys, layout.StateDir+"/"+stateFile)), `"caughtUp": true`); got != tc.want {
				t.Errorf("noted: %v, want %v", got, tc.want)
			}
			check(layout.A, false) // it is the other slot's trial
			for range tries {
				start(t, fsys, "1.4.0")
				check(layout.B, tc.want)
				if err := boxOn(fsys, layout.B).TrialFailed("behind"); err != nil {
					t.Fatal(err)
				}
				check(layout.B, tc.want)
			}
			b := boxOn(fsys, layout.B)
			if err := b.MarkGood(); err != nil {
				t.Fatal(err)
			}
			check(layout.B, false)
			b.CaughtUp = tc.now
			if _, err := b.RollBack(); err != nil {
				t.Fatal(err)
			}
			start(t, fsys, "1.3.0", "1.4.0")
			check(layout.A, tc.want)
		})
	}
}

// A state that an earlier release has written, or nobody can read, asks for nothing.
func TestCaughtUpUnknown(t *testing.T) {
	for _, more := range []string{"", `,"caughtUp":1`, `,"caughtUp":true`} {
		fsys := newMachine(t, 1)
		text := `{"slot":"b","version":"1.4.0","outcome":"on trial","at":"2026-11-26T08:10:00Z"` + more + "}"
		if err := disk.WriteFile(fsys, layout.StateDir+"/"+stateFile, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if was, err := boxOn(fsys, layout.B).WasCaughtUp(); was != (more == `,"caughtUp":true`) || err != nil {
			t.Errorf("%q: %v, %v", more, was, err)
		}
	}
}
