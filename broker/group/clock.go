package group

import "time"

// Clock tells the time, and whether its time of day may be believed: a gateway
// without a clock chip boots in 1970, and is set when the network answers.
type Clock func() (now time.Time, trusted bool)

// believable is the earliest time of day that is not a clock that was never set:
// headwater is younger.
var believable = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// maxStep is how far the time of day may move against the time that has passed,
// and still be the same clock.
const maxStep = time.Minute

// SteadyClock is the machine's. Its time of day is believed as long as it is one
// that can be, and has not been set to another since the start.
func SteadyClock() Clock {
	start := time.Now()
	return func() (time.Time, bool) {
		now := time.Now()
		return now, steady(start, start.Round(0), now, now.Round(0))
	}
}

// steady holds the time of day that has passed against the time that has. The
// first and third argument are read for the latter alone.
func steady(start, startOfDay, now, nowOfDay time.Time) bool {
	moved := nowOfDay.Sub(startOfDay) - now.Sub(start)
	return moved.Abs() <= maxStep && startOfDay.After(believable)
}

// stamp is when something happened: by the time of day, as it is stored, and as
// this process saw it or read it.
type stamp struct {
	wall int64 // Unix milliseconds
	seen time.Time
}

func stampOf(now time.Time) stamp { return stamp{now.UnixMilli(), now} }

// loadedStamp is one that was read at now.
func loadedStamp(wall int64, now time.Time) stamp { return stamp{wall, now} }

// age is how long ago s was. The time of day is used where it can be trusted, then
// and now; else only the time counts that this process has been running: what
// ages too slowly is kept too long, and nothing is lost because a clock was set.
func (s stamp) age(now time.Time, trusted bool) time.Duration {
	running := now.Sub(s.seen)
	if !trusted || s.wall < believable.UnixMilli() {
		return running
	}
	return max(running, time.Duration(now.UnixMilli()-s.wall)*time.Millisecond)
}
