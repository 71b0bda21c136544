package checker

// stored takes the next record of the log as it is in the end.
func (c *Checker) stored(p *partition, e Event) {
	c.report.Stored++
	if p.started && e.Offset != p.end {
		c.report.find(Hole, e.Partition, p.end, "the next offset in the log is %d", e.Offset)
	}
	p.end, p.started = e.Offset+1, true
	if read := at(p.read, e.Offset); read != 0 && read != e.Value {
		c.report.find(Inconsistent, e.Partition, e.Offset, "a reader got %d, now there is %d", read, e.Value)
	}
	s := c.sent[e.Value]
	if s == nil || s.partition != e.Partition {
		c.report.find(Invented, e.Partition, e.Offset, "%d is stored, and was never sent there", e.Value)
		return
	}
	if s.state == Refuse {
		c.report.find(RefusedKept, e.Partition, e.Offset, "%d was refused", e.Value)
	}
	if s.stored++; s.stored > 1 {
		c.repeated(e)
		return // the order is that of the first
	}
	c.ackedAt(p, s, e)
	if before := p.last[s.client]; s.order < before && !c.rules.MayReorder {
		c.report.find(Reordered, e.Partition, e.Offset, "%d is number %d of producer %d, behind number %d", e.Value, s.order, s.client, before)
	}
	p.last[s.client] = max(p.last[s.client], s.order)
}

func (c *Checker) repeated(e Event) {
	if c.rules.MayRepeat {
		c.report.Repeated++
		return
	}
	c.report.find(Duplicate, e.Partition, e.Offset, "%d is at another offset too", e.Value)
}

// ackedAt holds a stored record against where it was said to be.
func (c *Checker) ackedAt(p *partition, s *sent, e Event) {
	switch {
	case s.state == Unsure:
		c.report.Recovered++
	case c.rules.MayLose || c.rules.MayRepeat: // a leader that is gone may have had it elsewhere
	case s.state == Ack && s.offset >= 0 && s.offset != e.Offset:
		c.report.find(Inconsistent, e.Partition, e.Offset, "%d was acked at %d", e.Value, s.offset)
	default:
		if acked := at(p.acked, e.Offset); acked != 0 && acked != e.Value {
			c.report.find(Inconsistent, e.Partition, e.Offset, "acked for %d, now there is %d", acked, e.Value)
		}
	}
}

// Finish says that the history has ended, with all that is stored, and returns what is
// wrong with it.
func (c *Checker) Finish() *Report {
	if c.finished {
		return &c.report
	}
	c.finished = true
	for value, s := range c.sent {
		p := c.partitions[s.partition]
		switch {
		case s.state != Ack || s.stored > 0 || s.offset >= 0 && s.offset < p.start:
		case c.rules.MayLose:
			c.report.Lost++
		default:
			c.report.find(LostWrite, s.partition, s.offset, "%d of producer %d was acked; the log is from %d to %d", value, s.client, p.start, p.end)
		}
	}
	for index, p := range c.partitions {
		for offset := p.end; offset < int64(len(p.read)); offset++ {
			if p.read[offset] != 0 {
				c.report.find(TakenBack, index, offset, "a reader got %d, now the log ends at %d", p.read[offset], p.end)
			}
		}
		for group := range c.groups {
			for offset := p.start; offset < p.end; offset++ {
				if !c.delivered(group, index).has(offset) {
					c.report.find(Undelivered, index, offset, "group %d never got it", group)
				}
			}
		}
	}
	return &c.report
}

// Check finds what is wrong with a whole history.
func Check(rules Rules, history []Event) *Report {
	c := New(rules)
	for _, e := range history {
		c.Take(e)
	}
	return c.Finish()
}
