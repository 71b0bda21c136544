// Package clock keeps a box's time of day: at a start not before the last time known,
// which is saved now and then, and right once servers of the time agree.
//
// The kernel is told that the clock is right (adjtimex) when it is, and it forgets by
// itself after some hours without an answer: that flag is how the broker learns whether
// the time of day is in doubt. Choosing among answers is pure; the machine and the
// network stand behind functions.
package clock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// ErrNoAnswer is wrapped when the time could not be had.
var ErrNoAnswer = errors.New("no server of the time answered")

// ErrDisagree is wrapped when most servers do not agree.
var ErrDisagree = errors.New("servers of the time disagree")

// Machine is the clock of the machine.
type Machine interface {
	Now() time.Time
	Set(t time.Time) error                                  // steps it; it is in doubt then
	Slew(offset, maxError time.Duration) error              // moves it slowly, and says that it is right
	Right(maxError time.Duration) error                     // says that it is right
	Ask(ctx context.Context, server string) (Answer, error) // one question over the network
}

// Answer is what a server of the time said.
type Answer struct {
	Offset   time.Duration // to be added to our clock
	MaxError time.Duration // what the offset may be wrong by
}

const (
	stepFrom   = 500 * time.Millisecond // what is off by less is moved slowly
	agreement  = time.Second            // answers that differ by no more, beside their errors, agree
	askTimeout = 5 * time.Second

	firstRetry = 2 * time.Second // after no answer, doubling
	lastRetry  = 5 * time.Minute
	nextAsk    = 30 * time.Minute
	slack      = 24 * time.Hour // how far before Built an answer may lie: who built it had a clock, too
)

// Choose returns the answer that most of them agree with: the one in the middle. One
// alone is believed.
func Choose(answers []Answer) (Answer, error) {
	if len(answers) == 0 {
		return Answer{}, ErrNoAnswer
	}
	sorted := slices.SortedFunc(slices.Values(answers), func(a, b Answer) int { return cmp.Compare(a.Offset, b.Offset) })
	middle := sorted[len(sorted)/2]
	agree := 0
	for _, a := range sorted {
		if (a.Offset - middle.Offset).Abs() <= agreement+a.MaxError+middle.MaxError {
			agree++
		}
	}
	if 2*agree <= len(sorted) {
		return Answer{}, fmt.Errorf("%w: %d of %d agree", ErrDisagree, agree, len(sorted))
	}
	return middle, nil
}

// Keeper keeps the time.
type Keeper struct {
	Machine Machine
	Built   time.Time       // when this program was made: the time is not before it, whoever says so
	Saved   time.Time       // the last time known; zero for none. It may have been wrong
	Servers func() []string // whom to ask now; DHCP may have told
	Changed <-chan struct{} // something changed: ask at once. May be nil
	Log     *slog.Logger
}

// Start sets the clock to the last time known if it is before that.
func (k *Keeper) Start() {
	now, floor := k.Machine.Now(), k.Built
	if k.Saved.After(floor) {
		floor = k.Saved
	}
	if !now.Before(floor) {
		return
	}
	if err := k.Machine.Set(floor); err != nil {
		k.Log.Error("clock not set", "err", err)
		return
	}
	k.Log.Info("clock set to the last time known; it is in doubt until a server of the time answers", "was", now.UTC(), "is", floor.UTC())
}

// Run asks for the time until ctx is done: soon again while nobody answers.
func (k *Keeper) Run(ctx context.Context) {
	retry := firstRetry
	for told := false; ; {
		err := k.ask(ctx)
		wait := nextAsk
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry, told = firstRetry, false
		default:
			if !told {
				k.Log.Warn("time not had; it is asked for again and again", "err", err)
				told = true
			}
			wait, retry = retry, min(2*retry, lastRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-k.Changed:
			retry = firstRetry
		}
	}
}

// ask asks each server once, and puts the clock right.
func (k *Keeper) ask(ctx context.Context) error {
	var answers []Answer
	errs := []error{ErrNoAnswer}
	for _, server := range k.Servers() {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		a, err := k.Machine.Ask(ctx, server)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", server, err))
			continue
		}
		answers = append(answers, a)
	}
	if len(answers) == 0 {
		return errors.Join(errs...)
	}
	a, err := Choose(answers)
	if err != nil {
		return err
	}
	right := k.Machine.Now().Add(a.Offset)
	if right.Before(k.Built.Add(-slack)) {
		return fmt.Errorf("%w: %s is before this program was made", ErrDisagree, right.UTC())
	}
	if a.Offset.Abs() < stepFrom {
		return k.Machine.Slew(a.Offset, a.MaxError)
	}
	if err := k.Machine.Set(right); err != nil {
		return err
	}
	k.Log.Info("clock set by servers of the time", "offset", a.Offset, "is", right.UTC())
	return k.Machine.Right(a.MaxError)
}
