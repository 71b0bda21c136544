package replica

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is a leader, the ends of its followers' logs as they are in truth, and a
// controller that decides about proposals, hears of them twice, and may lose its
// answers.
type world struct {
	rng     *rand.Rand
	now     time.Time
	leader  *Leader
	ends    map[int32]int64 // durable, of each follower
	dead    map[int32]bool
	state   Answer     // as ZooKeeper has it
	waiting []Proposal // on their way to the controller
	late    []letter   // that it has not got, and may get yet
}

// letter is a proposal whose connection broke.
type letter struct {
	Proposal
	at time.Time
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), now: start, ends: map[int32]int64{2: 0, 3: 0, 4: 0}, dead: map[int32]bool{}}
	w.state = Answer{Accepted, 5, 0, []int32{1, 2, 3}}
	cfg := Config{Self: 1, MaxLag: 30 * time.Second, MinISR: 1 + w.rng.IntN(3), Live: func(id int32) bool { return !w.dead[id] }}
	w.leader = NewLeader(cfg, w.order(), 0, 0, 0, w.now)
	return w
}

func (w *world) order() Order {
	return Order{LeaderEpoch: 5, PartitionEpoch: w.state.PartitionEpoch, Replicas: []int32{1, 2, 3, 4}, ISR: w.state.ISR}
}

// decide is the controller's: a proposal applies to the state that it names, and one
// that names what it already is, is no change.
func (w *world) decide(p Proposal) Answer {
	switch {
	case slices.Equal(p.ISR, w.state.ISR):
		return w.state
	case p.PartitionEpoch != w.state.PartitionEpoch:
		return Answer{Outcome: Superseded}
	case slices.ContainsFunc(p.ISR, func(id int32) bool { return w.dead[id] }):
		return Answer{Outcome: Refused}
	}
	w.state = Answer{Accepted, 5, p.PartitionEpoch + 1, p.ISR}
	return w.state
}

func (w *world) step(t *testing.T) {
	follower := 2 + w.rng.Int32N(3)
	switch w.rng.IntN(9) {
	case 0:
		w.leader.Durable(w.leader.endOffset+w.rng.Int64N(10), w.now)
	case 1, 2:
		w.ends[follower] = min(w.ends[follower]+w.rng.Int64N(20), w.leader.endOffset)
	case 3, 4, 5:
		if err := w.leader.Fetched(Fetch{Replica: follower, BrokerEpoch: Unknown, Offset: w.ends[follower]}, w.now); err != nil {
			t.Fatal(err)
		}
	case 6:
		w.now = w.now.Add(time.Duration(w.rng.IntN(20)) * time.Second)
		if p, ok := w.leader.Propose(w.now); ok {
			w.waiting = append(w.waiting, p)
		}
	case 7:
		w.answer()
	case 8:
		switch w.rng.IntN(4) {
		case 0:
			w.dead[follower] = !w.dead[follower]
		case 1: // a request that the leader has given up
			w.late = slices.DeleteFunc(w.late, func(l letter) bool { return w.now.Sub(l.at) > lateCopy })
			if len(w.late) > 0 {
				i := w.rng.IntN(len(w.late))
				w.decide(w.late[i].Proposal)
				w.late = slices.Delete(w.late, i, i+1)
			}
		case 2: // the controller decides by itself
			if isr := slices.DeleteFunc(slices.Clone(w.state.ISR), func(id int32) bool { return w.dead[id] }); len(isr) < len(w.state.ISR) {
				w.state.ISR, w.state.PartitionEpoch = isr, w.state.PartitionEpoch+1
			}
		case 3:
			w.leader.Reorder(w.order(), w.now)
		}
	}
}

func (w *world) answer() {
	for _, p := range w.waiting {
		a := Answer{Outcome: Failed}
		switch w.rng.IntN(4) {
		case 0:
			w.late = append(w.late, letter{p, w.now})
		case 1:
			w.decide(p) // and the answer is lost
		default:
			a = w.decide(p)
		}
		w.leader.Answered(p, a, w.now)
	}
	w.waiting = nil
}

// Whatever is lost, repeated or late: the high watermark never goes back, and all that
// is below it is on the disks of everyone whom the controller can elect, unless they
// left the ISR by the controller's own decision.
func TestHighWatermarkIsInEveryISR(t *testing.T) {
	moved, changed := 0, 0
	for seed := range uint64(2000) {
		w := newWorld(seed)
		before, version := int64(0), int32(0)
		for range 200 {
			w.step(t)
			highWatermark := w.leader.HighWatermark()
			if highWatermark < before || highWatermark > w.leader.endOffset {
				t.Fatalf("seed %d: the high watermark goes from %d to %d, the leader's end is %d", seed, before, highWatermark, w.leader.endOffset)
			}
			if highWatermark > before {
				for _, id := range append(slices.Clone(w.state.ISR), w.leader.isr...) {
					if id != 1 && w.ends[id] < highWatermark && w.leader.counts(id) {
						t.Fatalf("seed %d: high watermark %d, and broker %d of the ISR has %d", seed, highWatermark, id, w.ends[id])
					}
				}
				moved++
			}
			for _, id := range w.state.ISR { // whom the controller can elect
				if id != 1 && w.ends[id] < highWatermark {
					t.Fatalf("seed %d: broker %d is in the ISR %v with %d, and %d is committed", seed, id, w.state.ISR, w.ends[id], highWatermark)
				}
			}
			if w.state.PartitionEpoch > version {
				version = w.state.PartitionEpoch
				changed++
			}
			before = highWatermark
		}
	}
	if moved < 10000 || changed < 2000 {
		t.Errorf("the high watermark moved %d times and the ISR changed %d times: the model does too little", moved, changed)
	}
}
