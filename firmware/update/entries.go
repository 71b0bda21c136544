package update

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// maxEntryBytes is far above what an entry takes; a file that is larger is none of ours.
const maxEntryBytes = 8 << 10

// maxEntries bounds how many files of entries are looked at.
const maxEntries = 64

// entry is a boot entry that is there.
type entry struct {
	layout.Entry // by its name
	file         layout.EntryFile
	whole        bool // what it says could be read
}

// entries returns the boot entries of our two slots.
func (b *Box) entries() ([]entry, error) {
	found, err := b.FS.ReadDir(b.boot(layout.EntriesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there are no boot entries (%s)", ErrNoFirmware, b.boot(layout.EntriesDir))
	}
	if err != nil {
		return nil, fmt.Errorf("read the boot entries: %w", err)
	}
	var all []entry
	for _, f := range found {
		name, ours := layout.ParseEntry(f.Name())
		if !ours || f.IsDir() || len(all) == maxEntries {
			continue
		}
		e := entry{Entry: name}
		text, err := disk.ReadFile(b.FS, b.boot(path.Join(layout.EntriesDir, f.Name())), maxEntryBytes)
		if err == nil {
			e.file, e.whole = layout.ParseEntryFile(string(text))
			e.whole = e.whole && e.file.Slot == e.Slot
		}
		all = append(all, e)
	}
	return all, nil
}

// of returns the entry of a slot that the loader prefers: the one with the highest
// sequence and, of two with the same, the good one. What cannot be read counts only where
// nothing else is there.
func of(entries []entry, slot layout.Slot) (best entry, ok bool) {
	for _, e := range entries {
		if e.Slot == slot && (!ok || e.before(best)) {
			best, ok = e, true
		}
	}
	return best, ok
}

func (e entry) before(other entry) bool {
	switch {
	case e.whole != other.whole:
		return e.whole
	case e.file.Sequence != other.file.Sequence:
		return e.file.Sequence > other.file.Sequence
	case e.Counted != other.Counted:
		return !e.Counted
	}
	return e.Left > other.Left
}

// nextSequence is higher than that of every entry.
func nextSequence(entries []entry) int {
	next := 1
	for _, e := range entries {
		if e.whole {
			next = max(next, e.file.Sequence+1)
		}
	}
	return next
}

// putEntry makes an entry's file under its own name, in one write. A file that is
// written beside it and renamed would be safer on other file systems: on FAT a rename
// that the power cuts leaves two names for the same bytes, and whoever tidies one up
// frees the other's. Of a file that is cut short, the loader finds no kernel.
func (b *Box) putEntry(e layout.Entry, file layout.EntryFile) error {
	name := b.boot(path.Join(layout.EntriesDir, e.Name()))
	if err := b.dropEntries(func(other layout.Entry) bool { return other == e }); err != nil {
		return err
	}
	f, err := b.FS.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		_, err = f.WriteAt([]byte(file.Text()), 0)
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = b.FS.SyncDir(b.boot(layout.EntriesDir))
	}
	if err != nil {
		return fmt.Errorf("write the boot entry %s: %w", e.Name(), err)
	}
	return nil
}

// dropEntries removes the entries that which is true for, those too that cannot be read.
func (b *Box) dropEntries(which func(layout.Entry) bool) error {
	found, err := b.FS.ReadDir(b.boot(layout.EntriesDir))
	if err != nil {
		return fmt.Errorf("read the boot entries: %w", err)
	}
	dropped := false
	for _, f := range found {
		e, ours := layout.ParseEntry(f.Name())
		if !ours || !which(e) {
			continue
		}
		if err := b.FS.Remove(b.boot(path.Join(layout.EntriesDir, f.Name()))); err != nil {
			return fmt.Errorf("remove the boot entry %s: %w", f.Name(), err)
		}
		dropped = true
	}
	if !dropped {
		return nil
	}
	if err := b.FS.SyncDir(b.boot(layout.EntriesDir)); err != nil {
		return fmt.Errorf("remove a boot entry: %w", err)
	}
	return nil
}
