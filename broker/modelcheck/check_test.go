package modelcheck

import (
	"fmt"
	"slices"
)

// checker knows all that was ever committed, and holds every replica against it after
// each event.
type checker struct {
	sim       *sim
	wrong     string  // the first thing that is, or ""
	committed []batch // all that a high watermark was ever above
	acked     map[int64]int64
	copies    map[place]int64
	counts    counts
}

type place struct {
	epoch  int32
	offset int64
}

// counts are what a history had in it: a model in which nothing happens finds nothing.
type counts struct {
	committed, acked, ackedByOne, truncated, restarted, leaders, controllers, states, crashes int
}

func (n *counts) add(s *sim) {
	c := s.check.counts
	n.acked += c.acked
	n.ackedByOne += c.ackedByOne
	n.truncated += c.truncated
	n.restarted += c.restarted
	n.crashes += c.crashes
	n.committed += len(s.check.committed)
	n.leaders += int(s.store.state.LeaderEpoch)
	n.states += int(s.store.state.PartitionEpoch)
	n.controllers += int(s.store.controllerEpoch)
}

func newChecker(s *sim) *checker {
	return &checker{sim: s, acked: map[int64]int64{}, copies: map[place]int64{}}
}

func (c *checker) fail(format string, args ...any) {
	if c.wrong == "" && !c.sim.cfg.unclean {
		c.wrong = fmt.Sprintf(format, args...)
		c.sim.note("WRONG: %s", c.wrong)
	}
}

// step holds everything against what must be true at any moment.
func (c *checker) step() {
	if c.sim.cfg.unclean || c.wrong != "" {
		return
	}
	for _, b := range c.sim.brokers {
		if b.up {
			c.shows(b)
		}
	}
	st := c.sim.store
	if !st.exists {
		return
	}
	for _, id := range st.state.ISR { // whom a controller can elect
		l := c.sim.brokers[id-1].log
		if all := int64(len(c.committed)); l.durable < all {
			c.fail("broker %d is in the ISR %v with a log that is durable to %d, and %d is committed", id, st.state.ISR, l.durable, all)
			return
		}
		c.compare(id, l, int64(len(c.committed)))
	}
}

// shows takes in what a broker lets be read.
func (c *checker) shows(b *broker) {
	highWatermark, l := b.partition.highWatermark, b.log
	if highWatermark > l.durable {
		c.fail("broker %d has high watermark %d, and a log that is durable to %d", b.id, highWatermark, l.durable)
		return
	}
	for offset := int64(len(c.committed)); offset < highWatermark; offset++ {
		if offset < l.base {
			c.fail("broker %d has high watermark %d and starts at %d, and %d is committed", b.id, highWatermark, l.base, len(c.committed))
			return
		}
		c.committed = append(c.committed, l.at(offset))
	}
	c.compare(b.id, l, highWatermark)
}

// compare holds a log up to an offset against what was committed.
func (c *checker) compare(id int32, l *memLog, end int64) {
	for offset := max(l.checked, l.start); offset < end; offset++ {
		if got, want := l.at(offset), c.committed[offset]; got != want {
			c.fail("broker %d has %+v at offset %d, where %+v is committed", id, got, offset, want)
			return
		}
	}
	l.checked = max(l.checked, end)
}

// truncates is told before a log is.
func (c *checker) truncates(p *replicaOf, endOffset int64) {
	c.counts.truncated++
	if endOffset < p.highWatermark {
		c.fail("broker %d truncates to %d, below its high watermark %d", p.b.id, endOffset, p.highWatermark)
	}
}

// restarts is told before a log is emptied, since its leader's starts later.
func (c *checker) restarts(p *replicaOf, startOffset int64) {
	c.counts.restarted++
	if startOffset > int64(len(c.committed)) || startOffset < p.highWatermark {
		c.fail("broker %d starts again at %d with high watermark %d, and %d is committed", p.b.id, startOffset, p.highWatermark, len(c.committed))
	}
}

// replicates is told what a follower appends: in an epoch an offset has one content.
func (c *checker) replicates(id int32, at int64, batches []batch) {
	for i, b := range batches {
		where := place{b.epoch, at + int64(i)}
		if was, ok := c.copies[where]; ok && was != b.value {
			c.fail("broker %d gets %d at offset %d of epoch %d, where another got %d", id, b.value, where.offset, b.epoch, was)
		}
		c.copies[where] = b.value
	}
}

// acks is told what a producer is.
func (c *checker) acks(b *broker, offset, value int64, all bool) {
	if !all {
		c.counts.ackedByOne++
		return
	}
	if c.sim.cfg.unclean {
		return
	}
	c.counts.acked++
	c.acked[offset] = value
	c.shows(b) // before the event is over
	if offset >= int64(len(c.committed)) || c.committed[offset].value != value {
		c.fail("value %d is acknowledged at offset %d, and not committed there", value, offset)
		return
	}
	copies := 0
	for _, other := range c.sim.brokers {
		if other.log.durable > offset {
			copies++
		}
	}
	if copies < min(c.sim.cfg.minISR, len(c.sim.cfg.replicas)) {
		c.fail("value %d is acknowledged at offset %d with %d copies", value, offset, copies)
	}
}

// converged says what keeps the replicas from being the same, once nothing is broken
// any more; "" when they are.
func (c *checker) converged() string {
	st := c.sim.store
	switch {
	case !st.exists || st.state.Leader < 0:
		return "there is no leader"
	case len(st.state.ISR) < len(c.sim.cfg.replicas):
		return fmt.Sprintf("the ISR is %v", st.state.ISR)
	}
	first := c.sim.brokers[st.state.Leader-1]
	if p := first.partition; p == nil || p.leading == nil || p.highWatermark < first.log.end() {
		return fmt.Sprintf("the leader, %d, has not committed all", first.id)
	}
	for _, id := range c.sim.cfg.replicas {
		b := c.sim.brokers[id-1]
		if problem := c.same(first, b); problem != "" {
			return problem
		}
	}
	for offset, value := range c.acked {
		if got := first.log; offset >= got.start && got.at(offset).value != value && !c.sim.cfg.unclean {
			return fmt.Sprintf("value %d was acknowledged at offset %d, where %d is", value, offset, got.at(offset).value)
		}
	}
	return ""
}

func (c *checker) same(first, b *broker) string {
	switch start := max(b.log.start, first.log.start); { // each deletes in its own time
	case !b.up:
		return fmt.Sprintf("broker %d is down", b.id)
	case b.log.end() != first.log.end():
		return fmt.Sprintf("broker %d ends at %d, the leader %d at %d", b.id, b.log.end(), first.id, first.log.end())
	case b.partition.highWatermark != first.partition.highWatermark:
		return fmt.Sprintf("broker %d has high watermark %d, the leader %d", b.id, b.partition.highWatermark, first.partition.highWatermark)
	case !slices.Equal(b.log.batches[start-b.log.base:], first.log.batches[start-first.log.base:]):
		return fmt.Sprintf("brokers %d and %d have different records", b.id, first.id)
	}
	return ""
}
