package replica

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// three is a leader, broker 1, of three replicas that are all in the ISR. Its log ends
// at 100 and is durable up to there; 90 is committed.
func three(cfg Config) *Leader {
	cfg.Self, cfg.MaxLag = 1, 30*time.Second
	o := Order{LeaderEpoch: 5, PartitionEpoch: 7, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}
	return NewLeader(cfg, o, 100, 100, 90, start)
}

func fetch(t *testing.T, l *Leader, id int32, offset int64, now time.Time) {
	t.Helper()
	if err := l.Fetched(Fetch{Replica: id, BrokerEpoch: Unknown, Offset: offset, LogStartOffset: Unknown}, now); err != nil {
		t.Fatal(err)
	}
}

func wantHighWatermark(t *testing.T, l *Leader, want int64) {
	t.Helper()
	if got := l.HighWatermark(); got != want {
		t.Errorf("high watermark %d, want %d", got, want)
	}
}

func propose(t *testing.T, l *Leader, now time.Time, want ...int32) Proposal {
	t.Helper()
	p, ok := l.Propose(now)
	switch {
	case !ok && len(want) > 0:
		t.Fatalf("nothing proposed, want ISR %v", want)
	case ok && !slices.Equal(p.ISR, want):
		t.Fatalf("proposed ISR %v, want %v", p.ISR, want)
	}
	return p
}

// The high watermark follows the slowest of the ISR, and the leader's own disk is one
// of them.
func TestHighWatermarkFollowsTheSlowest(t *testing.T) {
	l := three(Config{MinISR: 1})
	l.Durable(110, at(1))
	wantHighWatermark(t, l, 90) // nobody has said where he is
	fetch(t, l, 2, 108, at(1))
	wantHighWatermark(t, l, 90)
	fetch(t, l, 3, 105, at(1))
	wantHighWatermark(t, l, 105)
	fetch(t, l, 3, 120, at(2)) // he had more than is durable here, from the leader before
	fetch(t, l, 2, 120, at(2))
	wantHighWatermark(t, l, 110)
	fetch(t, l, 2, 60, at(3))
	wantHighWatermark(t, l, 110) // never back
}

// What the leader was told as leader of the epoch before does not count: its followers
// may have truncated since.
func TestNewEpochKnowsNothing(t *testing.T) {
	l := three(Config{MinISR: 1})
	fetch(t, l, 2, 100, at(1))
	fetch(t, l, 3, 100, at(1))
	wantHighWatermark(t, l, 100)
	l = NewLeader(l.cfg, Order{LeaderEpoch: 6, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}, 120, 120, 100, at(2))
	if got := l.FollowerEnd(2); got != Unknown {
		t.Errorf("the follower's end is %d, want unknown", got)
	}
	fetch(t, l, 3, 120, at(3))
	wantHighWatermark(t, l, 100)
}

// A later order of the same epoch keeps what is known of those who stay.
func TestReorderKeepsFollowers(t *testing.T) {
	l := three(Config{MinISR: 1})
	fetch(t, l, 2, 100, at(1))
	l.Reorder(Order{LeaderEpoch: 5, PartitionEpoch: 9, Replicas: []int32{1, 2, 4}, ISR: []int32{1, 2}}, at(2))
	wantHighWatermark(t, l, 100) // 3 is no replica any more, and 4 is not in the ISR
	if l.FollowerEnd(2) != 100 || l.FollowerEnd(3) != Unknown || l.PartitionEpoch() != 9 {
		t.Errorf("ends %d, %d, partition epoch %d; want 100, unknown, 9", l.FollowerEnd(2), l.FollowerEnd(3), l.PartitionEpoch())
	}
	err := l.Fetched(Fetch{Replica: 3, Offset: 100}, at(3))
	if !errors.Is(err, ErrNotReplica) {
		t.Errorf("the fetch of a replica that was: %v, want %v", err, ErrNotReplica)
	}
}

// With fewer in the ISR than min.insync.replicas nothing is committed; of fewer
// replicas than that, all must be in it.
func TestMinISR(t *testing.T) {
	for name, tc := range map[string]struct {
		minISR        int
		replicas, isr []int32
		under         bool
	}{
		"enough":       {2, []int32{1, 2, 3}, []int32{1, 2}, false},
		"under":        {2, []int32{1, 2, 3}, []int32{1}, true},
		"fewReplicas":  {2, []int32{1}, []int32{1}, false},
		"allOfThem":    {5, []int32{1, 2}, []int32{1, 2}, false},
		"notAllOfThem": {5, []int32{1, 2}, []int32{1}, true},
	} {
		l := NewLeader(Config{Self: 1, MaxLag: DefaultMaxLag, MinISR: tc.minISR}, Order{Replicas: tc.replicas, ISR: tc.isr}, 0, 0, 0, start)
		for _, id := range tc.replicas {
			if id != 1 {
				fetch(t, l, id, 10, at(1))
			}
		}
		l.Durable(10, at(1))
		if got := l.UnderMinISR(); got != tc.under {
			t.Errorf("%s: under min.insync.replicas %v, want %v", name, got, tc.under)
		}
		if got := l.HighWatermark() == 0; got != tc.under {
			t.Errorf("%s: high watermark %d, want it to stay %v", name, l.HighWatermark(), tc.under)
		}
		l.SetMinISR(1, at(1))
		if l.UnderMinISR() || l.HighWatermark() != 10 {
			t.Errorf("%s: with 1 as minimum: under it %v, high watermark %d", name, l.UnderMinISR(), l.HighWatermark())
		}
	}
}

// A fetch that was on its way when its broker registered again is not taken for one of
// the broker as it is now.
func TestStaleBrokerEpoch(t *testing.T) {
	l := three(Config{MinISR: 1})
	if err := l.Fetched(Fetch{Replica: 2, BrokerEpoch: 40, Offset: 95}, at(1)); err != nil {
		t.Fatal(err)
	}
	err := l.Fetched(Fetch{Replica: 2, BrokerEpoch: 39, Offset: 100}, at(2))
	if !errors.Is(err, ErrStaleBrokerEpoch) || l.FollowerEnd(2) != 95 {
		t.Errorf("%v, end %d; want %v, 95", err, l.FollowerEnd(2), ErrStaleBrokerEpoch)
	}
}

func TestLowWatermark(t *testing.T) {
	dead := map[int32]bool{}
	l := three(Config{MinISR: 1, Live: func(id int32) bool { return !dead[id] }})
	step := func(id int32, logStart, want int64) {
		t.Helper()
		if err := l.Fetched(Fetch{Replica: id, BrokerEpoch: Unknown, Offset: 100, LogStartOffset: logStart}, at(1)); err != nil {
			t.Fatal(err)
		}
		if got := l.LowWatermark(50); got != want {
			t.Errorf("low watermark %d, want %d", got, want)
		}
	}
	step(2, 40, Unknown) // 3 has not said
	step(3, 60, 40)
	step(2, 55, 50) // the leader's own
	step(3, 10, 10)
	dead[3] = true
	step(2, 45, 45)
}
