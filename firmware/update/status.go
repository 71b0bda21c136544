package update

import (
	"errors"
	"fmt"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// What a slot can be.
const (
	SlotGood  = "good"
	SlotTrial = "on trial"
	SlotBad   = "bad" // it was tried as often as it may be; the loader takes it when there is no other
	SlotEmpty = "empty"
)

// SlotStatus is a slot's.
type SlotStatus struct {
	Slot    layout.Slot `json:"slot"`
	Version string      `json:"version,omitempty"` // "" where it is not known
	State   string      `json:"state"`
	Left    int         `json:"triesLeft,omitempty"` // on trial: the next starts that try it
	Done    int         `json:"tries,omitempty"`
}

// Status is what a box has, and what became of the last update.
type Status struct {
	Running layout.Slot   `json:"running"`
	Slots   [2]SlotStatus `json:"slots"`
	Last    *Result       `json:"last,omitempty"`
}

// Status looks; it writes nothing.
func (b *Box) Status() (Status, error) {
	entries, err := b.entries()
	if err != nil {
		return Status{}, err
	}
	last, err := b.loadResult()
	if err != nil {
		return Status{}, err
	}
	if last != nil && !(last.Outcome == Writing && b.busy()) {
		judged := judge(*last, b.Running, entries)
		last = &judged
	}
	return Status{Running: b.Running, Last: last, Slots: [2]SlotStatus{
		b.slotStatus(entries, layout.A), b.slotStatus(entries, layout.B),
	}}, nil
}

func (b *Box) slotStatus(entries []entry, slot layout.Slot) SlotStatus {
	s := SlotStatus{Slot: slot, State: SlotEmpty}
	e, ok := of(entries, slot)
	if ok {
		s.Left, s.Done = e.Left, e.Done
		switch {
		case !e.whole:
		case !e.Counted:
			s.State = SlotGood
		case e.Left > 0 || slot == b.Running:
			s.State = SlotTrial
		default:
			s.State = SlotBad
		}
		s.Version = e.file.Version
	}
	if slot == b.Running && s.Version == "" {
		s.Version = b.Version
	}
	return s
}

// busy reports whether somebody changes this box now.
func (b *Box) busy() bool {
	select {
	case b.one <- struct{}{}:
		defer func() { <-b.one }()
	default:
		return true
	}
	if b.Lock == nil {
		return false
	}
	lock, err := b.Lock()
	if err == nil {
		lock.Close()
	}
	return errors.Is(err, disk.ErrLocked)
}

// judge tells what became of the update that was last heard of as r says, from the slot
// that runs now and the boot entries that are there.
func judge(r Result, running layout.Slot, entries []entry) Result {
	e, there := of(entries, r.Slot)
	there = there && e.whole
	because := func(o Outcome, format string, args ...any) Result {
		r.Outcome = o
		if r.Why == "" {
			r.Why = fmt.Sprintf(format, args...)
		}
		return r
	}
	switch {
	case r.Outcome == Writing:
		return because(Failed, "it was not written to its end: the power went, or the program ended; slot %s is empty", r.Slot)
	case r.Outcome != Trial:
		return r
	case there && !e.Counted:
		r.Outcome, r.Why = Good, ""
		return r
	case running == r.Slot:
		return r
	case !there:
		return because(Failed, "the power went before its boot entry was written; slot %s is empty", r.Slot)
	case e.Left > 0:
		return r
	}
	return because(RolledBack, "it was started %d times and never got as far as to tell why: its kernel or its root does not start, or the power went each time", e.Done)
}
