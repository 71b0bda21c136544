package bench

import (
	"math/bits"
	"time"
)

// sub is how finely a histogram tells values apart: 1 in 2^subBits.
const (
	subBits = 6
	sub     = 1 << subBits
)

// histogram counts durations in buckets that grow with them: each is told to
// within 1.6 %, in memory that does not depend on how many there are.
type histogram struct {
	counts [(64 - subBits + 1) * sub]uint64
	total  uint64
}

// bucketOf numbers the bucket that ns falls into.
func bucketOf(ns uint64) int {
	if ns < sub {
		return int(ns)
	}
	shift := bits.Len64(ns) - subBits - 1
	return (shift+1)<<subBits + int(ns>>shift) - sub
}

// topOf is the largest value in a bucket.
func topOf(bucket int) uint64 {
	if bucket < sub {
		return uint64(bucket)
	}
	shift := bucket>>subBits - 1
	return uint64(bucket&(sub-1)+sub+1)<<shift - 1
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(uint64(max(d, 0)))]++
	h.total++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// percentile returns a duration that p percent of those added do not pass; 0 when
// none was added.
func (h *histogram) percentile(p float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := max(uint64(p/100*float64(h.total)+0.5), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= want {
			return time.Duration(topOf(i))
		}
	}
	return 0
}
