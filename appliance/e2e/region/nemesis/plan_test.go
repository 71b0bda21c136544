package nemesis

import (
	"reflect"
	"testing"
	"time"
)

// A seed gives one plan, within its time and of what is allowed; many seeds have all
// that there is.
func TestPlan(t *testing.T) {
	o := Options{Brokers: true, ZooKeeper: true, Pause: 4 * time.Second, Last: 10 * time.Second}
	seen := map[Op]map[Target]bool{}
	several := 0
	for seed := range uint64(200) {
		steps := Plan(seed, time.Minute, o)
		if again := Plan(seed, time.Minute, o); !reflect.DeepEqual(steps, again) {
			t.Fatalf("seed %d has two plans:\n%s\n%s", seed, Describe(steps), Describe(again))
		}
		total := time.Duration(0)
		for _, s := range steps {
			total += s.After + s.For
			if s.After < o.Pause/2 || s.After > o.Pause || s.For < o.Last/4 || s.For > o.Last || len(s.Faults) == 0 {
				t.Errorf("seed %d: %v", seed, s)
			}
			if len(s.Faults) > 1 {
				several++
			}
			for _, f := range s.Faults {
				if seen[f.Op] == nil {
					seen[f.Op] = map[Target]bool{}
				}
				seen[f.Op][f.Target] = true
			}
		}
		if total > time.Minute || total < 30*time.Second {
			t.Errorf("seed %d fills %v", seed, total)
		}
	}
	for _, op := range append(append([]Op(nil), brokerOps...), zooKeeperOps...) {
		if len(seen[op]) == 0 {
			t.Errorf("no plan of 200 has %q", op)
		}
	}
	if several < 100 {
		t.Errorf("%d steps do several things", several)
	}
}

// What is not allowed is not done.
func TestPlanWithin(t *testing.T) {
	for seed := range uint64(50) {
		for _, s := range Plan(seed, time.Minute, Options{Ops: []Op{Kill, Freeze}, ZooKeeper: true, Pause: time.Second, Last: 2 * time.Second}) {
			for _, f := range s.Faults {
				if f.Op != Kill && f.Op != Freeze || f.Target != ZKLeader && f.Target != ZKFollower && f.Target != AnyZK {
					t.Fatalf("seed %d: %v", seed, f)
				}
			}
		}
	}
	if got := Plan(1, time.Hour, Options{Ops: []Op{"dance"}, Brokers: true, Pause: time.Second, Last: time.Second}); len(got) != 0 {
		t.Errorf("an operation that does not exist is planned: %v", got)
	}
}

func TestEach(t *testing.T) {
	steps := Each(Leader, time.Second, 2*time.Second)
	if len(steps) != 14 || steps[0].Faults[0] != (Fault{Op: Kill, Target: Leader}) || steps[0].After != time.Second || steps[0].For != 2*time.Second {
		t.Errorf("%d steps:\n%s", len(steps), Describe(steps))
	}
	again := Again(Fault{Kill, Leader, 0}, 3, time.Second, time.Second)
	if len(again) != 3 || again[2].Faults[0].N != 2 {
		t.Errorf("three times:\n%s", Describe(again))
	}
}
