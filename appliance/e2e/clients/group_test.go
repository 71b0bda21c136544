//go:build interop

package clients

import (
	"fmt"
	"slices"
	"testing"
)

const (
	groupPartitions = 4
	groupSession    = 6000 // ms, Kafka's least
)

// Two members of a group share a topic; one is killed and the other takes over; the
// group resumes where it committed; the tools' lag is 0 then.
func TestGroup(t *testing.T) {
	each(t, func(t *testing.T, c client, brokers string) {
		g := newGroupTest(t, c, brokers)
		a := g.join("")
		a.until("it has all partitions", holds(0, 1, 2, 3))
		g.fill(10)
		g.awaitRead("the first member has read all", a)
		g.awaitCommitted()

		b := g.join("")
		a.untilAll("the two share the partitions", []*driver{a, b}, shared)
		g.fill(10)
		g.awaitRead("the two have read all", a, b)
		g.awaitCommitted()

		a.kill()
		g.fill(10)
		b.until("the one that is left has all partitions", holds(0, 1, 2, 3))
		g.awaitRead("the one that is left has read all", a, b)
		g.awaitCommitted()
		b.leave()

		before := g.written
		g.fill(1)
		later := g.join("")
		told := later.until("a new member has read what came since", func(told []event) bool { return len(values(told)) >= g.written-before })
		for _, e := range records(told) {
			if e.Offset != int64(before/groupPartitions) {
				t.Errorf("the new member read partition %d, offset %d: it was committed", e.Partition, e.Offset)
			}
		}
		later.leave()
	})
}

// A static member that comes back within its session timeout has the partitions
// that it had, and nobody else is asked to give any up.
func TestStaticMember(t *testing.T) {
	each(t, func(t *testing.T, c client, brokers string) {
		if !c.static {
			return // this client has no static membership
		}
		g := newGroupTest(t, c, brokers)
		a, b := g.join("one"), g.join("two")
		held := a.untilAll("the two share the partitions", []*driver{a, b}, shared)
		had := lastAssigned(held[0])
		rebalances := len(assignments(held[1]))
		a.kill()
		again := g.join("one")
		again.until("it has what it had", holds(had...))
		g.fill(5)
		g.awaitRead("the two have read all", a, b, again)
		if now := assignments(b.told()); len(now) != rebalances {
			t.Errorf("the other member was assigned anew: %v", now)
		}
		again.leave()
		b.leave()
	})
}

// groupTest is a group that reads one topic.
type groupTest struct {
	t       *testing.T
	c       client
	brokers string
	topic   string
	written int // records, of all partitions
	runs    int
}

func newGroupTest(t *testing.T, c client, brokers string) *groupTest {
	return &groupTest{t: t, c: c, brokers: brokers, topic: newTopic(t, brokers, groupPartitions)}
}

func (g *groupTest) join(instance string) *driver {
	return g.c.launch(g.t, command{Do: "group", Brokers: g.brokers, Topic: g.topic, Group: "of-" + g.topic, Instance: instance, Session: groupSession})
}

// fill writes count records into each partition.
func (g *groupTest) fill(count int) {
	g.t.Helper()
	fill(g.t, g.brokers, g.topic, groupPartitions, fmt.Sprintf("run%d", g.runs), count, fillCodecs[0])
	g.runs++
	g.written += groupPartitions * count
}

// awaitRead waits until all that was written was read, by any of the members.
func (g *groupTest) awaitRead(what string, members ...*driver) {
	g.t.Helper()
	live := slices.DeleteFunc(slices.Clone(members), func(d *driver) bool {
		select {
		case <-d.ended:
			return true
		default:
			return false
		}
	})
	members[0].untilAll(what, live, func([][]event) bool {
		seen := map[string]bool{}
		for _, d := range members {
			for place := range values(d.told()) {
				seen[place] = true
			}
		}
		return len(seen) == g.written
	})
}

// awaitCommitted waits until the client's own tool says that nothing is left to
// read.
func (g *groupTest) awaitCommitted() {
	g.t.Helper()
	eventually(g.t, "the group has committed all", func() bool {
		told := g.c.do(g.t, command{Do: "committed", Brokers: g.brokers, Topic: g.topic, Group: "of-" + g.topic, Partitions: groupPartitions})
		end := int64(g.written / groupPartitions)
		good := 0
		for _, e := range told {
			if e.End != end {
				g.t.Fatalf("partition %d is told to end at %d, not %d", e.Partition, e.End, end)
			}
			if e.Offset > e.End {
				g.t.Fatalf("partition %d: %d is committed, behind the end %d", e.Partition, e.Offset, e.End)
			}
			if e.Offset == end {
				good++
			}
		}
		return good == groupPartitions
	})
}

// records are those among what was told.
func records(told []event) []event {
	return slices.DeleteFunc(slices.Clone(told), func(e event) bool { return e.Value == "" })
}

// values are the records that were told of, each once, by their places.
func values(told []event) map[string]bool {
	seen := map[string]bool{}
	for _, e := range records(told) {
		seen[fmt.Sprintf("%d@%d %s", e.Partition, e.Offset, e.Value)] = true
	}
	return seen
}

// assignments are what a member was assigned, one after the other.
func assignments(told []event) [][]int32 {
	var all [][]int32
	for _, e := range told {
		if e.Assigned != nil {
			all = append(all, e.Assigned)
		}
	}
	return all
}

func lastAssigned(told []event) []int32 {
	all := assignments(told)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// holds tells that a member has just these partitions.
func holds(partitions ...int32) func(told []event) bool {
	return func(told []event) bool { return slices.Equal(lastAssigned(told), partitions) }
}

// shared tells that two members have two partitions each.
func shared(told [][]event) bool {
	a, b := lastAssigned(told[0]), lastAssigned(told[1])
	both := append(slices.Clone(a), b...)
	slices.Sort(both)
	return len(a) == 2 && slices.Equal(both, []int32{0, 1, 2, 3})
}
