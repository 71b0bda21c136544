// Package update changes what a firmware image starts: it makes and checks signed
// bundles, writes one to the slot that does not run, has the boot loader try it, and
// marks it good or tells why it was not.
//
// What must hold: the slot that runs is never written, and no boot entry stands for a
// slot that is not whole. So wherever the power is cut, the box starts the old slot or
// the new one. Nothing is written before the bundle's signature, target, version and
// sizes are found right; and beside the state file the data partition is not touched.
//
// Nothing of a bundle is in memory but a window of it. A Box may be used from any
// goroutine and by several processes: one of them at a time changes something. Sizes are
// bytes.
package update

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// What is refused before anything is written.
var (
	ErrNoFirmware = errors.New("this machine was not started from a firmware image with two slots")
	ErrNotBundle  = errors.New("this is no firmware bundle")
	ErrKey        = errors.New("the bundle's signature is by no key of this box")
	ErrTarget     = errors.New("the bundle is for another kind of box")
	ErrOlder      = errors.New("the bundle is older than what runs")
	ErrTruncated  = errors.New("the bundle is cut short")
	ErrDamaged    = errors.New("the bundle is damaged")
	ErrNoRoom     = errors.New("the bundle does not fit")
	ErrOnTrial    = errors.New("what runs is on trial itself")
	ErrBusy       = errors.New("another update is under way")
	ErrNoFallback = errors.New("there is no other slot to go back to")
)

// Partition is where a root lies. There is no position.
type Partition interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Size() (int64, error)
}

// Box is a machine with two slots.
type Box struct {
	FS       disk.FS
	BootDir  string      // where the boot partition is mounted
	StateDir string      // on the data partition
	Running  layout.Slot // what the kernel was started from
	Version  string      // of the program that runs, used where its boot entry tells none

	// Root opens the partition of a slot that does not run.
	Root func(layout.Slot) (Partition, error)
	// Writable has the boot partition take writes until done is called; nil where it does.
	Writable func() (done func() error, err error)
	// Lock keeps other processes from changing this box; nil where there are none. It
	// returns an error wrapping disk.ErrLocked.
	Lock func() (io.Closer, error)
	// CaughtUp is nil while the broker of this box has caught up with its region; without
	// one that is not known, and the trial of an update does not ask for it.
	CaughtUp func() error
	Now      func() time.Time // nil is the machine's
	Log      *slog.Logger     // nil is none

	one chan struct{} // holds who changes something in this process
}

// New completes b.
func New(b Box) *Box {
	if b.Now == nil {
		b.Now = time.Now
	}
	if b.Log == nil {
		b.Log = slog.New(slog.DiscardHandler)
	}
	b.one = make(chan struct{}, 1)
	return &b
}

// alone lets do change the box while nobody else does.
func (b *Box) alone(do func() error) (err error) {
	select {
	case b.one <- struct{}{}:
		defer func() { <-b.one }()
	default:
		return fmt.Errorf("%w; wait until it has ended", ErrBusy)
	}
	if b.Lock != nil {
		lock, err := b.Lock()
		if errors.Is(err, disk.ErrLocked) {
			return fmt.Errorf("%w; wait until it has ended", ErrBusy)
		}
		if err != nil {
			return fmt.Errorf("lock the state of updates: %w", err)
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	return do()
}

// caughtUp is what a trial that is prepared now is to ask for.
func (b *Box) caughtUp() bool {
	if b.CaughtUp == nil {
		return false
	}
	if err := b.CaughtUp(); err != nil {
		b.Log.Warn("broker has not caught up with its region; the trial will not ask for that", "err", err)
		return false
	}
	return true
}

// onBoot lets do write to the boot partition.
func (b *Box) onBoot(do func() error) (err error) {
	if b.Writable == nil {
		return do()
	}
	done, err := b.Writable()
	if err != nil {
		return fmt.Errorf("make the boot partition writable: %w", err)
	}
	defer func() {
		if doneErr := done(); doneErr != nil {
			err = errors.Join(err, fmt.Errorf("make the boot partition read-only again: %w", doneErr))
		}
	}()
	return do()
}

// boot is a path on the boot partition.
func (b *Box) boot(name string) string { return filepath.Join(b.BootDir, filepath.FromSlash(name)) }
