package layout

import "testing"

// Names of entries are read as they are written, and others are not ours.
func TestEntry(t *testing.T) {
	for name, want := range map[string]Entry{
		"hw-a.conf":     {Slot: A},
		"hw-b+2.conf":   {Slot: B, Counted: true, Left: 2},
		"hw-b+1-1.conf": {Slot: B, Counted: true, Left: 1, Done: 1},
		"hw-a+0-2.conf": {Slot: A, Counted: true, Done: 2},
	} {
		e, ok := ParseEntry(name)
		if !ok || e != want || e.Name() != name {
			t.Errorf("%s is %+v (%v), named %s", name, e, ok, e.Name())
		}
	}
	for _, name := range []string{"", "hw-c.conf", "hw-a", "hw-a+.conf", "hw-a+1-.conf", "hw-a+-1.conf", "hw-a+100.conf", "other.conf", "hw-a+1-1-1.conf"} {
		if e, ok := ParseEntry(name); ok {
			t.Errorf("%q is taken for %+v", name, e)
		}
	}
}
