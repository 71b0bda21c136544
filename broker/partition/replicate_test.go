package partition

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/topic"
)

// What all are to have is acknowledged, and readable, once all have it; what one is to
// have, once that one has. Followers end up with the leader's bytes, and learn of the
// high watermark with the fetch after.
func TestAllHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(2))
		p := r.leader()
		next := mustAppend(t, p, batch(3, 0))
		if err := await(p.Await, next); err != nil {
			t.Fatal(err)
		}
		told := waiting(p, next)
		r.catchUp(t, 2)
		if wantOffsets(t, "leader", p, 3, 0); len(told) != 0 {
			t.Errorf("told %v before all have it", <-told)
		}
		r.catchUp(t, 3)
		if wantOffsets(t, "leader", p, 3, 3); len(told) != 1 {
			t.Fatal("nothing told though all have it")
		}
		if err := <-told; err != nil {
			t.Error(err)
		}
		wantOffsets(t, "follower", r.hubs[2].p, 3, 0)
		r.catchUp(t, 2)
		wantOffsets(t, "follower", r.hubs[2].p, 3, 3)
		if got, want := bytesOf(t, r.hubs[2].p, 3), bytesOf(t, p, 3); !bytes.Equal(got, want) {
			t.Errorf("the follower has %x, the leader %x", got, want)
		}
	})
}

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

// While too few are in sync, records for all are refused, and nothing is committed.
// Those that get there all the same say that they are on too few.
func TestTooFewInSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(3))
		p := r.leader()
		told := waiting(p, mustAppend(t, p, batch(3, 0)))
		r.Order.ISR, r.Order.PartitionEpoch = []int32{1, 2}, r.PartitionEpoch+1
		r.tell(t, 1)
		if _, _, err := p.AppendAll(batch(1, 0)); !errors.Is(err, ErrNotEnoughReplicas) {
			t.Errorf("append for all: %v, want %v", err, ErrNotEnoughReplicas)
		}
		if _, _, err := p.Append(batch(1, 0)); err != nil {
			t.Errorf("append: %v", err)
		}
		r.catchUp(t, 2, 3)
		if wantOffsets(t, "leader", p, 4, 0); len(told) != 0 {
			t.Errorf("told %v", <-told)
		}
		r.settings.MinISR = 2
		r.hubs[1].Configure("press", 0, r.settings)
		if wantOffsets(t, "leader", p, 4, 4); len(told) != 1 {
			t.Fatal("nothing told though it is committed")
		}
		if err := <-told; err != nil {
			t.Error(err)
		}
		r.settings.MinISR = 3
		r.hubs[1].Configure("press", 0, r.settings)
		if err := await(p.AwaitAll, 4); !errors.Is(err, ErrNotEnoughReplicasAfterAppend) {
			t.Errorf("await: %v, want %v", err, ErrNotEnoughReplicasAfterAppend)
		}
	})
}

// A leader that is replaced takes nothing more, tells those who wait, and removes what
// the next one has not got; an answer that an earlier leader gave does nothing.
func TestLeadershipMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3)
		old := r.leader()
		next := mustAppend(t, old, batch(2, 0))
		all := waiting(old, next)
		if err := await(old.Await, next); err != nil { // acknowledged, here alone
			t.Fatal(err)
		}
		if c := r.hubs[1].ReplicaCounts(); c.AtRisk != 2 || c.Lost != 0 || c.Leaders != 1 {
			t.Errorf("%+v, want 2 records at risk", c)
		}
		wake := make(chan struct{}, 1)
		defer old.Watch(wake)()
		r.elect(t, 2, 1, 2, 3)
		if err := <-all; !errors.Is(err, ErrNotLeader) || len(wake) != 1 {
			t.Errorf("who waited was told %v, woken %d times; want %v, once", err, len(wake), ErrNotLeader)
		}
		for what, err := range map[string]error{
			"append":     func() error { _, _, err := old.Append(batch(1, 0)); return err }(),
			"append all": func() error { _, _, err := old.AppendAll(batch(1, 0)); return err }(),
			"await all":  await(old.AwaitAll, 1),
		} {
			if !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s: %v, want %v", what, err, ErrNotLeader)
			}
		}
		mustAppend(t, r.leader(), batch(4, 7))
		r.catchUp(t, 1, 3)
		wantOffsets(t, "leader", r.leader(), 7, 7)
		if got, want := bytesOf(t, old, 7), bytesOf(t, r.leader(), 7); !bytes.Equal(got, want) {
			t.Errorf("the old leader has %x, the new one %x", got, want)
		}
		if c := r.hubs[1].ReplicaCounts(); c.Lost != 2 || c.Leaders != 0 {
			t.Errorf("%+v, want 2 records lost", c)
		}
		if err := old.AppendFetched(r.LeaderEpoch-1, bytesOf(t, old, 7), 7, 0); !errors.Is(err, ErrFencedLeaderEpoch) {
			t.Errorf("an answer of the epoch before: %v, want %v", err, ErrFencedLeaderEpoch)
		}
		if err := old.AppendFetched(r.LeaderEpoch+1, nil, 7, 0); !errors.Is(err, ErrUnknownLeaderEpoch) {
			t.Errorf("an answer of the epoch after: %v, want %v", err, ErrUnknownLeaderEpoch)
		}
		if err := r.leader().AppendFetched(r.LeaderEpoch, nil, 7, 0); !errors.Is(err, ErrFencedLeaderEpoch) {
			t.Errorf("a leader takes an answer: %v, want %v", err, ErrFencedLeaderEpoch)
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

// An epoch that a leader began, and has no batch of, is none that it knows when it
// follows: the next leader would find it to diverge for ever.
func TestEpochWithoutBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3)
		r.elect(t, 1, 1, 2, 3)
		r.full = 1
		if _, _, err := r.leader().AppendAll(batch(1, 0)); !errors.Is(err, commitlog.ErrFull) {
			t.Fatalf("append to a full disk: %v", err)
		}
		r.full = 0
		r.elect(t, 2, 1, 2, 3)
		if end, epoch, _ := r.hubs[1].p.Position(); end != 3 || epoch != 0 {
			t.Errorf("the log ends at %d with leader epoch %d, want 3 and 0", end, epoch)
		}
		mustAppend(t, r.leader(), batch(2, 0))
		r.catchUp(t, 1, 3)
		wantOffsets(t, "leader", r.leader(), 5, 5)
	})
}

// Orders that are late change nothing.
func TestLateOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		r.elect(t, 1, 1, 2)
		step := func(what string, o Order, changed bool, want error) {
			t.Helper()
			if got, err := r.hubs[1].Apply("press", 0, 1, o); got != changed || !errors.Is(err, want) {
				t.Errorf("%s: changed %v, %v; want %v, %v", what, got, err, changed, want)
			}
		}
		o := r.Order
		o.LeaderEpoch--
		step("the epoch before", o, false, ErrFencedLeaderEpoch)
		o = r.Order
		step("the same", o, false, nil)
		o.PartitionEpoch--
		step("an earlier version", o, false, nil)
		o.Leader = 2
		step("another leader in the same epoch", o, false, ErrFencedLeaderEpoch)
		o = r.Order
		o.PartitionEpoch, o.ISR = o.PartitionEpoch+1, []int32{1}
		step("a later version", o, true, nil)
		if s := r.leader().State(); s.PartitionEpoch != o.PartitionEpoch || len(s.ISR) != 1 || len(s.Replicas) != 3 {
			t.Errorf("%+v, want partition epoch %d with one of three in the ISR", s, o.PartitionEpoch)
		}
		o.PartitionEpoch, o.ISR = r.PartitionEpoch-1, []int32{1}
		if changed, err := r.hubs[2].Apply("press", 0, 2, o); changed || err != nil || len(r.hubs[2].p.State().ISR) != 2 {
			t.Errorf("an earlier version for a follower: changed %v, %v, ISR %v", changed, err, r.hubs[2].p.State().ISR)
		}
		if _, err := r.hubs[1].Apply("press", 1, 1, o); !errors.Is(err, ErrUnknown) {
			t.Errorf("a partition that is not here: %v, want %v", err, ErrUnknown)
		}
	})
}

// A follower that becomes the leader knows what its producers have sent: from batches
// that it fetched, without those that it truncated.
func TestProducersMoveWithLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		for i := range int32(7) {
			mustAppend(t, r.leader(), sent(5, 0, 3*i, 3))
		}
		r.catchUp(t, 2, 3)
		mustAppend(t, r.leader(), sent(5, 0, 21, 3)) // the others do not get these
		mustAppend(t, r.leader(), sent(6, 0, 0, 3))
		if err := r.hubs[1].p.producers.save(); err != nil {
			t.Fatal(err)
		}
		r.elect(t, 2, 2, 3)
		for i := int32(2); i < 7; i++ {
			if base, _, err := r.leader().AppendAll(sent(5, 0, 3*i, 3)); err != nil || base != int64(3*i) {
				t.Errorf("sequence %d again: at offset %d, %v", 3*i, base, err)
			}
		}
		if _, _, err := r.leader().AppendAll(sent(5, 0, 24, 3)); !errors.Is(err, ErrOutOfOrderSequence) {
			t.Errorf("what follows a batch that is lost: %v, want %v", err, ErrOutOfOrderSequence)
		}
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 1, 3)
		r.elect(t, 1, 1, 2, 3)
		if base, _, err := r.leader().AppendAll(sent(5, 0, 21, 3)); err != nil || base != 24 {
			t.Errorf("the lost batch again: at offset %d, %v; want 24", base, err)
		}
		if base, _, err := r.leader().AppendAll(sent(6, 0, 0, 3)); err != nil || base != 27 {
			t.Errorf("the lost batch of the other again: at offset %d, %v; want 27", base, err)
		}
	})
}

// A follower whose log its leader has left behind begins where the leader's begins, and
// knows no producer.
func TestFollowerStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), sent(9, 0, 0, 3))
		r.catchUp(t, 2, 3)
		r.elect(t, 1, 1, 2)
		mustAppend(t, r.leader(), sent(5, 0, 0, 4))
		mustAppend(t, r.leader(), batch(2, 0))
		r.catchUp(t, 2)
		r.catchUp(t, 2)
		if _, err := r.leader().DeleteBefore(5); err != nil {
			t.Fatal(err)
		}
		r.catchUp(t, 2)
		if s := r.hubs[2].p.State(); s.LogStartOffset != 5 {
			t.Errorf("the follower that has all starts at %d, want 5 as its leader", s.LogStartOffset)
		}
		r.catchUp(t, 3)
		s := r.hubs[3].p.State()
		if s.LogStartOffset != 5 || s.LogEndOffset != 9 {
			t.Errorf("the follower that was behind has %d to %d, want 5 to 9", s.LogStartOffset, s.LogEndOffset)
		}
		if got, want := bytesOf(t, r.hubs[3].p, 9), bytesOf(t, r.leader(), 9); !bytes.Equal(got, want) {
			t.Errorf("the follower has %x, the leader %x", got, want)
		}
		if all := r.hubs[3].p.ActiveProducers(); len(all) != 1 || all[0].ID != 5 {
			t.Errorf("producers %v, want the one of the batch at the start", all)
		}
	})
}

// Followers' logs start where their leaders' do: one at a time with a fetch, since the
// fetches of all wait for it, and all of them when retention comes by.
func TestFollowerStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		time.Sleep(time.Second)
		for range 4 {
			mustAppend(t, r.leader(), batch(1, 0))
		}
		r.catchUp(t, 2, 3)
		r.catchUp(t, 2, 3)
		p := r.hubs[2].p
		for _, step := range []struct {
			delete, want int64
			then         func()
		}{
			{1, 1, func() {}},
			{2, 1, func() {}},
			{2, 2, func() { p.retain(r.hubs[2].log) }},
			{3, 3, func() { time.Sleep(startMoves) }},
		} {
			if _, err := r.leader().DeleteBefore(step.delete); err != nil {
				t.Fatal(err)
			}
			step.then()
			r.catchUp(t, 2)
			if got := p.State().LogStartOffset; got != step.want {
				t.Errorf("the leader starts at %d, the follower at %d, want %d", step.delete, got, step.want)
			}
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

// A replica that is silent leaves the ISR once the controller agrees, and comes back
// when it has caught up.
func TestISRFollowsTheReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		set := r.hubs[1].Set
		told := waiting(r.leader(), mustAppend(t, r.leader(), batch(3, 0)))
		r.catchUp(t, 2)
		time.Sleep(31 * time.Second)
		r.catchUp(t, 2)
		proposals := set.ISRProposals(time.Now())
		if len(proposals) != 1 || proposals[0].TopicID != pressID || proposals[0].Topic != "press" || len(proposals[0].ISR) != 2 {
			t.Fatalf("proposed %+v, want the ISR without broker 3", proposals)
		}
		if again := set.ISRProposals(time.Now()); len(again) != 0 || len(told) != 0 {
			t.Errorf("proposed %+v, told %d times, before the answer", again, len(told))
		}
		set.ISRAnswered(proposals[0], ISRAnswer{Leader: 1, LeaderEpoch: r.LeaderEpoch, PartitionEpoch: 8, ISR: proposals[0].ISR})
		if err := <-told; err != nil {
			t.Error(err)
		}
		if c := set.ReplicaCounts(); c.UnderReplicated != 1 || c.UnderMinISR != 0 {
			t.Errorf("%+v, want one partition that is under-replicated", c)
		}
		r.dead[3] = true
		r.catchUp(t, 3)
		if len(set.ISRWanted()) != 0 {
			t.Error("wants to let a dead broker in")
		}
		delete(r.dead, 3)
		r.catchUp(t, 3)
		<-set.ISRWanted()
		for _, tc := range []struct {
			err   error
			after time.Duration
		}{
			{ErrISRRefused, time.Second},
			{errors.New("connection reset"), 100 * time.Millisecond},
			{ErrISRSuperseded, time.Hour},
		} {
			proposals = set.ISRProposals(time.Now())
			if len(proposals) != 1 || len(proposals[0].ISR) != 3 || proposals[0].PartitionEpoch != 8 {
				t.Fatalf("before the answer %v: proposed %+v, want all three", tc.err, proposals)
			}
			set.ISRAnswered(proposals[0], ISRAnswer{Err: tc.err})
			time.Sleep(tc.after)
		}
		if proposals = set.ISRProposals(time.Now()); len(proposals) != 0 {
			t.Errorf("proposed %+v, though an order is to come", proposals)
		}
	})
}

// The high watermark of a partition with other replicas outlasts the process, and is
// not taken to be the end of the log.
func TestHighWatermarkIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3)
		mustAppend(t, r.leader(), batch(2, 0))
		r.catchUp(t, 2)
		r.hubs[2].SaveHighWatermarks()
		for _, id := range []int32{1, 2} {
			r.stop(id, false, 1)
			if !r.start(t, id) {
				t.Fatalf("broker %d does not start", id)
			}
		}
		wantOffsets(t, "saved", r.hubs[2].p, 5, 3)
		wantOffsets(t, "not saved", r.hubs[1].p, 5, 0)
		r.hubs[1].Lead("press", 0, 9)
		wantOffsets(t, "alone", r.hubs[1].p, 5, 5)
	})
}

// A partition that stops being a replica keeps its records, and takes nothing until an
// order says what it is.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3)
		told := waiting(r.leader(), mustAppend(t, r.leader(), batch(1, 0)))
		r.hubs[1].Stop("press", 0)
		if err := <-told; !errors.Is(err, ErrNotLeader) {
			t.Errorf("who waited was told %v, want %v", err, ErrNotLeader)
		}
		r.hubs[2].Stop("press", 0)
		if err := r.hubs[2].p.AppendFetched(r.LeaderEpoch, nil, 3, 0); !errors.Is(err, ErrFencedLeaderEpoch) {
			t.Errorf("a fetch: %v, want %v", err, ErrFencedLeaderEpoch)
		}
		if _, err := r.hubs[1].Apply("press", 0, 1, r.Order); err != nil {
			t.Fatal(err)
		}
		if leader, epoch, leads := r.hubs[1].p.Role(); leader != 1 || epoch != r.LeaderEpoch || !leads {
			t.Errorf("leader %d in epoch %d, leads %v; want the same as before", leader, epoch, leads)
		}
		wantOffsets(t, "leader", r.leader(), 4, 3)
	})
}

// A disk that fails takes a replica offline, whatever its role.
func TestOfflineReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, topic.Defaults())
		if err := await(r.leader().Await, mustAppend(t, r.leader(), batch(3, 0))); err != nil {
			t.Fatal(err)
		}
		r.disks[2].CrashAt(0)
		if err := r.fetch(t, 2); !errors.Is(err, commitlog.ErrOffline) {
			t.Errorf("a fetch: %v, want %v", err, commitlog.ErrOffline)
		}
		synctest.Wait()
		if _, err := r.hubs[2].Apply("press", 0, 2, Order{Leader: 2, LeaderEpoch: 9}); !errors.Is(err, commitlog.ErrOffline) {
			t.Errorf("an order: %v, want %v", err, commitlog.ErrOffline)
		}
	})
}

// A follower whose log ends where its leader's starts keeps nothing of it: the leader
// knows no epochs from before, and what was appended in an earlier one by a leader that
// is gone could pass for what all had.
func TestWhatNobodyCanCompareGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(1))
		mustAppend(t, r.leader(), batch(3, 0))
		r.catchUp(t, 2, 3)
		for range 9 {
			mustAppend(t, r.leader(), batch(1, 0)) // the others do not get these
		}
		r.dead[1] = true
		r.Leader, r.ISR, r.LeaderEpoch, r.PartitionEpoch = 2, []int32{2, 3}, r.LeaderEpoch+1, r.PartitionEpoch+1
		r.tell(t, 2)
		r.tell(t, 3)
		for range 4 {
			mustAppend(t, r.leader(), batch(2, 0))
		}
		r.catchUp(t, 3)
		r.catchUp(t, 3)
		if _, err := r.leader().DeleteBefore(9); err != nil {
			t.Fatal(err)
		}
		r.hubs[1].startMoved.Store(time.Now().UnixNano()) // it is another partition's turn to start later
		delete(r.dead, 1)
		r.tell(t, 1)
		for range 2 { // the first truncates
			if err := r.fetch(t, 1); err != nil {
				t.Fatal(err)
			}
		}
		if s := r.hubs[1].p.State(); s.LogStartOffset != 9 || s.LogEndOffset != 11 {
			t.Errorf("the log is %d to %d with high watermark %d, want 9 to 11 as its leader's", s.LogStartOffset, s.LogEndOffset, s.HighWatermark)
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

// What is deleted at the leader is gone everywhere when the low watermark has passed it,
// and who waits for that learns of it, and when this broker leads no longer.
func TestLowWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, minISR(2))
		p := r.leader()
		for range 3 {
			mustAppend(t, p, batch(3, 0))
		}
		r.catchUp(t, 2, 3)
		r.catchUp(t, 2, 3)
		wake := make(chan struct{}, 1)
		defer p.WatchLow(wake)()
		low := func(want int64) {
			t.Helper()
			if got, err := p.LowWatermark(); got != want || err != nil {
				t.Errorf("low watermark %d, %v; want %d", got, err, want)
			}
		}
		fetch := func(id int32) {
			t.Helper()
			select {
			case <-wake:
			default:
			}
			if err := r.fetch(t, id); err != nil {
				t.Fatal(err)
			}
			if len(wake) == 0 {
				t.Errorf("nobody is told that broker %d has fetched", id)
			}
		}
		if _, err := p.DeleteBefore(6); err != nil {
			t.Fatal(err)
		}
		low(0)
		fetch(2) // learns of it
		fetch(2)
		low(0)
		r.hubs[3].startMoved.Store(time.Now().UnixNano()) // it is another partition's turn
		fetch(3)
		fetch(3)
		low(0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.hubs[3].RunStarts(ctx) }()
		time.Sleep(startMoves)
		synctest.Wait()
		fetch(3)
		low(6)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		select {
		case <-wake:
		default:
		}
		r.elect(t, 2, 1, 2, 3)
		if _, err := p.LowWatermark(); !errors.Is(err, ErrNotLeader) || len(wake) == 0 {
			t.Errorf("after an election: %v, %d are told", err, len(wake))
		}
	})
}
