package modelcheck

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// config is what a seed makes of the world, beside its faults.
type config struct {
	brokers        int
	replicas       []int32
	minISR         int
	maxLag         time.Duration
	sessionTimeout time.Duration
	pause          time.Duration // of producers
	unclean        bool          // whoever is there may lead: only that replicas become the same is held
}

// fault is something that happens to the cluster, and for how long.
type fault struct {
	at, lasts time.Duration
	kind      kind
	a, b      int32
	n         int64
}

type kind int

const (
	kill    kind = iota // a process ends, and starts again
	power               // and what was not durable is lost
	outage              // all lose power, in one moment
	freeze              // a process stands still
	oneWay              // nothing comes from a to b
	twoWays             // nor back
	alone               // a reaches no broker, and none reaches a
	noStore             // a does not reach the store
	lost                // a reaches nobody
	expire              // the store forgets a's session
	depose              // the node of the controller is removed
	late                // requests are late, lost, or heard when they are given up
	slow                // a's disk is
	prefer              // the first replica is to lead
	leave               // a wants to be taken out, and ends soon after
	trim                // old records are deleted
	kinds
)

var kindNames = [kinds]string{"kill", "power", "outage", "freeze", "oneWay", "twoWays", "alone", "noStore", "lost", "expire", "depose", "late", "slow", "prefer", "leave", "trim"}

func (f fault) String() string {
	return fmt.Sprintf("%8.3fs %-7s a=%d b=%d for %v", f.at.Seconds(), kindNames[f.kind], f.a, f.b, f.lasts.Round(time.Millisecond))
}

// history is one seed's.
type history struct {
	seed   uint64
	cfg    config
	faults []fault
}

// troubled is for how long there are faults.
const troubled = 90 * time.Second

// newHistory is what a seed makes of the world, with faults of all kinds or of some.
func newHistory(seed uint64, some ...kind) history {
	r := rand.New(rand.NewPCG(seed, 1))
	n := 3 + r.IntN(3)
	cfg := config{
		brokers: n, minISR: 2,
		maxLag:         between(r, 2*time.Second, 10*time.Second),
		sessionTimeout: between(r, 3*time.Second, 8*time.Second),
		pause:          between(r, 50*time.Millisecond, 500*time.Millisecond),
		unclean:        r.IntN(10) == 0,
	}
	for id := range int32(n) {
		cfg.replicas = append(cfg.replicas, id+1)
	}
	r.Shuffle(n, func(i, j int) { cfg.replicas[i], cfg.replicas[j] = cfg.replicas[j], cfg.replicas[i] })
	cfg.replicas = cfg.replicas[:3+r.IntN(n-2)]
	if r.IntN(4) == 0 {
		cfg.minISR = 1 + r.IntN(3)
	}
	h := history{seed: seed, cfg: cfg}
	weights := make([]int, kinds) // each seed has its own
	for k := range weights {
		weights[k] = r.IntN(4)
	}
	weights[r.IntN(int(kinds))] += 4
	for k := range weights {
		if len(some) > 0 && !slices.Contains(some, kind(k)) {
			weights[k] = 0
		} else if len(some) > 0 {
			weights[k]++
		}
	}
	for range 4 + r.IntN(40) {
		h.faults = append(h.faults, newFault(r, n, weights))
	}
	slices.SortStableFunc(h.faults, func(a, b fault) int { return int(a.at - b.at) })
	return h
}

func newFault(r *rand.Rand, brokers int, weights []int) fault {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	pick, k := r.IntN(sum), kind(0)
	for pick >= weights[k] {
		pick -= weights[k]
		k++
	}
	f := fault{at: between(r, time.Second, troubled), kind: k, a: 1 + r.Int32N(int32(brokers)), b: 1 + r.Int32N(int32(brokers)), n: r.Int64()}
	switch r.IntN(3) {
	case 0:
		f.lasts = between(r, time.Millisecond, time.Second)
	case 1:
		f.lasts = between(r, time.Second, 10*time.Second)
	default:
		f.lasts = between(r, 5*time.Second, 40*time.Second)
	}
	return f
}

// strike has a fault happen.
func (s *sim) strike(f fault) {
	a := s.brokers[f.a-1]
	s.note("fault: %v", f)
	switch f.kind {
	case kill:
		s.crash(a, a.log.end(), f.lasts)
	case power:
		s.crash(a, a.log.durable+f.n%(a.log.end()-a.log.durable+1), f.lasts)
	case outage:
		for _, b := range s.brokers {
			s.crash(b, b.log.durable, f.lasts/2+between(s.net, 0, f.lasts/2))
		}
	case freeze:
		s.freeze(a, f.lasts)
	case oneWay:
		s.cut(f.lasts, [2]int32{f.a, f.b})
	case twoWays:
		s.cut(f.lasts, [2]int32{f.a, f.b}, [2]int32{f.b, f.a})
	case alone, noStore, lost:
		s.cut(f.lasts, s.linksOf(f.a, f.kind)...)
	case expire:
		if ss := a.session; a.up && ss != nil {
			s.store.expire(ss)
		}
	case depose:
		s.store.deposed()
	case late:
		s.late++
		s.after(f.lasts, func() { s.late-- })
	case slow:
		a.slow++
		s.after(f.lasts, func() { a.slow-- })
	case prefer, trim:
		s.request(f)
	case leave:
		s.request(f)
		s.after(between(s.net, 0, 2*time.Second), func() { s.crash(a, a.log.end(), f.lasts) })
	}
}

// request is an operator's, of whoever is the controller, or leads.
func (s *sim) request(f fault) {
	for _, b := range s.brokers {
		b.run(b.life, func() {
			t := b.term
			switch {
			case f.kind == trim && b.partition.leading != nil:
				b.log.deleteBefore(b.partition.highWatermark - f.n%5)
			case f.kind == prefer && t != nil:
				t.do(t.prefer)
			case f.kind == leave && t != nil:
				t.do(t.shutDown(f.a))
			}
		})
	}
}

func (s *sim) linksOf(id int32, k kind) (links [][2]int32) {
	for other := range int32(len(s.brokers) + 1) {
		if other != id && (k == lost || (k == noStore) == (other == storeID)) {
			links = append(links, [2]int32{id, other}, [2]int32{other, id})
		}
	}
	return links
}

func (s *sim) cut(d time.Duration, links ...[2]int32) {
	for _, l := range links {
		s.cuts[l]++
	}
	s.after(d, func() {
		for _, l := range links {
			s.cuts[l]--
		}
	})
}

func (s *sim) crash(b *broker, kept int64, down time.Duration) {
	if !b.up {
		return
	}
	s.check.counts.crashes++
	b.crash(kept)
	s.after(down, b.start)
}

func (s *sim) freeze(b *broker, d time.Duration) {
	if !b.up {
		return
	}
	life := b.life
	b.frozen++
	s.after(d, func() {
		if b.life == life {
			b.thaw()
		}
	})
}
