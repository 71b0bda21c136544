package update

import (
	"errors"
	"os"
	"testing"

	"github.com/headwater/headwater/firmware/layout"
)

// A good slot can be gone back to: it is tried as an update is.
func TestRollBackByHand(t *testing.T) {
	fsys := newMachine(t, 1)
	if err := install(t, boxOn(fsys, layout.A), pack(t, keyOf(1), "1.4.0", target), Options{}); err != nil {
		t.Fatal(err)
	}
	start(t, fsys, "1.4.0")
	b := boxOn(fsys, layout.B)
	if err := b.MarkGood(); err != nil {
		t.Fatal(err)
	}
	if next, err := b.RollBack(); next != layout.A || err != nil {
		t.Fatal(next, err)
	}
	if got := status(t, b).String(); got != `b runs; a 1.3.0 on trial 2-0; b 1.4.0 good 0-0; last a 1.3.0 on trial ""` {
		t.Errorf("rolled back: %s", got)
	}
	if slot, version := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.A || version != "1.3.0" {
		t.Fatalf("%s %s starts", slot, version)
	}
	a := boxOn(fsys, layout.A)
	if err := a.MarkGood(); err != nil {
		t.Fatal(err)
	}
	if got := status(t, a).String(); got != `a runs; a 1.3.0 good 0-0; b 1.4.0 good 0-0; last a 1.3.0 good ""` {
		t.Errorf("marked good: %s", got)
	}
	if got := names(t, fsys); got != "hw-a.conf hw-b.conf" {
		t.Errorf("there are %s", got)
	}
	if slot, _ := start(t, fsys, "1.3.0", "1.4.0"); slot != layout.A {
		t.Errorf("slot %s starts", slot)
	}
}

// What waits to be tried is taken back; what is on trial gives way.
func TestTakeBack(t *testing.T) {
	for name, tc := range map[string]struct {
		running layout.Slot
		want    string
	}{
		"waits":   {layout.A, `a runs; a 1.3.0 good 0-0; b  empty 0-0; last b 1.4.0 failed "it was taken back by hand before it was tried"`},
		"onTrial": {layout.B, `a runs; a 1.3.0 good 0-0; b  empty 0-0; last b 1.4.0 rolled back "it was rolled back by hand"`},
	} {
		fsys := newMachine(t, 1)
		if err := install(t, boxOn(fsys, layout.A), pack(t, keyOf(1), "1.4.0", target), Options{}); err != nil {
			t.Fatal(err)
		}
		if tc.running == layout.B {
			start(t, fsys, "1.4.0")
		}
		if next, err := boxOn(fsys, tc.running).RollBack(); next != layout.A || err != nil {
			t.Fatalf("%s: %s, %v", name, next, err)
		}
		if slot, _ := start(t, fsys, "1.3.0"); slot != layout.A {
			t.Errorf("%s: slot %s starts", name, slot)
		}
		if got := status(t, boxOn(fsys, layout.A)).String(); got != tc.want {
			t.Errorf("%s: %s\nwant %s", name, got, tc.want)
		}
	}
}

// Where there is nothing to go back to, nothing is changed.
func TestNothingToGoBackTo(t *testing.T) {
	for _, other := range []string{"", "hw-b+0-2.conf"} {
		fsys := newMachine(t, 1)
		dir := "/boot/" + layout.EntriesDir + "/"
		if err := fsys.Rename(dir+"hw-b.conf", dir+"hw-b+0-2.conf"); err != nil {
			t.Fatal(err)
		}
		if other == "" {
			if err := fsys.Remove(dir + "hw-b+0-2.conf"); err != nil {
				t.Fatal(err)
			}
		}
		before := fsys.Ops()
		if _, err := boxOn(fsys, layout.A).RollBack(); !errors.Is(err, ErrNoFallback) || fsys.Ops() != before {
			t.Errorf("%q: %v, %d changes", other, err, fsys.Ops()-before)
		}
	}
}

// Marking good what is good, and saying that a trial failed where there is none, do nothing.
func TestNothingOnTrial(t *testing.T) {
	fsys := newMachine(t, 1)
	b := boxOn(fsys, layout.A)
	before := fsys.Ops()
	if err := errors.Join(b.MarkGood(), b.TrialFailed("x")); err != nil || fsys.Ops() != before {
		t.Errorf("%v, %d changes", err, fsys.Ops()-before)
	}
	if on, _, err := b.OnTrial(); on || err != nil {
		t.Errorf("on trial %v, %v", on, err)
	}
}

// A state that cannot be read is none.
func TestDamagedState(t *testing.T) {
	for _, text := range []string{"", "{", `{"slot":"c","outcome":"good"}`, `{}`, "null"} {
		fsys := newMachine(t, 1)
		f, err := fsys.OpenFile(layout.StateDir+"/"+stateFile, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(text), 0); err != nil {
			t.Fatal(err)
		}
		b := boxOn(fsys, layout.A)
		if s, err := b.Settle(); err != nil || s.Last != nil {
			t.Errorf("%q: %s, %v", text, s, err)
		}
	}
}
