package partition

import "slices"

// NearestReplica returns a replica in the ISR that near accepts and that has
// fromOffset, for a consumer that would rather not read from this broker (KIP-392).
func (p *Partition) NearestReplica(fromOffset int64, near func(brokerID int32) bool) (brokerID int32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leading == nil || fromOffset > p.highWatermark {
		return 0, false
	}
	for _, id := range slices.Sorted(slices.Values(p.leading.ISR())) {
		if end := p.leading.FollowerEnd(id); near(id) && end >= fromOffset {
			return id, true
		}
	}
	return 0, false
}

// TopicIDOf returns the topic that a partition in the data directory is of.
func (s *Set) TopicIDOf(name string, index int32) (id [16]byte, ok bool) {
	found, err := s.topicID(key{name, index}.String())
	return found, err == nil
}
