package topic

import (
	"fmt"
	"strconv"
	"strings"
)

// ThrottledReplicas are replicas that are held to a rate while partitions move: pairs
// partition:broker with commas between them, "*" for all, "none" or nothing for none.
type ThrottledReplicas string

// maxThrottledLen bounds the text: some 5,000 replicas.
const maxThrottledLen = 64 << 10

// ParseThrottledReplicas reads what tools of Kafka's write.
func ParseThrottledReplicas(s string) (ThrottledReplicas, error) {
	list := ThrottledReplicas(s)
	if len(s) > maxThrottledLen {
		return "", fmt.Errorf("%w: a list of throttled replicas has %d characters, at most %d are allowed", ErrInvalidSetting, len(s), maxThrottledLen)
	}
	for partition, broker := range list.pairs {
		if partition < 0 || broker < 0 {
			return "", fmt.Errorf("%w: %.60q is no list of partition:broker, and neither * nor none", ErrInvalidSetting, s)
		}
	}
	return list, nil
}

// Has reports whether a broker's replica of a partition is one of them.
func (t ThrottledReplicas) Has(partition, broker int32) bool {
	if t == "*" {
		return true
	}
	for p, b := range t.pairs {
		if p == partition && b == broker {
			return true
		}
	}
	return false
}

// pairs goes through the list. What is no pair is -1, -1.
func (t ThrottledReplicas) pairs(yield func(partition, broker int32) bool) {
	if t == "" || t == "*" || t == "none" {
		return
	}
	for pair := range strings.SplitSeq(string(t), ",") {
		p, b, _ := strings.Cut(strings.TrimSpace(pair), ":")
		partition, err1 := strconv.ParseInt(p, 10, 32)
		broker, err2 := strconv.ParseInt(b, 10, 32)
		if err1 != nil || err2 != nil {
			partition, broker = -1, -1
		}
		if !yield(int32(partition), int32(broker)) {
			return
		}
	}
}
