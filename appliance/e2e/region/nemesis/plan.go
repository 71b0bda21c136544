// Package nemesis does things to a cluster: it kills, freezes, restarts, cuts off, slows
// and delays brokers and ZooKeeper servers, one and several at once, by a plan that
// follows from a seed.
//
// A Plan is pure. Whom a step meets, the leader of a partition say, is found out when its
// time has come; so a seed repeats what is done and when, not to whom.
package nemesis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Op is what is done.
type Op string

// The operations. Each is undone when its time is over.
const (
	Kill     Op = "kill"      // SIGKILL; started again
	KillAll  Op = "kill all"  // of its role, at once
	Stop     Op = "stop"      // SIGTERM; started again
	Freeze   Op = "freeze"    // SIGSTOP; SIGCONT
	CutOff   Op = "cut off"   // from all others, both ways
	Deafen   Op = "deafen"    // what others send to it is lost
	Mute     Op = "mute"      // what it sends to others is lost
	CutPair  Op = "cut pair"  // from one other of its role, both ways
	CutZK    Op = "cut zk"    // from all of ZooKeeper, both ways
	CutPeers Op = "cut peers" // from all others of its role, both ways
	Slow     Op = "slow"      // all that it sends and gets
	Delay    Op = "delay"     // connections to it
	CutPower Op = "cut power" // of a broker that has a card; started again. In no plan by itself
	Blackout Op = "blackout"  // the same for all brokers at once
	Move     Op = "move"      // no fault: a partition to other replicas, whatever the target is
	Elect    Op = "elect"     // no fault: the preferred leaders
)

// Target is whom.
type Target string

// The targets.
const (
	Leader     Target = "leader"      // of a partition
	Follower   Target = "follower"    // of a partition
	Controller Target = "controller"  // of the brokers
	AnyBroker  Target = "broker"      // the n-th
	ZKLeader   Target = "zk leader"   // or the only server
	ZKFollower Target = "zk follower" // or the only server
	AnyZK      Target = "zk"          // the n-th
)

// Fault is one thing that is done to one machine, or to all of its role.
type Fault struct {
	Op     Op
	Target Target
	N      int // which partition, or which machine, by its remainder
}

func (f Fault) String() string { return fmt.Sprintf("%s %s %d", f.Op, f.Target, f.N) }

// Step is faults at once.
type Step struct {
	After  time.Duration // the end of the step before
	Faults []Fault
	For    time.Duration
}

func (s Step) String() string {
	var faults []string
	for _, f := range s.Faults {
		faults = append(faults, f.String())
	}
	return fmt.Sprintf("after %v for %v: %s", s.After, s.For, strings.Join(faults, ", "))
}

// Options say what may be done.
type Options struct {
	Ops       []Op // nil: all
	Brokers   bool
	ZooKeeper bool
	// Pause is between two steps at the most, and Last how long one takes.
	Pause, Last time.Duration
}

// brokerOps and zooKeeperOps have what is done more often more often.
var (
	brokerOps    = []Op{Kill, Kill, Kill, KillAll, Stop, Freeze, Freeze, CutOff, CutOff, Deafen, Mute, CutPair, CutZK, CutZK, CutPeers, Slow, Delay, Move, Move, Elect}
	zooKeeperOps = []Op{Kill, Kill, KillAll, Freeze, CutOff, Deafen, Mute, CutPair, Slow, Delay}
	brokers      = []Target{Leader, Leader, Leader, Controller, Controller, Follower, AnyBroker}
	zooKeepers   = []Target{ZKLeader, ZKFollower, AnyZK}
)

// Plan is the steps of a seed that fill so much time.
func Plan(seed uint64, total time.Duration, o Options) (steps []Step) {
	rng := rand.New(rand.NewPCG(seed, 7))
	for spent := time.Duration(0); ; {
		s := Step{
			After: (o.Pause/2 + time.Duration(rng.Int64N(int64(o.Pause/2)+1))).Round(time.Millisecond),
			For:   (o.Last/4 + time.Duration(rng.Int64N(int64(o.Last*3/4)+1))).Round(time.Millisecond),
		}
		count := 1
		if rng.IntN(4) == 0 { // several at once
			count = 2
		}
		for range count {
			if f, ok := fault(rng, o); ok {
				s.Faults = append(s.Faults, f)
			}
		}
		if spent += s.After + s.For; spent > total || len(s.Faults) == 0 && len(steps) > maxSteps {
			return steps
		}
		if len(s.Faults) > 0 {
			steps = append(steps, s)
		}
	}
}

// Each is a step for every operation there is on brokers, on one target.
func Each(target Target, after, last time.Duration) (steps []Step) {
	seen := map[Op]bool{}
	for _, op := range brokerOps {
		if !seen[op] {
			seen[op] = true
			steps = append(steps, Step{After: after, For: last, Faults: []Fault{{Op: op, Target: target}}})
		}
	}
	return steps
}

// Again is one fault so many times.
func Again(f Fault, times int, after, last time.Duration) (steps []Step) {
	for range times {
		steps = append(steps, Step{After: after, For: last, Faults: []Fault{f}})
		f.N++
	}
	return steps
}

// maxSteps is more than a week has.
const maxSteps = 1 << 20

// fault draws one that the options allow. It may draw in vain.
func fault(rng *rand.Rand, o Options) (Fault, bool) {
	ops, targets := brokerOps, brokers
	if o.ZooKeeper && (!o.Brokers || rng.IntN(4) == 0) {
		ops, targets = zooKeeperOps, zooKeepers
	}
	for range 100 {
		f := Fault{ops[rng.IntN(len(ops))], targets[rng.IntN(len(targets))], rng.IntN(1000)}
		if allowed(o.Ops, f.Op) {
			return f, true
		}
	}
	return Fault{}, false
}

func allowed(ops []Op, op Op) bool {
	for _, o := range ops {
		if o == op {
			return true
		}
	}
	return len(ops) == 0
}

// Describe prints a plan, a line for each step.
func Describe(steps []Step) string {
	var b strings.Builder
	at := time.Duration(0)
	for i, s := range steps {
		at += s.After
		fmt.Fprintf(&b, "%3d at %8v for %6v:", i, at.Round(time.Millisecond), s.For.Round(time.Millisecond))
		for _, f := range s.Faults {
			fmt.Fprintf(&b, " [%v]", f)
		}
		b.WriteByte('\n')
		at += s.For
	}
	return b.String()
}
