package replica

import (
	"testing"
	"time"
)

// When a replica counts as caught up, by its fetches: times in seconds, where it
// fetched from, and where the leader's log ended then.
func TestCaughtUpAt(t *testing.T) {
	type fetched struct {
		at        float64
		offset    int64
		leaderEnd int64
	}
	for name, tc := range map[string]struct {
		fetches []fetched
		want    float64
	}{
		"never":            {[]fetched{{1, 50, 100}}, 0},
		"atTheEnd":         {[]fetched{{1, 100, 100}}, 1},
		"onceIsRemembered": {[]fetched{{1, 100, 100}, {2, 110, 150}, {3, 140, 200}}, 1},
		"aStepBehind":      {[]fetched{{1, 50, 100}, {2, 100, 150}, {3, 150, 200}}, 2},
		"beyondTheEnd":     {[]fetched{{1, 120, 100}}, 1},
		"firstFetchAlone":  {[]fetched{{1, 0, 100}}, 0},
	} {
		r := newRemote(2, true, start)
		for _, f := range tc.fetches {
			r.fetched(Fetch{Replica: 2, Offset: f.offset}, f.leaderEnd, at(f.at))
		}
		if !r.caughtUpAt.Equal(at(tc.want)) {
			t.Errorf("%s: caught up at %v, want %v", name, r.caughtUpAt.Sub(start), at(tc.want).Sub(start))
		}
	}
}

// A follower leaves the ISR once it has not been caught up for longer than the maximal
// lag, and not because nothing is written.
func TestShrink(t *testing.T) {
	l := three(Config{MinISR: 1})
	fetch(t, l, 2, 100, at(1))
	fetch(t, l, 3, 100, at(1))
	propose(t, l, at(1000)) // both have all there is
	l.Durable(110, at(1000))
	fetch(t, l, 2, 110, at(1001))
	p := propose(t, l, at(1001), 1, 2) // what 3 has not got was not there when it came last, long ago
	if p.LeaderEpoch != 5 || p.PartitionEpoch != 7 {
		t.Errorf("proposed in epochs %d and %d, want 5 and 7", p.LeaderEpoch, p.PartitionEpoch)
	}
	wantHighWatermark(t, l, 100) // a shrink counts once it is confirmed
	l.Answered(p, Answer{Accepted, 5, 8, []int32{1, 2}}, at(1002))
	wantHighWatermark(t, l, 110)
	if l.PartitionEpoch() != 8 || len(l.ISR()) != 2 {
		t.Errorf("partition epoch %d, ISR %v; want 8, [1 2]", l.PartitionEpoch(), l.ISR())
	}
}

// Those who never fetch leave after the maximal lag, not before.
func TestShrinkOfTheSilent(t *testing.T) {
	l := three(Config{MinISR: 1})
	propose(t, l, at(30))
	propose(t, l, at(30.1), 1)
}

// A replica enters the ISR when it has all that is committed and all that the leader
// had when its epoch began, and its broker is alive. It counts at once.
func TestExpand(t *testing.T) {
	dead := map[int32]bool{3: true}
	l := three(Config{MinISR: 1, Live: func(id int32) bool { return !dead[id] }})
	l.Reorder(Order{LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}, at(1))
	fetch(t, l, 2, 100, at(1))
	wantHighWatermark(t, l, 100)
	l.Durable(120, at(2))
	fetch(t, l, 3, 100, at(2))
	propose(t, l, at(2)) // 3 is not alive
	dead[3] = false
	fetch(t, l, 3, 99, at(2))
	propose(t, l, at(2)) // 3 has less than is committed
	if l.Wants(at(2)) {
		t.Error("wants to let someone in who cannot")
	}
	fetch(t, l, 3, 100, at(3))
	if !l.Wants(at(3)) {
		t.Error("does not want to let 3 in")
	}
	p := propose(t, l, at(3), 1, 2, 3)
	fetch(t, l, 2, 120, at(3))
	wantHighWatermark(t, l, 100) // 3 counts, though nothing is confirmed
	propose(t, l, at(4))         // one at a time
	l.Answered(p, Answer{Accepted, 5, 9, []int32{1, 2, 3}}, at(5))
	fetch(t, l, 3, 120, at(5))
	wantHighWatermark(t, l, 120)
}

// Committed is not enough: until the leader has committed what it found, a replica
// could lack what an acknowledgement of the leader before promised.
func TestExpandNeedsTheEpochStart(t *testing.T) {
	l := three(Config{MinISR: 2})
	l.Reorder(Order{LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []int32{1, 2, 3}, ISR: []int32{1}}, at(1))
	wantHighWatermark(t, l, 90) // too few
	fetch(t, l, 2, 95, at(2))
	propose(t, l, at(2))
	fetch(t, l, 2, 100, at(3))
	propose(t, l, at(3), 1, 2)
}

// One who is caught up and may enter holds the high watermark back before it has
// entered; one who is far behind does not.
func TestCaughtUpReplicaIsAwaited(t *testing.T) {
	l := three(Config{MinISR: 1})
	l.Reorder(Order{LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}, at(1))
	fetch(t, l, 2, 100, at(1))
	fetch(t, l, 3, 100, at(1))
	l.Durable(110, at(2))
	fetch(t, l, 2, 110, at(2))
	wantHighWatermark(t, l, 100)
	fetch(t, l, 2, 110, at(31))
	wantHighWatermark(t, l, 100)
	propose(t, l, at(31.1)) // time has made it one who is far behind
	wantHighWatermark(t, l, 110)
}

// What each outcome leaves behind: the ISR, whether the proposed one still counts, and
// after how many seconds there is a proposal again.
func TestAnswers(t *testing.T) {
	const never = 1000
	for name, tc := range map[string]struct {
		answer Answer
		isr    int
		counts bool // 3, whom the proposal takes in
		next   float64
	}{
		"accepted":           {Answer{Accepted, 5, 9, []int32{1, 2, 3}}, 3, true, never},
		"acceptedOtherwise":  {Answer{Accepted, 5, 9, []int32{1, 2}}, 2, false, 0},
		"ofAnotherEpoch":     {Answer{Accepted, 6, 9, []int32{1, 2, 3}}, 2, true, never},
		"ofAnEarlierVersion": {Answer{Accepted, 5, 7, []int32{1, 2, 3}}, 2, true, never},
		"refused":            {Answer{Outcome: Refused}, 2, false, 1},
		"superseded":         {Answer{Outcome: Superseded}, 2, true, never},
		"failed":             {Answer{Outcome: Failed}, 2, true, 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			l := three(Config{MinISR: 1})
			l.Reorder(Order{LeaderEpoch: 5, PartitionEpoch: 8, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}, at(0))
			fetch(t, l, 2, 100, at(0))
			fetch(t, l, 3, 100, at(0))
			p := propose(t, l, at(0), 1, 2, 3)
			l.Answered(p, tc.answer, at(0))
			if len(l.ISR()) != tc.isr || l.counts(3) != tc.counts {
				t.Errorf("ISR %v, 3 counts %v; want %d of them, %v", l.ISR(), l.counts(3), tc.isr, tc.counts)
			}
			if tc.next > 0 {
				propose(t, l, at(tc.next-0.001))
			}
			if tc.next < never {
				propose(t, l, at(tc.next), 1, 2, 3)
			}
		})
	}
}

// A proposal that fails is made again, the same, later each time.
func TestRetriesSlowDown(t *testing.T) {
	l := three(Config{MinISR: 1})
	now := at(31)
	p := propose(t, l, now, 1)
	for _, wait := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		l.Answered(p, Answer{Outcome: Failed}, now)
		propose(t, l, now.Add(wait*time.Millisecond-1))
		fetch(t, l, 2, 100, now) // it is back, which changes nothing: the proposal may have been applied
		now = now.Add(wait * time.Millisecond)
		p = propose(t, l, now, 1)
	}
}

// An answer that comes after an order changes nothing: the order has said more.
func TestLateAnswer(t *testing.T) {
	l := three(Config{MinISR: 1})
	p := propose(t, l, at(31), 1)
	l.Reorder(Order{LeaderEpoch: 5, PartitionEpoch: 12, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}, at(32))
	l.Answered(p, Answer{Accepted, 5, 13, []int32{1}}, at(33))
	if len(l.ISR()) != 2 || l.PartitionEpoch() != 12 {
		t.Errorf("ISR %v in partition epoch %d; want [1 2] in 12", l.ISR(), l.PartitionEpoch())
	}
}

// A proposal has one answer: what is said of it later may be of a copy that was applied
// or refused at another time.
func TestSecondAnswer(t *testing.T) {
	l := three(Config{MinISR: 1})
	p := propose(t, l, at(31), 1)
	l.Answered(p, Answer{Outcome: Failed}, at(31))
	l.Answered(p, Answer{Accepted, 5, 8, []int32{1}}, at(31))
	if len(l.ISR()) != 3 {
		t.Errorf("ISR %v, want that of before", l.ISR())
	}
	propose(t, l, at(31.1), 1)
}

// A leader that cannot reach the controller does not shrink its ISR: what needs all
// replicas waits, however long.
func TestCutOffLeaderCommitsNothing(t *testing.T) {
	l := three(Config{MinISR: 1})
	fetch(t, l, 2, 100, at(1))
	fetch(t, l, 3, 100, at(1))
	l.Durable(200, at(2))
	for hour := range 24 {
		now := at(float64(hour+1) * 3600)
		if p, ok := l.Propose(now); ok {
			l.Answered(p, Answer{Outcome: Failed}, now)
		}
	}
	wantHighWatermark(t, l, 100)
}

// A pinned leader asks for the ISR of itself alone, and lets nobody in. Others hold
// nothing back.
func TestPinned(t *testing.T) {
	o := Order{LeaderEpoch: 1, PartitionEpoch: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}, Pinned: true}
	l := NewLeader(Config{Self: 1, MaxLag: DefaultMaxLag, MinISR: 1}, o, 0, 0, 0, start)
	if !l.Wants(start) {
		t.Error("does not want to be alone in the ISR")
	}
	p := propose(t, l, start, 1)
	l.Durable(10, at(1))
	wantHighWatermark(t, l, 0)
	l.Answered(p, Answer{Accepted, 1, 2, []int32{1}}, at(1))
	wantHighWatermark(t, l, 10)
	fetch(t, l, 2, 10, at(2))
	l.Durable(20, at(2))
	propose(t, l, at(3))
	wantHighWatermark(t, l, 20)
	if l.Wants(at(3)) {
		t.Error("wants to change an ISR that is right")
	}
}
