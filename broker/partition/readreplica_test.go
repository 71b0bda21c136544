package partition

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/headwater/headwater/broker/commitlog"
)

// A follower gets nothing that a power cut could take from the leader.
func TestFollowersReadWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Sync)
		p := b.partition(t)
		order := Order{Leader: 7, LeaderEpoch: 5, PartitionEpoch: 1, Replicas: []int32{7, 8}, ISR: []int32{7, 8}}
		if _, err := b.set.Apply("press", 0, 7, order); err != nil {
			t.Fatal(err)
		}
		wake := make(chan struct{}, 1)
		defer p.WatchEnd(wake)()
		appendTo(t, p, batch(3, 0))
		synctest.Wait()
		ask := ReplicaFetch{Replica: 8, BrokerEpoch: -1, CurrentLeaderEpoch: 5, Offset: 0, LastFetchedEpoch: -1, MaxBytes: 1 << 20}
		f, diverging, err := p.ReadReplica(ask)
		if len(f.Records.Bytes) != 0 || diverging != nil || err != nil || len(wake) != 0 {
			t.Errorf("before the sync: %d bytes, %v, %v, woken %d times", len(f.Records.Bytes), diverging, err, len(wake))
		}
		b.leave <- nil
		synctest.Wait()
		if f, _, err = p.ReadReplica(ask); len(f.Records.Bytes) == 0 || err != nil || len(wake) != 1 {
			t.Errorf("after the sync: %d bytes, %v, woken %d times", len(f.Records.Bytes), err, len(wake))
		}
	})
}

// Who goes by another leader epoch, or is no replica, learns it.
func TestReadReplicaRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3)
		r.elect(t, 1, 1, 2, 3)
		ask := ReplicaFetch{Replica: 2, BrokerEpoch: -1, CurrentLeaderEpoch: 1, Offset: 3, LastFetchedEpoch: 0, MaxBytes: 100}
		for name, tc := range map[string]struct {
			alter func(*ReplicaFetch)
			want  error
		}{
			"right":        {func(*ReplicaFetch) {}, nil},
			"epochNotTold": {func(f *ReplicaFetch) { f.CurrentLeaderEpoch = -1 }, nil},
			"earlierEpoch": {func(f *ReplicaFetch) { f.CurrentLeaderEpoch = 0 }, ErrFencedLeaderEpoch},
			"laterEpoch":   {func(f *ReplicaFetch) { f.CurrentLeaderEpoch = 2 }, ErrUnknownLeaderEpoch},
			"stranger":     {func(f *ReplicaFetch) { f.Replica = 9 }, ErrUnknownLeaderEpoch},
			"beyond":       {func(f *ReplicaFetch) { f.Offset, f.LastFetchedEpoch = 4, -1 }, commitlog.ErrOffsetOutOfRange},
			"before":       {func(f *ReplicaFetch) { f.Offset = -1 }, commitlog.ErrOffsetOutOfRange},
			"epochToCome":  {func(f *ReplicaFetch) { f.LastFetchedEpoch = 7 }, commitlog.ErrOffsetOutOfRange},
		} {
			f := ask
			tc.alter(&f)
			if _, diverging, err := r.leader().ReadReplica(f); !errors.Is(err, tc.want) || diverging != nil {
				t.Errorf("%s: %v, %v; want %v", name, diverging, err, tc.want)
			}
		}
		ask.Offset = 9
		if _, diverging, err := r.leader().ReadReplica(ask); err != nil || diverging == nil || *diverging != (EpochEnd{Epoch: 0, EndOffset: 3}) {
			t.Errorf("a longer log: %v, %v; want it to diverge at 3", diverging, err)
		}
		if _, _, err := r.hubs[2].p.ReadReplica(ReplicaFetch{Replica: 3, CurrentLeaderEpoch: 1}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower: %v, want %v", err, ErrNotLeader)
		}
	})
}

// Readers of a follower stop at what it knows to be committed. What it has not got yet
// is not out of range.
func TestReadFromFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3)
		r.catchUp(t, 2)
		mustAppend(t, r.leader(), batch(2, 0))
		r.catchUp(t, 2)
		p := r.hubs[2].p
		if f, err := p.Read(0, 1<<20, true); err != nil || f.HighWatermark != 3 || len(f.Records.Bytes) != len(bytesOf(t, p, 3)) {
			t.Errorf("%d bytes up to %d, %v; want those up to 3", len(f.Records.Bytes), f.HighWatermark, err)
		}
		for offset, want := range map[int64]error{4: nil, 5: nil, 6: ErrOffsetNotAvailable, -1: commitlog.ErrOffsetOutOfRange} {
			if f, err := p.Read(offset, 1<<20, true); !errors.Is(err, want) || len(f.Records.Bytes) != 0 {
				t.Errorf("offset %d: %d bytes, %v; want %v", offset, len(f.Records.Bytes), err, want)
			}
		}
	})
}

// A new leader says what the latest offset is once it has committed what it found.
func TestLatestOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3) // and do not know yet that it is committed
		r.elect(t, 2, 2, 3)
		if got, err := r.leader().LatestOffset(); !errors.Is(err, ErrOffsetNotAvailable) {
			t.Errorf("%d, %v; want %v", got, err, ErrOffsetNotAvailable)
		}
		r.catchUp(t, 3)
		if got, err := r.leader().LatestOffset(); got != 3 || err != nil {
			t.Errorf("%d, %v; want 3", got, err)
		}
	})
}

// A throttled replica that is out of sync gets what the rate has left, and is known to
// be where it is; one that is in sync gets all.
func TestThrottledReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		r.elect(t, 1, 1, 2)
		p := r.leader()
		mustAppend(t, p, batch(3, 0))
		next := mustAppend(t, p, batch(3, 0))
		if err := await(p.Await, next); err != nil {
			t.Fatal(err)
		}
		one, all := len(bytesOf(t, p, 3)), len(bytesOf(t, p, next))
		for _, tc := range []struct {
			replica   int32
			throttled bool
			allowance int
			want      int
		}{
			{3, true, 0, 0}, {3, true, one, one}, {3, true, 1 << 20, all}, {3, false, 0, all}, {2, true, 0, all},
		} {
			f, _, err := p.ReadReplica(ReplicaFetch{
				Replica: tc.replica, BrokerEpoch: -1, CurrentLeaderEpoch: r.LeaderEpoch, Offset: 0, LastFetchedEpoch: -1,
				MaxBytes: 1 << 20, AtLeastOne: true, Throttled: tc.throttled, Allowance: tc.allowance,
			})
			if err != nil || len(f.Records.Bytes) != tc.want || p.leading.FollowerEnd(tc.replica) != 0 {
				t.Errorf("%+v: %d bytes, %v, known to end at %d", tc, len(f.Records.Bytes), err, p.leading.FollowerEnd(tc.replica))
			}
			f.Records.Release()
		}
	})
}
