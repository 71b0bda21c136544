package partition

// What is acknowledged once it is durable here alone (acks=1) is at risk until the
// others have it: when this broker loses the leadership before, the next leader has not
// got it, and it is truncated.

// acked notes that what lies before nextOffset was acknowledged without regard to
// other replicas. mu is held.
func (p *Partition) acked(nextOffset int64) {
	if p.leading != nil && !p.leading.Alone() {
		p.ackedEnd = max(p.ackedEnd, nextOffset)
	}
}

// lost counts what of a log that ended at before, and does so at end now, had been
// acknowledged. mu is held.
func (p *Partition) lost(end, before int64) {
	if n := min(p.ackedEnd, before) - end; n > 0 {
		p.set.lost.Add(n)
		p.set.log.Warn("records are lost that this broker had acknowledged alone", "partition", p.name, "endOffset", end, "records", n)
	}
	p.ackedEnd = min(p.ackedEnd, end)
}

// ReplicaCounts is how the partitions of this broker stand.
type ReplicaCounts struct {
	Leaders         int
	UnderReplicated int   // led, with replicas outside the ISR
	UnderMinISR     int   // led, with fewer in the ISR than min.insync.replicas
	AtRisk          int64 // records that were acknowledged, and are on this broker alone as far as it knows
	Lost            int64 // records that were acknowledged by this broker alone, and truncated, since the start
}

// ReplicaCounts counts them.
func (s *Set) ReplicaCounts() ReplicaCounts {
	c := ReplicaCounts{Lost: s.lost.Load()}
	for _, p := range s.All() {
		p.count(&c)
	}
	return c
}

func (p *Partition) count(c *ReplicaCounts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leading == nil {
		return
	}
	c.Leaders++
	if len(p.leading.ISR()) < len(p.order.Replicas) {
		c.UnderReplicated++
	}
	if p.leading.UnderMinISR() {
		c.UnderMinISR++
	}
	c.AtRisk += max(0, p.ackedEnd-p.highWatermark)
}
