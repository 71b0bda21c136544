package pull

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"testing"
	"time"
)

// naive is what progress is, by a list of all offsets and a look at each of them.
type naive struct {
	rules    ackRules
	next     int64
	sequence uint64
	open     map[int64]naiveDelivery // given, not done
}

type naiveDelivery struct {
	count    int
	sequence uint64
	due      time.Duration
}

func (n *naive) wait(count int) time.Duration {
	if len(n.rules.backoff) == 0 {
		return n.rules.wait
	}
	if count > len(n.rules.backoff) {
		count = len(n.rules.backoff)
	}
	return n.rules.backoff[count-1]
}

func (n *naive) give(offset int64, now time.Duration) {
	n.sequence++
	n.next = offset + 1
	if n.rules.policy != ackNone {
		n.open[offset] = naiveDelivery{1, n.sequence, now + n.wait(1)}
	}
}

func (n *naive) floor() int64 {
	for offset := int64(0); offset < n.next; offset++ {
		if _, ok := n.open[offset]; ok {
			return offset
		}
	}
	return n.next
}

func (n *naive) floorSequence() uint64 {
	floor := n.sequence
	for _, d := range n.open {
		floor = min(floor, d.sequence-1)
	}
	return floor
}

// dueNow are the offsets that come again, in their order, and those that never do.
func (n *naive) dueNow(now time.Duration) (again, spent []int64) {
	for offset := int64(0); offset < n.next; offset++ {
		d, ok := n.open[offset]
		switch {
		case !ok || d.due > now:
		case n.rules.maxDeliver > 0 && d.count >= n.rules.maxDeliver:
			spent = append(spent, offset)
		default:
			again = append(again, offset)
		}
	}
	slices.SortStableFunc(again, func(a, b int64) int { return int(n.open[a].due - n.open[b].due) })
	return again, spent
}

func (n *naive) ack(offset int64) bool {
	if _, ok := n.open[offset]; !ok {
		return false
	}
	delete(n.open, offset)
	if n.rules.policy == ackAll {
		for o := range n.open {
			if o < offset {
				delete(n.open, o)
			}
		}
	}
	return true
}

func (n *naive) setDue(offset int64, due time.Duration) {
	if d, ok := n.open[offset]; ok {
		d.due = due
		n.open[offset] = d
	}
}

func (n *naive) lose(start int64) {
	for o := range n.open {
		if o < start {
			delete(n.open, o)
		}
	}
	n.next = max(n.next, start)
}

// compare says where p and n are not the same.
func (n *naive) compare(p *progress, now time.Duration) error {
	redelivered := 0
	for offset, want := range n.open {
		got := p.pending[offset]
		if got == nil || got.count != want.count || got.due != want.due || got.sequence != want.sequence {
			return fmt.Errorf("offset %d is %+v, want %+v", offset, got, want)
		}
		if want.count > 1 {
			redelivered++
		}
	}
	again, _ := n.dueNow(now)
	first, ok := p.again(now)
	switch {
	case p.next != n.next || p.sequence != n.sequence || len(p.pending) != len(n.open):
		return fmt.Errorf("next %d, sequence %d, %d pending; want %d, %d, %d", p.next, p.sequence, len(p.pending), n.next, n.sequence, len(n.open))
	case p.floor() != n.floor() || p.floorSequence() != n.floorSequence():
		return fmt.Errorf("floor %d, sequence %d; want %d, %d", p.floor(), p.floorSequence(), n.floor(), n.floorSequence())
	case p.redelivered != redelivered || p.unacked() != len(n.open):
		return fmt.Errorf("%d redelivered, %d unacked; want %d, %d", p.redelivered, p.unacked(), redelivered, len(n.open))
	case ok != (len(again) > 0) || ok && first != again[0]:
		return fmt.Errorf("offset %d comes again: %v; want %v", first, ok, again)
	}
	return nil
}

// Whatever clients and time do in whatever order, a consumer's progress is what a
// look at every single record says.
func TestProgressIsWhatItsModelIs(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 5))
		rules := ackRules{policy: []string{ackNone, ackAll, ackExplicit, ackExplicit}[rng.IntN(4)], wait: 20, maxDeliver: rng.IntN(4)}
		if rng.IntN(2) == 0 {
			rules.backoff = []time.Duration{5, 30, 10}
		}
		p, n := newProgress(rules, 3), &naive{rules: rules, next: 3, open: map[int64]naiveDelivery{}}
		now := time.Duration(1)
		var history []string
		for range 200 {
			step, err := play(rng, p, n, &now)
			if err != nil {
				t.Fatalf("seed %d: %v\nafter %q", seed, err, history)
			}
			history = append(history, step)
			for { // as it is done before anything is given again
				if _, _, ok := p.exhausted(now); !ok {
					break
				}
			}
			if _, spent := n.dueNow(now); len(spent) > 0 {
				for _, offset := range spent {
					delete(n.open, offset)
				}
			}
			// Those that are spent lie behind others that are due, until these are given.
			for offset, d := range p.pending {
				if _, ok := n.open[offset]; !ok && d.due <= now && p.spent(d) {
					p.vanish(offset)
				}
			}
			if err := n.compare(p, now); err != nil {
				t.Fatalf("seed %d, rules %+v, at %d: %v\nafter %q", seed, rules, now, err, history)
			}
			if rng.IntN(20) == 0 {
				if err := restarts(p, now); err != nil {
					t.Fatalf("seed %d: %v\nafter %q", seed, err, history)
				}
			}
		}
	}
}

// play does one thing to both.
func play(rng *rand.Rand, p *progress, n *naive, now *time.Duration) (step string, err error) {
	some := n.next - 1 - int64(rng.IntN(12))
	switch what := rng.IntN(12); what {
	case 0, 1, 2:
		offset := n.next + int64(rng.IntN(3)/2)
		n.give(offset, *now)
		if got := p.give(offset, *now); got != n.sequence {
			return "", fmt.Errorf("give %d: sequence %d, want %d", offset, got, n.sequence)
		}
		return fmt.Sprintf("give %d", offset), nil
	case 3:
		*now += time.Duration(rng.IntN(25))
		return fmt.Sprintf("at %d", *now), nil
	case 4:
		offset, ok := p.again(*now)
		if !ok {
			return "nothing due", nil
		}
		d := n.open[offset]
		n.sequence++
		d.count++
		d.due = *now + n.wait(d.count)
		n.open[offset] = d
		if sequence, count := p.giveAgain(offset, *now); sequence != n.sequence || count != d.count {
			return "", fmt.Errorf("again %d: sequence %d, count %d", offset, sequence, count)
		}
		return fmt.Sprintf("again %d", offset), nil
	case 5:
		n.setDue(some, *now+7)
		p.nak(some, *now, 7)
		return fmt.Sprintf("nak %d", some), nil
	case 6:
		if d, ok := n.open[some]; ok {
			n.setDue(some, *now+n.wait(d.count))
		}
		p.extend(some, *now)
		return fmt.Sprintf("extend %d", some), nil
	case 7:
		delete(n.open, some)
		p.drop(some)
		return fmt.Sprintf("drop %d", some), nil
	case 8:
		if rng.IntN(8) > 0 {
			return "nothing", nil
		}
		start := n.floor() + int64(rng.IntN(4))
		n.lose(start)
		p.lose(start)
		return fmt.Sprintf("lose before %d", start), nil
	case 9:
		next := n.next + int64(rng.IntN(3))
		n.next = next
		p.skip(next)
		return fmt.Sprintf("skip to %d", next), nil
	default:
		if want, got := n.ack(some), p.ack(some); want != got {
			return "", fmt.Errorf("ack %d: %v, want %v", some, got, want)
		}
		return fmt.Sprintf("ack %d", some), nil
	}
}

// restarts holds what a commit brings back against what was committed: nothing that
// is not done is lost, also where the commit has not room for all.
func restarts(p *progress, now time.Duration) error {
	cfg := consumerConfig{Durable: "d", AckPolicy: p.rules.policy}
	for _, most := range []int{4096, bareCommit(&cfg, p), bareCommit(&cfg, p) + 7} {
		offset, metadata, err := encodeCommit(&cfg, time.UnixMilli(1), p, most)
		if err != nil {
			return err
		}
		if len(metadata) > most {
			return fmt.Errorf("%d bytes of metadata, at most %d are allowed", len(metadata), most)
		}
		state, ours, err := decodeCommit(metadata)
		if err != nil || !ours {
			return fmt.Errorf("%q: ours %v, error %v", metadata, ours, err)
		}
		got, err := state.progress(offset, 1000, now)
		if err != nil {
			return fmt.Errorf("%q: %w", metadata, err)
		}
		if offset != p.floor() || got.sequence != p.sequence || got.next > p.next {
			return fmt.Errorf("%q: offset %d, sequence %d, next %d of %d", metadata, offset, got.sequence, got.next, p.next)
		}
		for at := offset; at < p.next; at++ {
			was, is := p.pending[at], got.pending[at]
			if was != nil && is == nil && at < got.next {
				return fmt.Errorf("%q: offset %d is lost", metadata, at)
			}
			if was == nil && is != nil {
				return fmt.Errorf("%q: offset %d comes again", metadata, at)
			}
			if most == 4096 && (got.next != p.next || was != nil && was.count != is.count) {
				return fmt.Errorf("%q: offset %d was %+v, is %+v", metadata, at, was, is)
			}
		}
	}
	return nil
}

// bareCommit is the length that a commit has at least.
func bareCommit(cfg *consumerConfig, p *progress) int {
	return sort.Search(4096, func(most int) bool {
		_, _, err := encodeCommit(cfg, time.UnixMilli(1), p, most)
		return err == nil
	})
}

// What could not be sent is given again, and did not count.
func TestUnsent(t *testing.T) {
	for _, policy := range []string{ackNone, ackExplicit, ackAll} {
		p := newProgress(ackRules{policy: policy, wait: 10, maxDeliver: 2}, 5)
		p.give(5, 1)
		p.give(7, 1)
		p.unsent(7, 1, 3)
		if p.next != 7 || p.pending[7] != nil {
			t.Errorf("%s: next %d, want 7 again", policy, p.next)
		}
		if policy == ackNone {
			continue
		}
		p.giveAgain(5, 11)
		p.unsent(5, 11, 3)
		if d := p.pending[5]; d.count != 1 || d.due != 14 || p.redelivered != 0 {
			t.Errorf("%s: %+v, want one delivery, due at 14", policy, d)
		}
		p.unsent(6, 11, 3) // of which nothing is known
	}
}

// Records that a consumer begins with come in their order, under every policy.
func TestAwaited(t *testing.T) {
	for _, policy := range []string{ackNone, ackExplicit, ackAll} {
		p := newProgress(ackRules{policy: policy, wait: 10}, 20)
		for _, offset := range []int64{3, 9, 12} {
			p.await(offset)
		}
		if p.unacked() != 0 || p.floor() != 3 {
			t.Errorf("%s: %d unacked, floor %d; want none, 3", policy, p.unacked(), p.floor())
		}
		if p.ack(9) {
			t.Errorf("%s: what was not given can be acknowledged", policy)
		}
		for i, want := range []int64{3, 9, 12} {
			offset, ok := p.again(1)
			sequence, count := p.giveAgain(offset, 1)
			if !ok || offset != want || sequence != uint64(i+1) || count != 1 {
				t.Errorf("%s: offset %d, sequence %d, count %d; want offset %d", policy, offset, sequence, count, want)
			}
		}
		if offset, ok := p.again(1); ok {
			t.Errorf("%s: offset %d is given twice", policy, offset)
		}
		if unacked := map[string]int{ackNone: 0, ackExplicit: 3, ackAll: 3}[policy]; p.unacked() != unacked {
			t.Errorf("%s: %d unacked, want %d", policy, p.unacked(), unacked)
		}
	}
}

// What waits for acknowledgements takes no more memory than its bound reckons with.
func TestPendingBytes(t *testing.T) {
	const n = 65_536
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p := newProgress(ackRules{policy: ackExplicit, wait: time.Second}, 0)
	for offset := range int64(n) {
		p.give(offset, 1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d bytes each", each)
	if each > 160 {
		t.Errorf("a delivery that waits takes %d bytes, want 160 or less", each)
	}
	runtime.KeepAlive(p)
}
