package quota

import "time"

// usage is what a client had of one kind within the last Window, for those who
// look: a sample for each second of it, and one for the second that is under way.
type usage struct {
	samples [int(Window/time.Second) + 1]sample
}

type sample struct {
	second        int64 // Unix
	bytes         int64
	throttles     int64
	throttledTime time.Duration // of all of them
}

// at is the sample of now.
func (u *usage) at(now time.Time) *sample {
	second := now.Unix()
	s := &u.samples[second%int64(len(u.samples))]
	if s.second != second {
		*s = sample{second: second}
	}
	return s
}

func (u *usage) count(bytes int64, throttle time.Duration, now time.Time) {
	s := u.at(now)
	s.bytes += bytes
	if throttle > 0 {
		s.throttles++
		s.throttledTime += throttle
	}
}

// total returns the bytes a second over the last Window, and the mean of the
// throttle times in it, as Kafka's sensors do; 0 when there were none.
func (u *usage) total(now time.Time) (byteRate float64, throttle time.Duration) {
	var sum sample
	for i := range u.samples {
		if s := &u.samples[i]; s.second > now.Unix()-int64(len(u.samples)) && s.second <= now.Unix() {
			sum.bytes += s.bytes
			sum.throttles += s.throttles
			sum.throttledTime += s.throttledTime
		}
	}
	if sum.throttles > 0 {
		throttle = sum.throttledTime / time.Duration(sum.throttles)
	}
	return float64(sum.bytes) / Window.Seconds(), throttle
}
