package commitlog

import (
	"errors"
	"fmt"
	"time"
)

// trust is how well a wall clock is known to be right.
type trust int

const (
	untrusted    trust = iota
	steady             // plausible, and not set since the boot was first seen, an hour ago or more
	synchronized       // plausible, and the kernel says that it is kept right
)

var trustNames = [...]string{untrusted: "none", steady: "steady", synchronized: "synchronized"}

func (t trust) String() string { return trustNames[t] }

func parseTrust(s string) (trust, error) {
	for t, name := range trustNames {
		if s == name {
			return trust(t), nil
		}
	}
	return 0, fmt.Errorf("%.40q is no trust in a clock", s)
}

// plausible is before any time at which a box can be running, in Unix
// milliseconds. A box without a clock chip begins in 1970.
var plausible = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

const (
	steadyAfter = time.Hour
	// maxStep is what the wall clock may differ from the boot time and not count as
	// set: leap seconds, and reading one after the other. (What NTP slews, it slews in
	// both.)
	maxStep = 10 * time.Second
	// maxTimeOff bounds what is believed of a time off. A clock that was wrong by
	// years when it was trusted ages nothing.
	maxTimeOff = 72 * time.Hour
)

// glance is what the clocks said at one moment.
type glance struct {
	bootID   string
	boottime time.Duration
	wall     int64 // Unix milliseconds
}

// sight is a glance, with what the age clock said and how well the wall clock was
// known.
type sight struct {
	trust
	bootID  string
	wall    int64
	reading time.Duration
	set     bool // the wall clock was set since, and nobody says that it was set right
}

// trustIn says how well the wall clock is known at g. first is the first glance of
// the same boot.
func trustIn(first, g glance, kernelSays bool) trust {
	switch {
	case g.wall < plausible:
		return untrusted
	case kernelSays:
		return synchronized
	case g.boottime-first.boottime >= steadyAfter && !wasSet(first, g):
		return steady
	}
	return untrusted
}

// wasSet reports whether the wall clock was set between two glances of one boot.
func wasSet(first, g glance) bool {
	step := (g.wall - first.wall) - (g.boottime - first.boottime).Milliseconds()
	return max(step, -step) > maxStep.Milliseconds()
}

var (
	errSet       = errors.New("the wall clock was set meanwhile, and nobody says that it is right")
	errLessKnown = errors.New("the wall clock was less well known before than it is now")
	errWentBack  = errors.New("the wall clock is behind what it was, and the time that has passed")
	errTooLong   = fmt.Errorf("by the wall clock it was more than %v", maxTimeOff)
)

// timeOff returns for how long, between two sights of different boots, the machine
// was off, which the age clock did not count; or why that is not believed.
//
// A clock that is merely steady can be wrong by as much as it was when the machine
// started. Two sights of one are as good as the clock chip that carried it over;
// but against one that has been put right meanwhile, the error would count as
// time.
func timeOff(before, now sight) (time.Duration, error) {
	millis := now.wall - before.wall - (now.reading - before.reading).Milliseconds()
	switch {
	case before.set && now.trust != synchronized:
		return 0, errSet
	case now.trust > before.trust:
		return 0, errLessKnown
	case millis < 0:
		return 0, errWentBack
	case millis > maxTimeOff.Milliseconds():
		return 0, errTooLong
	}
	return time.Duration(millis) * time.Millisecond, nil
}
