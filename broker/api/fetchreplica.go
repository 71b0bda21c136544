package api

import (
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

// fetchReplica is the follower that a fetch comes from.
type fetchReplica struct {
	id          int32 // negative: a consumer's
	brokerEpoch int64 // -1: not told
}

// replicaOf finds the follower in a request, wherever its version has it (KIP-903).
func replicaOf(req *kmsg.FetchRequest) fetchReplica {
	if req.Version >= 15 {
		return fetchReplica{req.ReplicaState.ID, req.ReplicaState.Epoch}
	}
	return fetchReplica{req.ReplicaID, -1}
}

// rackVersion is the first of Fetch in which consumers say where they are. Those that
// do may read from followers (KIP-392).
const rackVersion = 11

// mayConsume refuses consumers that the leader alone may serve, and those with an
// epoch that is not the partition's.
func (f *fetching) mayConsume(from Partition, ask *fetchAsk) error {
	if _, _, leads := from.Role(); !leads && f.req.Version < rackVersion {
		return fmt.Errorf("%.60s-%d: %w", ask.topic, ask.index, partition.ErrNotLeader)
	}
	return checkEpoch(from, ask.leaderEpoch)
}

// redirect sends a consumer to a follower in its rack that has what it asks for, if
// the leader is elsewhere and there is one (KIP-392).
func (f *fetching) redirect(from Partition, ask *fetchAsk, out *wire.FetchedPartition) bool {
	if f.req.Version < rackVersion || f.req.Rack == "" {
		return false
	}
	snapshot := f.api.cluster.Snapshot()
	near := func(id int32) bool {
		b, alive := snapshot.Broker(id)
		return alive && b.Rack == f.req.Rack
	}
	if near(f.api.cfg.BrokerID) {
		return false
	}
	id, ok := from.NearestReplica(ask.offset, near)
	if !ok {
		return false
	}
	out.Redirected, out.PreferredReplica = true, id
	out.LogStartOffset, out.HighWatermark = from.Offsets()
	f.failed = true // answer at once
	return true
}

// readFrom reads what is next for a consumer or for a follower.
func (f *fetching) readFrom(p *fetchPart, limit int, first bool) (partition.Fetched, error) {
	if f.replica.id < 0 {
		return p.from.Read(p.next, limit, first)
	}
	ask := partition.ReplicaFetch{
		Replica: f.replica.id, BrokerEpoch: f.replica.brokerEpoch, CurrentLeaderEpoch: p.ask.leaderEpoch,
		Offset: p.next, LastFetchedEpoch: p.ask.lastEpoch, LogStartOffset: p.ask.logStartOffset,
		MaxBytes: limit, AtLeastOne: first,
	}
	if p.rate > 0 {
		ask.Throttled, ask.Allowance = true, int(min(f.api.throttled.Portion(p.rate, time.Now()), math.MaxInt))
	}
	got, diverging, err := p.from.ReadReplica(ask)
	f.api.throttled.Spend(p.rate, int64(len(got.Records.Bytes)), time.Now())
	if diverging != nil {
		p.out.Diverging = &wire.DivergingEpoch{Epoch: diverging.Epoch, EndOffset: diverging.EndOffset}
	}
	return got, err
}

// leaderRate is the bytes a second that throttled replicas may have of this broker, if
// the partition's are that; 0 is no bound. A rate of nothing at all is the least that
// there is.
func (f *fetching) leaderRate(snapshot *cluster.Snapshot, of *cluster.Topic, index int32) int64 {
	if f.replica.id < 0 || of == nil || of.Settings.LeaderThrottled == "" {
		return 0
	}
	rate, set := snapshot.Rates.Changed(cluster.LeaderRate)
	if !set || !of.Settings.LeaderThrottled.Has(index, f.api.cfg.BrokerID) {
		return 0
	}
	return max(rate, 1)
}

// checkEpoch holds what a client believes to be p's leader epoch, -1 for nothing,
// against what it is (KIP-320).
func checkEpoch(p Partition, believed int32) error {
	if believed < 0 {
		return nil
	}
	switch _, have, _ := p.Role(); {
	case believed < have:
		return fmt.Errorf("%w: %d, not %d", errFencedEpoch, have, believed)
	case believed > have:
		return fmt.Errorf("%w: %d, not %d", errUnknownEpoch, have, believed)
	}
	return nil
}
