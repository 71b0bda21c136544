package group

import "time"

// Clock tells the time, and whether its time of day is known to be right: a gateway
// without a clock chip boots in the past, and is set when the network answers.
type Clock func() (now time.Time, trusted bool)

// doubtHeader stands beside a record that was written while the time of day was not
// known to be right. Kafka's records have no place for that, and ignore headers.
const doubtHeader = "headwater.clock"

// stamp is when something happened: by the time of day, as it is stored, and as
// this process saw it or read it.
type stamp struct {
	wall     int64 // Unix milliseconds
	doubtful bool  // wall was not known to be right
	seen     time.Time
}

// stamp is now, as the group is told.
func (g *group) stamp(now time.Time) stamp { return stamp{now.UnixMilli(), g.doubtful, now} }

// age is how long ago s was. The time of day is used where it is known to be right,
// then and now; else only the time counts that this process has been running: what
// ages too slowly is kept too long, and nothing is lost because a clock was set.
func (s stamp) age(now time.Time, trusted bool) time.Duration {
	running := now.Sub(s.seen)
	if !trusted || s.doubtful || s.wall <= 0 {
		return running
	}
	return max(running, time.Duration(now.UnixMilli()-s.wall)*time.Millisecond)
}
