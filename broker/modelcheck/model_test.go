package modelcheck

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// calm is how long replicas may take to become the same once nothing is broken. It is
// longer than a request may be late, and than a minute for which a leader waits then.
const calm = 5 * time.Minute

// play goes through a history, and returns what was wrong, or "".
func play(h history, r rules, tracing bool) *sim {
	s := &sim{
		cfg: h.cfg, rules: r, cuts: map[[2]int32]int{}, work: true, tracing: tracing,
		net: rand.New(rand.NewPCG(h.seed, 2)), disk: rand.New(rand.NewPCG(h.seed, 3)), clients: rand.New(rand.NewPCG(h.seed, 4)),
	}
	s.check = newChecker(s)
	s.store = newStore(s)
	for id := range int32(h.cfg.brokers) {
		s.brokers = append(s.brokers, newBroker(s, id+1))
	}
	for _, b := range s.brokers {
		s.after(between(s.net, 0, time.Second), b.start)
	}
	for id := range int64(3) {
		pr := &producer{s: s, id: id, value: id, all: id > 0, leader: h.cfg.replicas[0], last: -1}
		s.after(time.Second, pr.run)
	}
	for range 2 {
		co := &consumer{s: s}
		s.every(300*time.Millisecond, co.poll)
	}
	for _, f := range h.faults {
		s.after(f.at, func() { s.strike(f) })
	}
	s.run(troubled)
	s.work = false
	s.settleDown()
	return s
}

// lastTraced is how much of the calm a history's lines tell: what keeps replicas apart
// by then goes on for ever.
const lastTraced = 20 * time.Second

// settleDown waits until the replicas are the same.
func (s *sim) settleDown() {
	problem := ""
	for end := s.now + calm; s.now < end && s.check.wrong == ""; {
		s.run(s.now + time.Second)
		s.tracing = s.tracing && s.now < troubled+lastTraced
		if problem = s.check.converged(); problem == "" {
			return
		}
	}
	if s.check.wrong == "" {
		s.check.wrong = fmt.Sprintf("%v after the last fault %s", calm, problem)
		s.note("WRONG: %s; in the store: %s", s.check.wrong, stateText(s.store.state))
	}
}

// shrink leaves out faults that the history is wrong without.
func shrink(h history, r rules) history {
	for n := len(h.faults) / 2; n > 0; n /= 2 {
		for from := 0; from+n <= len(h.faults); {
			less := h
			less.faults = slices.Delete(slices.Clone(h.faults), from, from+n)
			if play(less, r, false).check.wrong != "" {
				h = less
			} else {
				from += n
			}
		}
	}
	return h
}

// report is a history that went wrong, for people.
func report(h history, r rules) string {
	h = shrink(h, r)
	s := play(h, r, true)
	var out strings.Builder
	fmt.Fprintf(&out, "seed %d: %s\nseen again by HEADWATER_MODEL_SEED=%[1]d go test -run TestRegion ./broker/modelcheck\n%+[3]v\nfaults that are left of it:\n", h.seed, s.check.wrong, h.cfg)
	for _, f := range h.faults {
		fmt.Fprintln(&out, f)
	}
	const most = 150
	if len(s.trace) > most {
		fmt.Fprintf(&out, "… %d lines before\n", len(s.trace)-most)
		s.trace = s.trace[len(s.trace)-most:]
	}
	return out.String() + strings.Join(s.trace, "\n")
}

func seeds(t *testing.T, few uint64) (from, to uint64) {
	t.Helper()
	if text := os.Getenv("HEADWATER_MODEL_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n, n + 1
	}
	if text := os.Getenv("HEADWATER_MODEL_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return 0, n
	}
	return 0, few
}

// Whatever crashes, freezes, is cut off, late or lost: what is committed stays, on
// everyone who can be elected; and once nothing is broken the replicas are the same.
func TestRegion(t *testing.T) {
	from, to := seeds(t, 300)
	var sum counts
	var events uint64
	for seed := from; seed < to; seed++ {
		h := newHistory(seed)
		s := play(h, trueRules(), false)
		if s.check.wrong != "" {
			t.Fatal(report(h, trueRules()))
		}
		sum.add(s)
		events += s.made
	}
	t.Logf("%d seeds, %d events: %+v", to-from, events, sum)
}
