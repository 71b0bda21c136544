//go:build interop

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/process"
)

const (
	loadGroups     = 20
	loadMembers    = 10 // of each group
	loadPartitions = 50 // of each group's topic
	idleFor        = 20 * time.Second
)

// 200 consumers in 20 groups over 1,000 partitions share out within seconds, and
// again when one of each group leaves; and while nothing comes they cost next to
// nothing.
func TestGroupsUnderLoad(t *testing.T) {
	p := prepare(t, t.TempDir(), "HEADWATER_KAFKA_MAX_PARTITIONS=2000", "HEADWATER_KAFKA_MAX_CONNECTIONS=2000")
	restart(t, p)
	for i := range loadGroups {
		createTopic(t, p.Kafka, topicOfGroup(i), loadPartitions)
	}
	start := time.Now()
	var groups []*assignments
	for i := range loadGroups {
		groups = append(groups, startGroup(t, p.Kafka, i))
	}
	for _, g := range groups {
		g.awaitShared(t, loadMembers)
	}
	formed := time.Since(start)

	start = time.Now()
	for _, g := range groups {
		g.leaveOne()
	}
	for _, g := range groups {
		g.awaitShared(t, loadMembers-1)
	}
	again := time.Since(start)

	before := cpuSeconds(t, p)
	time.Sleep(idleFor) // the measurement
	idle := (cpuSeconds(t, p) - before) / idleFor.Seconds()
	t.Logf("%d members in %d groups over %d partitions: shared out in %v (of which 3s are the initial delay), again without one each in %v; idle %.2f %% of a core",
		loadGroups*loadMembers, loadGroups, loadGroups*loadPartitions, formed, again, 100*idle)
	if formed > 20*time.Second || again > 15*time.Second {
		t.Errorf("sharing out took %v and %v", formed, again)
	}
	if idle > 0.02 {
		t.Errorf("idle, the process takes %.2f %% of a core, want less than 2", 100*idle)
	}
}

func topicOfGroup(i int) string { return fmt.Sprintf("load%d", i) }

func cpuSeconds(t *testing.T, p *process.Process) float64 {
	t.Helper()
	v, err := p.Metric(within(t, patience), "process_cpu_seconds_total")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// assignments is who of a group has how many partitions.
type assignments struct {
	members []*kgo.Client

	mu    sync.Mutex // guards all below
	has   map[int]int
	moved chan struct{} // closed, and replaced, when has changes
}

func startGroup(t *testing.T, address string, index int) *assignments {
	t.Helper()
	g := &assignments{has: map[int]int{}, moved: make(chan struct{})}
	for i := range loadMembers {
		change := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
				g.mu.Lock()
				defer g.mu.Unlock()
				for _, p := range partitions {
					g.has[i] += sign * len(p)
				}
				close(g.moved)
				g.moved = make(chan struct{})
			}
		}
		g.members = append(g.members, client(t, address, kgo.ConsumerGroup(fmt.Sprintf("group%d", index)), kgo.ConsumeTopics(topicOfGroup(index)),
			kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1))))
	}
	return g
}

func (g *assignments) leaveOne() {
	g.members[len(g.members)-1].Close()
	g.members = g.members[:len(g.members)-1]
}

// awaitShared waits until that many members have all partitions among them, each
// some.
func (g *assignments) awaitShared(t *testing.T, members int) {
	t.Helper()
	deadline := within(t, patience).Done()
	for {
		g.mu.Lock()
		moved, total, busy := g.moved, 0, 0
		for _, n := range g.has {
			total += n
			if n > 0 {
				busy++
			}
		}
		g.mu.Unlock()
		if total == loadPartitions && busy == members {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			t.Fatalf("%d members have %d partitions, want %d and %d", busy, total, members, loadPartitions)
		}
	}
}
