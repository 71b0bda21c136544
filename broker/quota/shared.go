package quota

import (
	"math"
	"sync"
	"time"
)

// Shared is one rate for all who have something together, such as throttled replicas
// of a leader. The zero value is one that was never used.
type Shared struct {
	mu     sync.Mutex
	bucket bucket
}

// Portion is how many bytes may be taken now, none while something is owed. A rate of
// 0 is no bound.
func (s *Shared) Portion(rate int64, now time.Time) int64 {
	if rate <= 0 {
		return math.MaxInt64
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket.refill(rate, now)
	return s.bucket.portion(rate)
}

// Spend counts bytes that were taken.
func (s *Shared) Spend(rate, bytes int64, now time.Time) {
	if rate <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket.refill(rate, now)
	s.bucket.left -= float64(bytes)
}
