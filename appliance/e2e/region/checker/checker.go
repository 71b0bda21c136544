package checker

// Checker takes a history and finds what is wrong with it.
type Checker struct {
	rules      Rules
	report     Report
	sent       map[Value]*sent
	orders     map[way]int64 // how many records a producer has sent to a partition
	partitions map[int32]*partition
	readers    map[readerKey]int64     // the offset that comes next; absent before the first
	groups     map[int]map[int32]*bits // what a group got
	finished   bool
}

// way is from one producer to one partition.
type way struct {
	client    int
	partition int32
}

type readerKey struct {
	client, group int
	partition     int32
}

// sent is a record that was handed over.
type sent struct {
	way
	order      int64 // its place among the producer's records to the partition
	ackedAbove int64 // when it was sent, this was acked already at the most; -1: none
	offset     int64 // -1 until it is acked
	state      Kind  // Send, Ack, Unsure or Refuse
	stored     int   // how often it is in the log
}

// partition is what was told of one.
type partition struct {
	ackedAbove int64   // the highest offset that was acked; -1: none
	acked      []Value // by offset; 0: unknown
	read       []Value
	start, end int64 // of the log, in the end
	started    bool
	last       map[int]int64 // by producer: the order of its record that was stored last
}

// New returns a checker that has seen nothing.
func New(rules Rules) *Checker {
	return &Checker{
		rules: rules, sent: map[Value]*sent{}, orders: map[way]int64{},
		partitions: map[int32]*partition{}, readers: map[readerKey]int64{}, groups: map[int]map[int32]*bits{},
	}
}

// maxOffset bounds what is kept by offset: no run of these tests gets there.
const maxOffset = 1 << 30

// Take takes the next event.
func (c *Checker) Take(e Event) {
	if e.Offset > maxOffset {
		c.report.find(Invented, e.Partition, e.Offset, "no log is that long: %v of %d", e.Kind, e.Value)
		return
	}
	switch p := c.partition(e.Partition); e.Kind {
	case Send:
		c.send(p, e)
	case Ack:
		c.ack(p, e)
	case Unsure, Refuse:
		c.giveUp(e)
	case Assign:
		delete(c.readers, readerKey{e.Client, e.Group, e.Partition})
	case Poll:
		c.poll(p, e)
	case Start:
		p.start, p.end, p.started = e.Offset, e.Offset, true
	case Stored:
		c.stored(p, e)
	case Gone:
		c.report.find(OffsetGone, e.Partition, -1, "reader %d: %s", e.Client, e.Note)
	case Fault:
		c.report.Faults++
	}
}

func (c *Checker) partition(index int32) *partition {
	p := c.partitions[index]
	if p == nil {
		p = &partition{ackedAbove: -1, last: map[int]int64{}}
		c.partitions[index] = p
	}
	return p
}

func (c *Checker) send(p *partition, e Event) {
	c.report.Sent++
	w := way{e.Client, e.Partition}
	c.orders[w]++
	c.sent[e.Value] = &sent{way: w, order: c.orders[w], ackedAbove: p.ackedAbove, offset: -1}
}

func (c *Checker) ack(p *partition, e Event) {
	c.report.Acked++
	s := c.sent[e.Value]
	if s == nil || s.partition != e.Partition {
		c.report.find(Invented, e.Partition, e.Offset, "%d was acked, and never sent there", e.Value)
		return
	}
	s.state, s.offset = Ack, e.Offset
	if e.Offset < 0 { // an idempotent producer's repetition may be acked without a place
		return
	}
	if before := put(&p.acked, e.Offset, e.Value); before != 0 && before != e.Value && !c.rules.MayLose {
		c.report.find(Inconsistent, e.Partition, e.Offset, "acked for %d and for %d", before, e.Value)
	}
	if e.Offset <= s.ackedAbove && !c.rules.MayLose {
		c.report.find(LateBefore, e.Partition, e.Offset, "%d was sent when offset %d was acked already", e.Value, s.ackedAbove)
	}
	p.ackedAbove = max(p.ackedAbove, e.Offset)
}

func (c *Checker) giveUp(e Event) {
	s := c.sent[e.Value]
	if s == nil {
		return
	}
	s.state = e.Kind
	if e.Kind == Refuse {
		c.report.Refused++
	} else {
		c.report.Unsure++
	}
}

func (c *Checker) poll(p *partition, e Event) {
	c.report.Polled++
	key := readerKey{e.Client, e.Group, e.Partition}
	next, begun := c.readers[key]
	switch {
	case begun && e.Offset > next:
		c.report.find(PollSkip, e.Partition, e.Offset, "reader %d was at %d", e.Client, next)
	case begun && e.Offset < next:
		c.report.find(Backwards, e.Partition, e.Offset, "reader %d was at %d", e.Client, next)
	}
	c.readers[key] = e.Offset + 1
	if s := c.sent[e.Value]; s == nil || s.partition != e.Partition {
		c.report.find(Invented, e.Partition, e.Offset, "reader %d got %d, which was never sent there", e.Client, e.Value)
	}
	if before := put(&p.read, e.Offset, e.Value); before != 0 && before != e.Value {
		c.report.find(Inconsistent, e.Partition, e.Offset, "read as %d and as %d", before, e.Value)
	}
	if e.Group != 0 {
		c.delivered(e.Group, e.Partition).set(e.Offset)
	}
}

func (c *Checker) delivered(group int, partition int32) *bits {
	if c.groups[group] == nil {
		c.groups[group] = map[int32]*bits{}
	}
	if c.groups[group][partition] == nil {
		c.groups[group][partition] = &bits{}
	}
	return c.groups[group][partition]
}

// put sets what is at an offset, and returns what was there. What is there first stays.
func put(values *[]Value, offset int64, v Value) (before Value) {
	if before = at(*values, offset); before != 0 {
		return before
	}
	if grow := offset + 1 - int64(len(*values)); grow > 0 {
		*values = append(*values, make([]Value, grow)...)
	}
	(*values)[offset] = v
	return 0
}

func at(values []Value, offset int64) Value {
	if offset < 0 || offset >= int64(len(values)) {
		return 0
	}
	return values[offset]
}

// bits is a set of offsets.
type bits struct{ words []uint64 }

func (b *bits) set(i int64) {
	if grow := i/64 + 1 - int64(len(b.words)); grow > 0 {
		b.words = append(b.words, make([]uint64, grow)...)
	}
	b.words[i/64] |= 1 << (i % 64)
}

func (b *bits) has(i int64) bool { return i/64 < int64(len(b.words)) && b.words[i/64]&(1<<(i%64)) != 0 }
