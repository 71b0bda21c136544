package layout

import "testing"

// What an entry says is read as it was written; of a file that was cut short nothing is
// believed, and the loader finds no kernel in it.
func TestEntryFile(t *testing.T) {
	want := EntryFile{Slot: B, Version: "1.4.0-rc.1", Sequence: 7, Options: CommandLine(B, "console=ttyAMA0 hw.wdt=off")}
	text := want.Text()
	if got, ok := ParseEntryFile(text); !ok || got != want {
		t.Errorf("read %+v (%v), want %+v", got, ok, want)
	}
	for cut := range len(text) - 1 { // the last byte ends a line that is whole without it
		if f, ok := ParseEntryFile(text[:cut]); ok {
			t.Errorf("cut after %d bytes it is %+v", cut, f)
		}
	}
	if got := MoreOf(want.Options); got != "console=ttyAMA0 hw.wdt=off" {
		t.Errorf("the machine's own is %q", got)
	}
	if got := MoreOf(CommandLine(A, "rootwait rootwait=5")); got != "rootwait=5" {
		t.Errorf("of a box that waits for ever, and then does not, it is %q", got)
	}
	if got := MoreOf(CommandLine(A, "")); got != "" {
		t.Errorf("of a machine that needs nothing it is %q", got)
	}
	for _, other := range []string{"", "title x\nsort-key headwater\nversion 1\noptions o\nlinux /hw/a/vmlinuz\n", "title headwater\nversion -1\noptions o\nlinux /hw/a/vmlinuz\n", "title headwater\nversion 1\noptions o\nlinux /hw/c/vmlinuz\n"} {
		if f, ok := ParseEntryFile(other); ok {
			t.Errorf("%q is taken for %+v", other, f)
		}
	}
}
