package partition

import (
	"cmp"
	"slices"
)

// ActiveProducer is what a partition remembers of an idempotent producer.
type ActiveProducer struct {
	ID            int64
	Epoch         int16
	LastSequence  int32 // -1: no batch in this epoch is known
	LastTimestamp int64 // the last batch's latest, Unix milliseconds; -1 as above
}

// ActiveProducers returns the idempotent producers that are remembered, by their
// ids.
func (p *Partition) ActiveProducers() []ActiveProducer { return p.producers.told() }

func (s *producers) told() []ActiveProducer {
	if !s.active.Load() {
		return nil
	}
	s.mu.Lock()
	all := make([]ActiveProducer, 0, len(s.known))
	for id, who := range s.known {
		a := ActiveProducer{ID: id, Epoch: who.epoch, LastSequence: -1, LastTimestamp: -1}
		if m, ok := who.last(); ok {
			a.LastSequence, a.LastTimestamp = m.lastSequence, m.timestamp
		}
		all = append(all, a)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b ActiveProducer) int { return cmp.Compare(a.ID, b.ID) })
	return all
}
