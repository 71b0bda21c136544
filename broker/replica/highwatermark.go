package replica

import (
	"slices"
	"time"
)

// HighWatermark is where readers stop: what is below it is in every replica of the
// ISR, and no election among them can lose it.
func (l *Leader) HighWatermark() int64 { return l.highWatermark }

// advance moves the high watermark on to the smallest end offset of the maximal ISR,
// never back. A replica that is caught up and may enter the ISR counts as well: were
// it passed, it would have to catch up with a high watermark that moves before it.
func (l *Leader) advance(now time.Time) {
	if l.UnderMinISR() {
		return
	}
	low := l.endOffset
	for i := range l.remotes {
		r := &l.remotes[i]
		if r.endOffset < low && (l.counts(r.id) || l.awaited(r, now)) {
			low = r.endOffset
		}
	}
	l.highWatermark = max(l.highWatermark, low)
}

// counts reports whether a replica is in the maximal ISR: the confirmed one and the
// proposed one together. Either may be what the controller elects from.
func (l *Leader) counts(id int32) bool {
	return slices.Contains(l.isr, id) || l.pending != nil && slices.Contains(l.pending.proposal.ISR, id)
}

// awaited reports whether a replica is about to enter the ISR.
func (l *Leader) awaited(r *remote, now time.Time) bool {
	return r.caughtUp(l.endOffset, l.cfg.MaxLag, now) && l.eligible(r.id)
}

// eligible reports whether a replica may enter the ISR.
func (l *Leader) eligible(id int32) bool { return !l.pinned && l.live(id) }

// UnderMinISR reports whether fewer replicas than min.insync.replicas are confirmed.
// Then nothing is committed, and records that need all replicas are refused.
func (l *Leader) UnderMinISR() bool { return len(l.isr) < l.minISR() }

// MaximalUnderMinISR is UnderMinISR with those who are about to enter. A record that
// reached the high watermark while it holds has fewer copies than it was to have.
func (l *Leader) MaximalUnderMinISR() bool {
	n := len(l.isr)
	if l.pending != nil {
		for _, id := range l.pending.proposal.ISR {
			if !slices.Contains(l.isr, id) {
				n++
			}
		}
	}
	return n < l.minISR()
}

func (l *Leader) minISR() int { return min(l.cfg.MinISR, len(l.remotes)+1) }
