package partition

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

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
