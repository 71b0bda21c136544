package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/partition"
)

// rated is a coordinator whose brokers lead at a rate that was set.
type rated struct {
	*cluster.Solo
	rate string
}

func (r rated) Snapshot() *cluster.Snapshot {
	s := *r.Solo.Snapshot()
	s.Rates.AllBrokers = map[string]string{cluster.LeaderRate: r.rate}
	return &s
}

// The throttled replicas of a leader's topics have its rate together; those of other
// leaders, and consumers, have nothing to do with it.
func TestLeaderThrottle(t *testing.T) {
	const key = "leader.replication.throttled.replicas"
	b, _ := newMemberBox(t)
	b.create(t, "moved", 2, map[string]string{key: "0:7,1:8"})
	b.create(t, "all", 1, map[string]string{key: "*"})
	b.create(t, "free", 1, nil)
	b.api.cluster = rated{b.solo, "1"} // what is read now is owed for the whole of the test
	for _, name := range []string{"moved", "all", "free"} {
		b.fill(t, name, 0, batch(3, 1000, 0))
	}
	b.fill(t, "moved", 1, batch(3, 1000, 0))
	c := b.dial(t)
	heard := func(name string, index, replica int32) partition.ReplicaFetch {
		t.Helper()
		p := b.partition(name, index)
		p.others = replicas{}
		req := fetchRequest(ask{topic: name, index: index})
		req.ReplicaID, req.MaxBytes, req.MinBytes = replica, 1<<20, 1
		req.Topics[0].Partitions[0].PartitionMaxBytes = 1 << 20
		call[*kmsg.FetchResponse](t, c, req, 12)
		if replica < 0 {
			return partition.ReplicaFetch{}
		}
		return p.others.heard[0]
	}
	heard("moved", 0, -1)
	for _, step := range []struct {
		name           string
		index          int32
		throttled, any bool
	}{
		{"free", 0, false, false}, {"moved", 1, false, false}, {"moved", 0, true, true}, {"moved", 0, true, false}, {"all", 0, true, false}, {"free", 0, false, false},
	} {
		if got := heard(step.name, step.index, 2); got.Throttled != step.throttled || got.Allowance > 0 != step.any {
			t.Errorf("%s-%d: throttled %v, allowance %d", step.name, step.index, got.Throttled, got.Allowance)
		}
	}
	b.api.cluster = b.solo // the rate is taken away
	if got := heard("all", 0, 2); got.Throttled {
		t.Errorf("without a rate: allowance %d", got.Allowance)
	}
}
