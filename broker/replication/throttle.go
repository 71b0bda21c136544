package replication

import "time"

// throttle is a bucket of the bytes that throttled partitions may fetch. It lets
// what has come through and then waits until that is paid for.
type throttle struct {
	rate    int64 // bytes a second; 0: no bound
	applies func(topic string, index int32) bool
	left    float64 // bytes; negative is debt
	at      time.Time
}

func (t *throttle) set(rate int64, applies func(string, int32) bool) {
	*t = throttle{rate: rate, applies: applies, left: float64(rate)}
}

// of reports whether a partition is throttled at all.
func (t *throttle) of(topic string, index int32) bool {
	return t.rate > 0 && t.applies != nil && t.applies(topic, index)
}

// take notes that throttled partitions have fetched n bytes.
func (t *throttle) take(n int, now time.Time) {
	t.refill(now)
	t.left -= float64(n)
}

// openAt is when throttled partitions may fetch again; now or earlier is now.
func (t *throttle) openAt(now time.Time) time.Time {
	if t.refill(now); t.left >= 0 || t.rate == 0 {
		return now
	}
	return now.Add(time.Duration(-t.left / float64(t.rate) * float64(time.Second))).Add(time.Millisecond)
}

// refill adds what has come since the last time; up to a second's worth is saved.
func (t *throttle) refill(now time.Time) {
	if since := now.Sub(t.at); since > 0 && !t.at.IsZero() {
		t.left = min(t.left+since.Seconds()*float64(t.rate), float64(t.rate))
	}
	t.at = now
}
