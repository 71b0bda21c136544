package quota

import (
	"math"
	"time"
)

// bucket is what a client may still have of one kind.
type bucket struct {
	left float64 // bytes; negative is debt
	at   time.Time
}

// refill adds what has come at rate since the last time. A bucket that was never
// used is full.
func (b *bucket) refill(rate int64, now time.Time) {
	full := float64(rate) * Window.Seconds()
	switch since := now.Sub(b.at); {
	case b.at.IsZero():
		b.left = full
	case since > 0:
		b.left += float64(rate) * since.Seconds()
	default:
		now = b.at // others were here meanwhile
	}
	b.left, b.at = min(b.left, full), now
}

// throttle is how long it takes to pay what is owed, in whole milliseconds and at
// most MaxThrottle.
func (b *bucket) throttle(rate int64) time.Duration {
	if b.left >= 0 {
		return 0
	}
	millis := math.Ceil(-b.left / float64(rate) * 1000)
	return time.Duration(min(millis, float64(MaxThrottle.Milliseconds()))) * time.Millisecond
}

// portion is how many bytes may be taken at once: what is left, or what comes
// within a second, so that a client at its limit gets more than crumbs. None while
// something is owed.
func (b *bucket) portion(rate int64) int64 {
	if b.left < 0 {
		return 0
	}
	return max(int64(b.left), rate)
}
