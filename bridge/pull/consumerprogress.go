package pull

import (
	"container/heap"
	"time"
)

// Acknowledgement policies, by JetStream's names.
const (
	ackNone     = "none"     // what is given is done
	ackAll      = "all"      // an acknowledgement is for all that was given before, too
	ackExplicit = "explicit" // each message is acknowledged by itself
)

// ackRules say when a record that was given is done, and when it comes again.
type ackRules struct {
	policy     string
	wait       time.Duration
	backoff    []time.Duration // in place of wait, by deliveries; the last one stays
	maxDeliver int             // 0 for no limit
}

// until is how long a record is waited for that was given count times.
func (r *ackRules) until(count int) time.Duration {
	if len(r.backoff) == 0 {
		return r.wait
	}
	return r.backoff[min(max(count, 1), len(r.backoff))-1]
}

// progress is how far a consumer is: what it was given, what of that is done, and
// what is to come again. It has no clock: now is what has passed since some moment.
// Not for several goroutines at once.
//
// All offsets below floor are done. From floor on, those that are not in pending are
// done up to next, where new records are looked for.
type progress struct {
	rules          ackRules
	next           int64
	sequence       uint64 // deliveries so far; each has its number
	pending        map[int64]*delivery
	oldest, newest *delivery // of pending, by offset
	due            dueHeap   // of pending
	untouched      int       // of pending: not given yet
	redelivered    int       // of pending: given more than once
}

// delivery is a record that was given and is not done.
type delivery struct {
	offset         int64
	sequence       uint64        // of the first time
	count          int           // how often
	due            time.Duration // when it comes again
	place          int           // in the heap
	earlier, newer *delivery     // by offset
}

func newProgress(rules ackRules, next int64) *progress {
	return &progress{rules: rules, next: next, pending: map[int64]*delivery{}}
}

// floor is the first offset that is not done.
func (p *progress) floor() int64 {
	if p.oldest != nil {
		return p.oldest.offset
	}
	return p.next
}

// floorSequence is the number of the last delivery before which all are done.
func (p *progress) floorSequence() uint64 {
	for d := p.oldest; d != nil; d = d.newer {
		if d.sequence > 0 {
			return d.sequence - 1
		}
	}
	return p.sequence
}

// unacked is how many records were given and are not done.
func (p *progress) unacked() int { return len(p.pending) - p.untouched }

// give gives the record at an offset, next or later, for the first time.
func (p *progress) give(offset int64, now time.Duration) (sequence uint64) {
	p.next = offset + 1
	p.sequence++
	if p.rules.policy != ackNone {
		p.append(&delivery{offset: offset, sequence: p.sequence, count: 1, due: now + p.rules.until(1)})
	}
	return p.sequence
}

// skip passes over what is before next and not for this consumer.
func (p *progress) skip(next int64) { p.next = max(p.next, next) }

// await has records given that lie before next, each when its time comes.
func (p *progress) await(offset int64) {
	p.append(&delivery{offset: offset})
	p.untouched++
}

// restore takes up a record again that was given count times, in an earlier life.
func (p *progress) restore(offset int64, count int, now time.Duration) {
	p.append(&delivery{offset: offset, count: count, due: now + p.rules.until(count)})
	if count > 1 {
		p.redelivered++
	}
}

func (p *progress) append(d *delivery) {
	if d.earlier = p.newest; d.earlier != nil {
		d.earlier.newer = d
	} else {
		p.oldest = d
	}
	p.newest = d
	p.pending[d.offset] = d
	heap.Push(&p.due, d)
}

func (p *progress) remove(d *delivery) {
	if d.earlier != nil {
		d.earlier.newer = d.newer
	} else {
		p.oldest = d.newer
	}
	if d.newer != nil {
		d.newer.earlier = d.earlier
	} else {
		p.newest = d.earlier
	}
	delete(p.pending, d.offset)
	heap.Remove(&p.due, d.place)
	switch {
	case d.count == 0:
		p.untouched--
	case d.count > 1:
		p.redelivered--
	}
}

// nextDue is the time of the record that comes again first.
func (p *progress) nextDue() (at time.Duration, ok bool) {
	if len(p.due) == 0 {
		return 0, false
	}
	return p.due[0].due, true
}

// again is the record that is to be given again now, if there is one.
func (p *progress) again(now time.Duration) (offset int64, ok bool) {
	if len(p.due) == 0 || p.due[0].due > now {
		return 0, false
	}
	return p.due[0].offset, true
}

// isDue reports whether the record at an offset is to be given again now.
func (p *progress) isDue(offset int64, now time.Duration) bool {
	d := p.pending[offset]
	return d != nil && d.due <= now && !p.spent(d)
}

// spent reports whether d was given as often as allowed.
func (p *progress) spent(d *delivery) bool {
	return p.rules.maxDeliver > 0 && d.count >= p.rules.maxDeliver
}

// giveAgain gives a record that is due.
func (p *progress) giveAgain(offset int64, now time.Duration) (sequence uint64, count int) {
	d := p.pending[offset]
	p.sequence++
	switch d.count++; d.count {
	case 1:
		p.untouched--
	case 2:
		p.redelivered++
	}
	if d.sequence == 0 {
		d.sequence = p.sequence
	}
	d.due = now + p.rules.until(d.count)
	heap.Fix(&p.due, d.place)
	if p.rules.policy == ackNone {
		p.remove(d)
	}
	return p.sequence, d.count
}

// unsent takes a delivery back that did not leave the box: the record comes again,
// after delay, and this time did not count.
func (p *progress) unsent(offset int64, now, delay time.Duration) {
	d := p.pending[offset]
	switch {
	case d == nil && p.rules.policy == ackNone && offset == p.next-1:
		p.next = offset
	case d == nil: // it was acknowledged all the same, or is not for us to give again
	case d.count == 1 && offset == p.next-1:
		p.remove(d)
		p.next = offset
	default:
		if d.count == 2 {
			p.redelivered--
		}
		if d.count > 1 {
			d.count--
		}
		d.due = now + delay
		heap.Fix(&p.due, d.place)
	}
}

// ack is for the record at an offset, or for all up to it, as the policy says. It
// reports whether something is done by it that was not.
func (p *progress) ack(offset int64) bool {
	if !p.drop(offset) {
		return false
	}
	for p.rules.policy == ackAll && p.oldest != nil && p.oldest.offset < offset {
		p.remove(p.oldest)
	}
	return true
}

// drop has the record at an offset never come again, acknowledged or not.
func (p *progress) drop(offset int64) bool {
	d := p.pending[offset]
	if d == nil || d.count == 0 {
		return false
	}
	p.remove(d)
	return true
}

// nak has the record at an offset come again after delay.
func (p *progress) nak(offset int64, now, delay time.Duration) bool {
	return p.dueAt(offset, now+delay)
}

// extend has the record at an offset waited for once more.
func (p *progress) extend(offset int64, now time.Duration) bool {
	d := p.pending[offset]
	return d != nil && p.dueAt(offset, now+p.rules.until(d.count))
}

func (p *progress) dueAt(offset int64, due time.Duration) bool {
	d := p.pending[offset]
	if d == nil || d.count == 0 {
		return false
	}
	d.due = due
	heap.Fix(&p.due, d.place)
	return true
}

// exhausted takes out a record that is due and was given as often as allowed, if
// there is one.
func (p *progress) exhausted(now time.Duration) (offset int64, count int, ok bool) {
	if len(p.due) == 0 || p.due[0].due > now || !p.spent(p.due[0]) {
		return 0, 0, false
	}
	d := p.due[0]
	p.remove(d)
	return d.offset, d.count, true
}

// lose forgets what lies before start, which the log has no more. It returns how
// many records were not done, of those that were given, and how many offsets were
// not looked at.
func (p *progress) lose(start int64) (unacked int, unseen int64) {
	for p.oldest != nil && p.oldest.offset < start {
		unacked++
		p.remove(p.oldest)
	}
	unseen = max(0, start-p.next)
	p.next = max(p.next, start)
	return unacked, unseen
}

// vanish forgets a record that is due and not in the log any more.
func (p *progress) vanish(offset int64) {
	if d := p.pending[offset]; d != nil {
		p.remove(d)
	}
}

// restart goes on at an offset as if nothing had been given.
func (p *progress) restart(next int64) {
	*p = progress{rules: p.rules, next: next, sequence: p.sequence, pending: map[int64]*delivery{}}
}

// setRules changes the rules. Records that were given keep their time, except that
// none waits longer than it would now.
func (p *progress) setRules(rules ackRules, now time.Duration) {
	p.rules = rules
	for _, d := range p.pending {
		d.due = min(d.due, now+rules.until(d.count))
	}
	heap.Init(&p.due)
}

// dueHeap has the record on top that comes again first; of several, the first in
// the log.
type dueHeap []*delivery

func (h dueHeap) Len() int { return len(h) }

func (h dueHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].offset < h[j].offset
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueHeap) Push(x any) {
	d := x.(*delivery)
	d.place = len(*h)
	*h = append(*h, d)
}

func (h *dueHeap) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return d
}
