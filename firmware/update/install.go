package update

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// tries is how often the loader starts a new slot before it goes back.
const tries = 2

// bootReserve is what an update leaves free on the boot partition, for entries and for
// what the file system itself needs.
const bootReserve = 1 << 20

// Options of an installation.
type Options struct {
	AllowDowngrade bool
}

// InstallFile is Install of a file that can be read twice: every byte of it is held
// against its manifest before the first one is written.
func (b *Box) InstallFile(ctx context.Context, file io.ReaderAt, size int64, o Options) (Manifest, error) {
	bundle, err := Inspect(io.NewSectionReader(file, 0, size), size) // believed by nobody: Install opens it anew
	if err == nil {
		err = bundle.Check(ctx)
	}
	if err != nil {
		return Manifest{}, refusal{err}
	}
	return b.Install(ctx, io.NewSectionReader(file, 0, size), size, o)
}

// Install writes a bundle of size bytes to the slot that does not run, and has the loader
// try it at the next start. An error for which Refused is true came before anything was
// written. After any other one the slot is empty, and what runs is as it was.
func (b *Box) Install(ctx context.Context, r io.Reader, size int64, o Options) (m Manifest, err error) {
	err = b.alone(func() error {
		keys, err := b.keys()
		if err != nil {
			return err
		}
		bundle, err := Open(r, size, keys)
		if err != nil {
			return refusal{err}
		}
		m = bundle.Manifest
		return b.install(ctx, bundle, o)
	})
	return m, err
}

func (b *Box) install(ctx context.Context, bundle *Bundle, o Options) error {
	m, target := bundle.Manifest, b.Running.Other()
	entries, err := b.entries()
	if err != nil {
		return err
	}
	running, err := b.accept(m, entries, o)
	if err != nil {
		return refusal{err}
	}
	root, err := b.rootFor(m.Root, target)
	if err != nil {
		return err
	}
	defer root.Close()
	result := Result{
		Slot: target, Version: m.Version, From: b.slotStatus(entries, b.Running).Version,
		Outcome: Writing, At: b.Now().UTC(), CaughtUp: b.caughtUp(),
	}
	b.noted(b.saveResult(result))
	err = b.onBoot(func() error {
		if err := b.write(ctx, bundle, root, target); err != nil {
			return err
		}
		result.Outcome = Trial
		b.noted(b.saveResult(result)) // before the entry: from then on it can be started
		return b.putEntry(layout.Entry{Slot: target, Counted: true, Left: tries}, layout.EntryFile{
			Slot: target, Version: m.Version, Sequence: nextSequence(entries),
			Options: layout.CommandLine(target, layout.MoreOf(running.file.Options)),
		})
	})
	if err != nil {
		result.Outcome, result.Why = Failed, err.Error()
		b.noted(b.saveResult(result))
		return err
	}
	b.Log.Info("update written", "slot", target, "version", m.Version, "from", result.From, "caughtUp", result.CaughtUp)
	return nil
}

// write fills the target slot. Its entry goes first, so that nothing starts what is half
// written. The kernel is written over the old one: to write it beside that and rename it
// leaves one file under two names when the power goes in the middle, on FAT.
func (b *Box) write(ctx context.Context, bundle *Bundle, root Partition, target layout.Slot) error {
	if err := b.dropEntries(func(e layout.Entry) bool { return e.Slot == target }); err != nil {
		return err
	}
	kernel, err := b.openKernel(target)
	if err != nil {
		return err
	}
	err = fill(ctx, bundle, bundle.Manifest.Kernel, kernel)
	if err = errors.Join(err, kernel.Close()); err != nil {
		return fmt.Errorf("write the kernel of slot %s: %w", target, err)
	}
	if err := fill(ctx, bundle, bundle.Manifest.Root, root); err != nil {
		return fmt.Errorf("write the root of slot %s: %w", target, err)
	}
	return nil
}

// openKernel opens the kernel of a slot, and makes it where there is none.
func (b *Box) openKernel(slot layout.Slot) (kernelFile, error) {
	name := b.boot(slot.KernelPath())
	if err := b.FS.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return kernelFile{}, fmt.Errorf("make the directory of slot %s: %w", slot, err)
	}
	f, err := b.FS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return kernelFile{}, fmt.Errorf("open the kernel of slot %s: %w", slot, err)
	}
	for _, dir := range []string{filepath.Dir(name), filepath.Dir(filepath.Dir(name)), b.BootDir} {
		if err := b.FS.SyncDir(dir); err != nil {
			f.Close()
			return kernelFile{}, fmt.Errorf("make the kernel of slot %s: %w", slot, err)
		}
	}
	return kernelFile{f}, nil
}

// kernelFile is a file; a Partition has a size of its own.
type kernelFile struct{ disk.File }

// place is what a payload is written to, and read back from.
type place interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// fill writes a payload, syncs it, and reads back what is there.
func fill(ctx context.Context, bundle *Bundle, p Payload, to place) error {
	out := &writer{to: to}
	if err := bundle.unpack(ctx, p, out); err != nil {
		return err
	}
	if file, ok := to.(kernelFile); ok {
		if err := file.Truncate(p.Bytes); err != nil { // the old one may have been longer
			return err
		}
	}
	if err := to.Sync(); err != nil {
		return err
	}
	forget(to) // or the kernel would answer from memory
	sum := sha256.New()
	if err := copyTo(ctx, io.NewSectionReader(to, 0, p.Bytes), p.Bytes, sum); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if !matches(sum, p.SHA256) {
		return errors.New("what is read back is not what was written: the card is failing")
	}
	return nil
}

// writer writes one behind the other. It syncs the first bytes at once, so that FAT's
// directory tells where the file begins: what a power cut then leaves of it can be freed
// with the file. And it syncs from time to time, so that little memory is dirty.
type writer struct {
	to   place
	at   int64
	next int64 // to sync at
}

// syncEvery is how much may be written between syncs.
const syncEvery = 4 << 20

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.to.WriteAt(p, w.at)
	w.at += int64(n)
	if err == nil && w.at >= w.next {
		w.next = w.at + syncEvery
		err = w.to.Sync()
	}
	return n, err
}

// accept holds a manifest against this box: all that can be known before writing. It
// returns the entry of what runs.
func (b *Box) accept(m Manifest, entries []entry, o Options) (running entry, err error) {
	text, err := disk.ReadFile(b.FS, b.boot(layout.CompatiblePath), maxEntryBytes)
	if err != nil {
		return running, fmt.Errorf("%w: which bundles this one takes is not known: %w", ErrTarget, err)
	}
	if ours := strings.TrimSpace(string(text)); ours != m.Compatible {
		return running, fmt.Errorf("%w: it is for %s, and this is %.80s", ErrTarget, m.Compatible, ours)
	}
	running, ok := of(entries, b.Running)
	switch {
	case !ok || !running.whole:
		return running, fmt.Errorf("%w: slot %s, which runs, has no boot entry that can be read", ErrNoFallback, b.Running)
	case running.Counted:
		return running, fmt.Errorf("%w: slot %s has to be marked good first, which it is by itself when the broker is ready", ErrOnTrial, b.Running)
	}
	if err := b.newEnough(m.Version, b.slotStatus(entries, b.Running).Version, o); err != nil {
		return running, err
	}
	return running, b.fits(m.Kernel)
}

func (b *Box) newEnough(offered, runs string, o Options) error {
	if o.AllowDowngrade {
		return nil
	}
	v, err := parseVersion(offered)
	if err != nil {
		return err
	}
	w, err := parseVersion(runs)
	if err != nil {
		return fmt.Errorf("%w, as far as can be told: %.80q runs, which is no version; allow it with --allow-downgrade", ErrOlder, runs)
	}
	if v.compare(w) < 0 {
		return fmt.Errorf("%w: it has %s, and %s runs; allow it with --allow-downgrade", ErrOlder, offered, runs)
	}
	return nil
}

// fits sees whether the kernel has room in place of the one that is in the slot.
func (b *Box) fits(kernel Payload) error {
	free, err := disk.Free(b.FS, b.BootDir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // a full disk ends it then, with the slot empty
	}
	if err != nil {
		return fmt.Errorf("see what is free on the boot partition: %w", err)
	}
	old, err := b.FS.Stat(b.boot(b.Running.Other().KernelPath()))
	if err == nil {
		free += old.Size()
	}
	if kernel.Bytes > free-bootReserve {
		return fmt.Errorf("%w: its kernel has %d bytes, and the boot partition has room for %d", ErrNoRoom, kernel.Bytes, max(0, free-bootReserve))
	}
	return nil
}

// rootFor opens the partition that the root goes to.
func (b *Box) rootFor(p Payload, slot layout.Slot) (Partition, error) {
	root, err := b.Root(slot)
	if err != nil {
		return nil, fmt.Errorf("open the partition %s: %w", slot.RootLabel(), err)
	}
	size, err := root.Size()
	if err == nil && p.Bytes > size {
		err = refusal{fmt.Errorf("%w: its root has %d bytes, and the partition %s has %d", ErrNoRoom, p.Bytes, slot.RootLabel(), size)}
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// keys are those by which this box knows its bundles.
func (b *Box) keys() ([]ed25519.PublicKey, error) {
	text, err := disk.ReadFile(b.FS, b.boot(layout.KeysPath), maxKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it has none; put the public key into %s on its boot partition", ErrKey, layout.KeysPath)
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys of updates: %w", err)
	}
	keys, err := ParsePublicKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: its list of keys (%s) cannot be read: %w", ErrKey, layout.KeysPath, err)
	}
	return keys, nil
}

// refusal is an error that came before anything was written.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Refused reports whether an installation ended before it wrote anything because the
// bundle, or the time, was not right.
func Refused(err error) bool {
	var r refusal
	return errors.As(err, &r) || errors.Is(err, ErrBusy) || errors.Is(err, ErrKey) || errors.Is(err, ErrNoFirmware)
}
