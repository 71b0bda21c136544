package update

import (
	"errors"
	"fmt"
	"slices"

	"github.com/headwater/headwater/firmware/layout"
)

// OnTrial reports whether what runs has not been marked good. left is how many starts it
// has after this one.
func (b *Box) OnTrial() (onTrial bool, left int, err error) {
	entries, err := b.entries()
	if err != nil {
		return false, 0, err
	}
	e, ok := of(entries, b.Running)
	return ok && e.Counted, e.Left, nil
}

// WasCaughtUp reports whether the broker had caught up with its region when the trial
// that is under way was prepared. Where nothing was noted it is false.
func (b *Box) WasCaughtUp() (bool, error) {
	last, err := b.loadResult()
	if err != nil || last == nil || last.Outcome != Trial || last.Slot != b.Running {
		return false, err
	}
	return last.CaughtUp, nil
}

// MarkGood has the loader start what runs from now on. The other slot stays as it is, to
// go back to. It may be called when nothing is on trial, and then does nothing.
func (b *Box) MarkGood() error {
	return b.alone(func() error {
		if err := b.markGood(); err != nil {
			return err
		}
		b.noted(b.settle())
		return nil
	})
}

func (b *Box) markGood() error {
	entries, err := b.entries()
	if err != nil {
		return err
	}
	e, ok := of(entries, b.Running)
	if !ok || !e.whole {
		return fmt.Errorf("mark slot %s good: %w: it has no boot entry that can be read", b.Running, ErrNoFirmware)
	}
	counted := func(other layout.Entry) bool { return other.Slot == b.Running && other.Counted }
	if !slices.ContainsFunc(entries, func(other entry) bool { return counted(other.Entry) }) {
		return nil
	}
	return b.onBoot(func() error {
		if e.Counted { // the new entry is whole before the old one goes
			if err := b.putEntry(layout.Entry{Slot: b.Running}, e.file); err != nil {
				return err
			}
		}
		return b.dropEntries(counted)
	})
}

// TrialFailed keeps why what runs on trial is not good, in a sentence, for the slot that
// runs next. The caller restarts the machine, whatever this returns.
func (b *Box) TrialFailed(why string) error {
	return b.alone(func() error {
		last, err := b.loadResult()
		if err != nil || last == nil || last.Outcome != Trial || last.Slot != b.Running {
			return err
		}
		last.Why = why
		return b.saveResult(*last)
	})
}

// Settle is called once after a start: it writes down what became of the last update, as
// far as that can be told, and returns the status.
func (b *Box) Settle() (Status, error) {
	if err := b.alone(b.settle); err != nil {
		return Status{}, err
	}
	return b.Status()
}

func (b *Box) settle() error {
	last, err := b.loadResult()
	if err != nil || last == nil {
		return err
	}
	entries, err := b.entries()
	if err != nil {
		return err
	}
	now := judge(*last, b.Running, entries)
	if now == *last {
		return nil
	}
	now.At = b.Now().UTC()
	return b.saveResult(now)
}

// RollBack has the loader start the other slot next: on trial, where what runs is good;
// or for good, where what runs is on trial itself. An update that waits to be tried is
// taken back instead. It returns the slot that starts next.
func (b *Box) RollBack() (next layout.Slot, err error) {
	other := b.Running.Other()
	next = other
	err = b.alone(func() error {
		entries, err := b.entries()
		if err != nil {
			return err
		}
		runs, _ := of(entries, b.Running)
		to, ok := of(entries, other)
		ok = ok && to.whole
		switch {
		case runs.Counted && ok:
			return b.takeBack(b.Running, RolledBack, "it was rolled back by hand")
		case ok && to.Counted && to.Left > 0:
			next = b.Running
			return b.takeBack(other, Failed, "it was taken back by hand before it was tried")
		case !ok || to.Counted:
			return refusal{fmt.Errorf("%w: slot %s holds nothing that was good", ErrNoFallback, other)}
		}
		return b.tryAgain(entries, to)
	})
	return next, err
}

// takeBack removes the entries of a slot on trial.
func (b *Box) takeBack(slot layout.Slot, o Outcome, why string) error {
	if last, err := b.loadResult(); err == nil && last != nil && last.Slot == slot && last.Outcome == Trial {
		last.Outcome, last.Why, last.At = o, why, b.Now().UTC()
		b.noted(b.saveResult(*last))
	}
	return b.onBoot(func() error {
		return b.dropEntries(func(e layout.Entry) bool { return e.Slot == slot })
	})
}

// tryAgain puts a good slot on trial, before the one that runs.
func (b *Box) tryAgain(entries []entry, other entry) error {
	runs := b.slotStatus(entries, b.Running)
	b.noted(b.saveResult(Result{
		Slot: other.Slot, Version: other.file.Version, From: runs.Version,
		Outcome: Trial, At: b.Now().UTC(), CaughtUp: b.caughtUp(),
	}))
	file := other.file
	file.Sequence = nextSequence(entries)
	trial := layout.Entry{Slot: other.Slot, Counted: true, Left: tries}
	return b.onBoot(func() error {
		return errors.Join(b.putEntry(trial, file), b.dropEntries(func(e layout.Entry) bool { return e.Slot == other.Slot && e != trial }))
	})
}
