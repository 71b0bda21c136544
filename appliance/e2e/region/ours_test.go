//go:build interop

package region

import (
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
)

// Three brokers with one ZooKeeper server lose nothing that they acked with acks=all,
// reorder and repeat nothing, and lead no reader back, whatever happens to them.
func TestRegion(t *testing.T) { seeded(t, start(t, 1, ours(3)...), 11, time.Minute) }

// everyKind is a seed whose plan has, within ninety seconds, kills, freezes, cuts one way
// and both ways, slow and late lines, of leaders and controllers, of ZooKeeper's leader
// and its followers, one and several at once.
const everyKind, ofFive = 1523, 90 * time.Second

// Five brokers with three ZooKeeper servers.
func TestRegionOfFive(t *testing.T) { seeded(t, start(t, 3, ours(5)...), everyKind, ofFive) }

// The plan above is drawn: another way to draw would leave kinds of faults out unseen.
func TestRegionOfFiveMeetsAll(t *testing.T) {
	met := map[string]bool{}
	for _, s := range nemesis.Plan(everyKind, ofFive, anything) {
		for _, f := range s.Faults {
			met[string(f.Op)], met[string(f.Target)] = true, true
		}
		met["several at once"] = met["several at once"] || len(s.Faults) > 1
	}
	for _, kind := range []string{
		string(nemesis.Kill), string(nemesis.KillAll), string(nemesis.Freeze), string(nemesis.Deafen), string(nemesis.CutOff),
		string(nemesis.CutPair), string(nemesis.Slow), string(nemesis.Delay), string(nemesis.Leader), string(nemesis.Controller),
		string(nemesis.ZKLeader), string(nemesis.ZKFollower), "several at once",
	} {
		if !met[kind] {
			t.Errorf("the plan of seed %d has no %q", everyKind, kind)
		}
	}
}

// Behind proxies, where namespaces are not permitted.
func TestRegionOnLoopback(t *testing.T) {
	seeded(t, onLoopback(t, ours(3)), 13, 30*time.Second)
}

// Everything that can happen to a leader happens to one.
func TestRegionEachFault(t *testing.T) {
	trial{workload: fast(14), settings: twoOfThree, plan: nemesis.Each(nemesis.Leader, 4*time.Second, 8*time.Second)}.run(t, start(t, 1, ours(3)...))
}

// Everything that can happen to a controller happens to one.
func TestRegionEachFaultOfTheController(t *testing.T) {
	trial{workload: fast(15), settings: twoOfThree, plan: nemesis.Each(nemesis.Controller, 4*time.Second, 8*time.Second)}.run(t, start(t, 1, ours(3)...))
}

// With acks=1 what a leader alone had may be lost with it, but what a reader saw stays,
// and the copies are equal.
func TestRegionLeaderAck(t *testing.T) { leaderAck(t, start(t, 1, ours(3)...)) }

// Brokers that are stopped in good order and started again, one after the other, each once
// the one before has caught up, keep the topic writable: nothing waits for a session to
// end.
func TestRegionRolls(t *testing.T) { rollsAsTold(t, start(t, 1, ours(3)...), 3*time.Second) }

// Without ZooKeeper leaders go on leading, and all returns with it.
func TestRegionWithoutZooKeeper(t *testing.T) { withoutZooKeeper(t, start(t, 1, ours(3)...)) }

// Kafka's tools on headwater.
func TestRegionTools(t *testing.T) { tour(t, start(t, 1, ours(3)...)) }

// Clients live through headwater's failovers without an error, as through Kafka's.
func TestRegionFailover(t *testing.T) { failover(t, start(t, 1, ours(3)...)) }

// A power cut that meets all brokers at once takes nothing that was acked: each of them
// has synced it before.
func TestRegionBlackout(t *testing.T) {
	if report := blackout(t, start(t, 1, onCards(ours(3))...), 4); !report.Sound() {
		t.Error("the history is not sound")
	}
}

// A broker whose power is cut comes back with less than it had written, but with all that
// others counted on.
func TestRegionCutPower(t *testing.T) {
	c := start(t, 1, onCards(ours(3))...)
	plan := nemesis.Again(nemesis.Fault{Op: nemesis.CutPower, Target: nemesis.Leader}, 5, 4*time.Second, time.Second)
	trial{workload: fast(18), settings: twoOfThree, plan: plan}.run(t, c)
}

// Brokers that crash and are back at once are not waited for: neither as leaders nor as
// the controller, though what they held in ZooKeeper stays for as long as a session.
func TestRegionCrashesAtOnce(t *testing.T) {
	const session, limit = 30 * time.Second, 10 * time.Second
	c := start(t, 1, ours(3, "HEADWATER_REGION_SESSION_TIMEOUT="+session.String())...)
	plan := []nemesis.Step{
		{After: 3 * time.Second, For: time.Second, Faults: []nemesis.Fault{{Op: nemesis.KillAll, Target: nemesis.Controller}}},
		{After: 5 * time.Second, For: time.Second, Faults: []nemesis.Fault{{Op: nemesis.Kill, Target: nemesis.Controller}}},
		{After: 5 * time.Second, For: time.Second, Faults: []nemesis.Fault{{Op: nemesis.KillAll, Target: nemesis.Controller}}},
	}
	if _, pause := (trial{workload: fast(19), settings: twoOfThree, plan: plan}).run(t, c); pause > limit {
		t.Errorf("for %v nothing was acked, want less than %v", pause, limit)
	}
}

// What a broker has of others that come and go, goes with them.
func TestRegionGathersNothing(t *testing.T) {
	c := start(t, 1, ours(3)...)
	var plan []nemesis.Step
	for i := range 9 {
		op := []nemesis.Op{nemesis.CutOff, nemesis.Freeze, nemesis.CutZK}[i/3]
		plan = append(plan, nemesis.Step{After: 2 * time.Second, For: 6 * time.Second, Faults: []nemesis.Fault{{Op: op, Target: nemesis.AnyBroker, N: i}}})
	}
	gathers(t, c, plan)
}

// Brokers start, and are there for their clients, while ZooKeeper is away.
func TestRegionStartsWithoutZooKeeper(t *testing.T) {
	startsWithoutZooKeeper(t, start(t, 1, ours(3)...))
}
