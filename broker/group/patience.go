package group

import (
	"fmt"
	"time"
)

// patience is a request that waits for its records to be stored, and for how long.
// What becomes of the records is seen to when it is known, be it too late to say.
type patience struct {
	until    time.Time
	over     func(now time.Time, err error) // tells the one who waits that it is in vain
	answered bool
}

// errSlow is what those are told that have waited too long.
var errSlow = fmt.Errorf("%w: not stored on enough brokers in time", ErrNotAvailable)

// wait has over called when the records that are being stored take too long, or the
// group goes meanwhile.
func (g *group) wait(now time.Time, over func(now time.Time, err error)) *patience {
	p := &patience{until: now.Add(g.limits.storeTimeout), over: over}
	if g.limits.storeTimeout > 0 {
		g.patient = append(g.patient, p)
	}
	return p
}

// answer reports whether the one who waits has still to be told.
func (p *patience) answer() bool {
	first := !p.answered
	p.answered = true
	return first
}

// impatient tells those that have waited too long.
func (g *group) impatient(now time.Time) {
	for p := g.longest(); p != nil && !p.until.After(now); p = g.longest() {
		p.end(now, errSlow)
	}
}

// abandon tells all that wait.
func (g *group) abandon(now time.Time, err error) {
	for p := g.longest(); p != nil; p = g.longest() {
		p.end(now, err)
	}
}

func (p *patience) end(now time.Time, err error) {
	p.answered = true
	p.over(now, err)
}

// longest is the one that has waited longest, nil if nobody waits.
func (g *group) longest() *patience {
	for len(g.patient) > 0 && g.patient[0].answered {
		g.patient[0] = nil
		g.patient = g.patient[1:]
	}
	if len(g.patient) == 0 {
		g.patient = nil
		return nil
	}
	return g.patient[0]
}
