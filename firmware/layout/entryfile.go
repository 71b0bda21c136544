package layout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// EntryFile is what a boot entry says.
type EntryFile struct {
	Slot     Slot
	Version  string // of what is in the slot, such as 1.4.0; "" where nobody said
	Sequence int    // the loader takes the entry with the highest: 1 in a new image, and one more with each update
	Options  string // the kernel's command line: CommandLine
}

// sortKey is the same for all entries, so that the loader goes by their version line:
// that is the sequence, since an older release may be wanted, too.
const sortKey = "headwater"

// maxSequence is more updates than a card lives through, and keeps numbers short.
const maxSequence = 1_000_000

// Text is the file. The kernel stands last: of a file that was cut short the loader
// finds no kernel, and passes it over.
func (f EntryFile) Text() string {
	title := "headwater"
	if f.Version != "" {
		title += " " + f.Version
	}
	return fmt.Sprintf("title %s\nsort-key %s\nversion %d\noptions %s\nlinux /%s\n", title, sortKey, f.Sequence, f.Options, f.Slot.KernelPath())
}

// ParseEntryFile reads one; ok is false where a line is missing or is not as Text
// writes it. Where the last line is whole, those before it are.
func ParseEntryFile(text string) (f EntryFile, ok bool) {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		values[key] = strings.TrimSpace(value)
	}
	title, titled := strings.CutPrefix(values["title"], "headwater")
	f.Version, f.Options = strings.TrimSpace(title), values["options"]
	for _, slot := range []Slot{A, B} {
		if values["linux"] == "/"+slot.KernelPath() {
			f.Slot = slot
		}
	}
	var err error
	f.Sequence, err = strconv.Atoi(values["version"])
	ok = titled && err == nil && f.Sequence >= 0 && f.Sequence <= maxSequence && f.Slot != "" && f.Options != ""
	return f, ok
}

// MoreOf returns what stands on a command line beside CommandLine's own: what a machine
// needs, and its next update too.
func MoreOf(options string) string {
	own := []string{"rootwait"} // that it waits for ever was once its own
	for _, slot := range []Slot{A, B} {
		own = append(own, strings.Fields(CommandLine(slot, ""))...)
	}
	var more []string
	for _, word := range strings.Fields(options) {
		if !slices.Contains(own, word) {
			more = append(more, word)
		}
	}
	return strings.Join(more, " ")
}
