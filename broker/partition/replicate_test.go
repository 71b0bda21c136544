package partition

import (
	"bytes"
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
