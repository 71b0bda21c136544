package replication

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

var (
	press = cluster.TopicPartition{Topic: "press"}
	pump  = cluster.TopicPartition{Topic: "pump", Index: 3}
)

// A follower catches up, keeps up, and moves its start and its high watermark with
// the leader's: by topic id and, where one has none, by name.
func TestFollow(t *testing.T) {
	for name, noID := range map[string]bool{"byID": false, "byName": true} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, nil, func(r *region) {
				r.host(1, press, newMemLog(4, 1, 1, 4), newMemLog(4))
				r.host(1, pump, newMemLog(2, 2), newMemLog(2))
				if noID {
					r.leaders[1].ids[pump] = topic.ID{}
				}
				r.follow(1, press)
				r.follow(1, pump)
				after(time.Second)
				r.grow(1, press, 3)
				after(time.Second)
				r.same(1, press)
				r.same(1, pump)
				r.leaders[1].change(func() { r.leaders[1].logs[press].with(func() { r.leaders[1].logs[press].start = 3 }) })
				after(time.Second)
				if got := r.replicas[press]; got.start != 3 || got.hw != 12 {
					t.Errorf("start %d, high watermark %d; want 3 and 12", got.start, got.hw)
				}
				all := r.leaders[1].fetched()
				for _, f := range all[len(all)-1:] { // of both partitions
					if (f.Version == fetchDiverging) != noID || f.Version >= fetchReplica && f.ReplicaState.ID != 9 || f.Version < fetchReplica && f.ReplicaID != 9 {
						t.Errorf("fetch of version %d by %d or %d", f.Version, f.ReplicaID, f.ReplicaState.ID)
					}
				}
			})
		})
	}
}

// A follower that led or followed in other epochs removes what the leader has not,
// epoch by epoch, and no more than that.
func TestDivergence(t *testing.T) {
	for name, tc := range map[string]struct {
		theirs, ours []int32 // epochs of batches of two records
		cuts         []int64 // where our log was cut, in order
	}{
		"same":          {[]int32{1, 2}, []int32{1, 2}, nil},
		"behind":        {[]int32{1, 2, 2}, []int32{1}, nil},
		"tail":          {[]int32{1, 3}, []int32{1, 1, 1}, []int64{2}},
		"oneEpoch":      {[]int32{1, 3, 3}, []int32{1, 2, 2}, []int64{2}},
		"inSteps":       {[]int32{1, 1, 4, 4, 6}, []int32{1, 1, 2, 3, 5, 5}, []int64{8, 4}},
		"otherEnds":     {[]int32{1, 1, 1, 4}, []int32{1, 3, 3}, []int64{2}},
		"nothingShared": {[]int32{3, 4}, []int32{1, 2}, []int64{0}},
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, nil, func(r *region) {
				r.host(1, press, newMemLog(7, tc.theirs...), newMemLog(7, tc.ours...))
				r.follow(1, press)
				after(time.Second)
				r.same(1, press)
				if got := r.replicas[press].cuts; tc.cuts != nil && !slices.Equal(got, tc.cuts) {
					t.Errorf("cut at %v, want %v", got, tc.cuts)
				}
			})
		})
	}
}

// Where the leader starts behind the follower's end the follower starts anew there,
// also in the middle of a batch; where the leader has not the follower's epoch and
// ends earlier, the follower ends there.
func TestOutOfRange(t *testing.T) {
	for name, tc := range map[string]struct {
		ours       []int32
		start      int64 // of the leader's log
		wantStart  int64
		wantFirst  int64 // offset of the first batch
		wantLoudly string
	}{
		"startsLater":    {[]int32{1}, 6, 6, 6, "log emptied"},
		"insideABatch":   {[]int32{1}, 5, 5, 4, "log emptied"},
		"endsEarlier":    {[]int32{1, 1, 1, 1, 9, 9}, 0, 0, 0, "were removed"},
		"emptyFollower":  {nil, 6, 6, 6, "log emptied"},
		"laterAndLonger": {[]int32{1, 1, 1, 1, 9, 9}, 6, 0, 0, "were removed"},
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, nil, func(r *region) {
				theirs := newMemLog(7, 1, 1, 1, 1, 1)
				for theirs.start = tc.start; len(theirs.batches) > 0 && theirs.batches[0].NextOffset() <= tc.start; {
					theirs.batches = theirs.batches[1:]
				}
				r.host(1, press, theirs, newMemLog(7, tc.ours...))
				r.follow(1, press)
				after(time.Second)
				ours := r.replicas[press]
				if ours.start != tc.wantStart || ours.end != theirs.end || ours.batches[0].BaseOffset() != tc.wantFirst {
					t.Errorf("offsets %d to %d with a batch at %d; want %d to %d, and %d", ours.start, ours.end,
						ours.batches[0].BaseOffset(), tc.wantStart, theirs.end, tc.wantFirst)
				}
				if r.logged(tc.wantLoudly) != 1 {
					t.Errorf("log without %q: %s", tc.wantLoudly, &r.log)
				}
			})
		})
	}
}

// A batch that is damaged stops its partition, behind what came whole, and no other;
// when the leader sends it whole the partition goes on.
func TestCorruptBatch(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		l := r.leaders[1]
		r.host(1, press, newMemLog(4, 1, 1, 1), newMemLog(4))
		r.host(1, pump, newMemLog(4, 1, 1), newMemLog(4))
		damaged := l.logs[press].batches[1]
		l.mangle = func(tp cluster.TopicPartition, records []byte) []byte {
			if at := bytes.Index(records, damaged); at >= 0 && tp == press {
				records[at+70] ^= 1
			}
			return records
		}
		r.follow(1, press)
		r.follow(1, pump)
		after(time.Minute)
		r.grow(1, pump, 2)
		after(time.Second)
		r.same(1, pump)
		if got := r.replicas[press]; got.end != 2 || r.logged("not followed") != 1 {
			t.Errorf("end %d, want 2; log %s", got.end, &r.log)
		}
		n := 0
		for _, f := range l.fetched() {
			if len(f.Topics) > 0 {
				n++
			}
		}
		if n > 150 {
			t.Errorf("asked %d times in a minute", n)
		}
		l.change(func() { l.mangle = nil })
		after(2 * time.Second)
		r.same(1, press)
	})
}

// What the leader refuses for one partition stops that one for a while.
func TestRefusedPartition(t *testing.T) {
	for _, code := range []wire.ErrorCode{
		wire.FencedLeaderEpoch, wire.UnknownLeaderEpoch, wire.NotLeaderOrFollower, wire.UnknownTopicOrPartition,
		wire.UnknownTopicID, wire.InconsistentTopicID, wire.KafkaStorageError, wire.UnknownServerError,
	} {
		t.Run(code.String(), func(t *testing.T) {
			inRegion(t, nil, func(r *region) {
				l := r.leaders[1]
				r.host(1, press, newMemLog(4, 1), newMemLog(4))
				r.host(1, pump, newMemLog(4, 1), newMemLog(4))
				l.codes[press] = code
				r.follow(1, press)
				r.follow(1, pump)
				after(30 * time.Second)
				r.grow(1, pump, 1)
				after(time.Millisecond)
				r.same(1, pump)
				if n := len(l.fetched()); n > 200 {
					t.Errorf("%d fetches in 30 s", n)
				}
				l.change(func() { delete(l.codes, press) })
				after(2 * time.Second)
				r.same(1, press)
				r.grow(1, press, 1)
				after(time.Second)
				if r.logged("not followed for now") != 1 || r.logged("is followed again") != 1 {
					t.Errorf("log: %s", &r.log)
				}
			})
		})
	}
}

// A partition is asked for only when all that it has is durable: the leader is never
// told more. One sync serves all that came together.
func TestFetchesOnlyBehindWhatIsDurable(t *testing.T) {
	inRegion(t, func(c *Config) { c.PartitionMaxBytes = 130 }, func(r *region) {
		for index := range int32(20) {
			tp := cluster.TopicPartition{Topic: "press", Index: index}
			ours := newMemLog(4)
			ours.syncTime = 50 * time.Millisecond
			if index == 0 { // it led before, and what it has last is not durable yet
				ours = newMemLog(4, 1, 1)
				ours.durable, ours.syncTime = 2, 300*time.Millisecond
			}
			r.host(1, tp, newMemLog(4, 1, 1, 1, 1, 1), ours)
			r.follow(1, tp)
		}
		after(310 * time.Millisecond)
		one := r.replicas[cluster.TopicPartition{Topic: "press", Index: 7}]
		got := int64(0)
		if one.with(func() { got = one.durable }); got < 8 { // the first two rounds may have been without it
			t.Errorf("durable to %d after the time of six syncs of two records", got)
		}
		after(5 * time.Second)
		for tp := range r.replicas {
			r.same(1, tp)
		}
	})
}

// A sync that fails, or a log that is off line, stops its partition until the next
// order, is said once, and hurts no other.
func TestLocalLogFails(t *testing.T) {
	for name, fail := range map[string]func(*memLog){
		"append": func(m *memLog) { m.appendError = fmt.Errorf("%w: %w", commitlog.ErrOffline, errDiskGone) },
		"sync":   func(m *memLog) { m.syncError = fmt.Errorf("%w: %w", commitlog.ErrOffline, errDiskGone) },
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, nil, func(r *region) {
				r.host(1, press, newMemLog(4, 1), newMemLog(4))
				r.host(1, pump, newMemLog(4, 1), newMemLog(4))
				fail(r.replicas[press])
				r.follow(1, press)
				r.follow(1, pump)
				after(time.Minute)
				r.grow(1, pump, 1)
				after(time.Second)
				r.same(1, pump)
				lags := r.fetchers.Lags()
				if len(lags) != 2 || !lags[0].Stopped || lags[1].Stopped || r.logged("off line") != 1 {
					t.Errorf("lags %v, log %s", lags, &r.log)
				}
				r.replicas[press].with(func() { r.replicas[press].appendError, r.replicas[press].syncError = nil, nil })
				r.follow(1, press)
				after(time.Second)
				r.same(1, press)
			})
		})
	}
}

// With many partitions a fetch names those that have changed, and everyone gets on.
func TestManyPartitions(t *testing.T) {
	inRegion(t, func(c *Config) { c.PerLeader = 2 }, func(r *region) {
		tps := make([]cluster.TopicPartition, 500)
		for i := range tps {
			tps[i] = cluster.TopicPartition{Topic: fmt.Sprint("t", i/7), Index: int32(i % 7)}
			r.host(1, tps[i], newMemLog(4, 1), newMemLog(4))
			r.follow(1, tps[i])
		}
		after(5 * time.Second)
		r.leaders[1].fetched()
		r.grow(1, tps[123], 1)
		after(time.Second)
		for _, tp := range tps {
			r.same(1, tp)
		}
		named := 0
		for _, f := range r.leaders[1].fetched() {
			for _, topic := range f.Topics {
				named += len(topic.Partitions)
			}
		}
		if named != 1 || r.leaders[1].dialled > 4 { // two may be given up for those who came last
			t.Errorf("%d partitions named after one has grown, over %d connections; want 1 over two", named, r.leaders[1].dialled)
		}
		for _, tp := range tps[1:] {
			r.fetchers.Unfollow(tp.Topic, tp.Index)
		}
		r.grow(1, tps[0], 1)
		after(time.Second)
		r.same(1, tps[0])
	})
}

// A leader without sessions that has more of one partition than an answer holds sends
// the others' too.
func TestFairWithoutSessions(t *testing.T) {
	inRegion(t, func(c *Config) { c.MaxBytes, c.PartitionMaxBytes = 200, 200 }, func(r *region) {
		l := r.leaders[1]
		l.keeps = false
		r.host(1, press, newMemLog(4, make([]int32, 5000)...), newMemLog(4))
		r.host(1, pump, newMemLog(4, make([]int32, 10)...), newMemLog(4))
		r.replicas[press].syncTime = time.Millisecond
		r.follow(1, press)
		r.follow(1, pump)
		after(100 * time.Millisecond)
		r.same(1, pump)
		if got := r.replicas[press].end; got < 40 || got >= 10000 {
			t.Errorf("the large one is at %d", got)
		}
	})
}

// A throttled partition that is behind fetches at its rate; one that is not throttled,
// or has caught up, is not held up.
func TestThrottle(t *testing.T) {
	inRegion(t, func(c *Config) { c.PartitionMaxBytes = 1000 }, func(r *region) {
		caughtUp := cluster.TopicPartition{Topic: "press", Index: 1}
		r.host(1, press, newMemLog(4, make([]int32, 1000)...), newMemLog(4))
		r.host(1, pump, newMemLog(4, make([]int32, 1000)...), newMemLog(4))
		r.host(1, caughtUp, newMemLog(4, 1), newMemLog(4))
		size := len(r.leaders[1].logs[press].bytes())
		rate := int64(size / 20)
		r.follow(1, caughtUp)
		after(time.Second)
		r.fetchers.SetThrottle(rate, func(topic string, _ int32) bool { return topic == "press" })
		r.follow(1, press)
		r.follow(1, pump)
		for range 100 {
			after(100 * time.Millisecond)
			r.grow(1, caughtUp, 1)
			synctest.Wait()
			if ours := r.replicas[caughtUp]; ours.end != r.leaders[1].logs[caughtUp].end {
				t.Fatalf("who has caught up is held up at %d", ours.end)
			}
		}
		r.same(1, pump)
		if got := len(r.replicas[press].bytes()); got < size*6/20 || got > size*12/20 {
			t.Errorf("%d bytes in 10 s at %d a second, of which the other had some", got, rate)
		}
		r.fetchers.SetThrottle(0, nil)
		after(time.Second)
		r.same(1, press)
	})
}

// How far followers are behind is told, also while they cannot follow.
func TestLag(t *testing.T) {
	inRegion(t, func(c *Config) { c.PartitionMaxBytes = 100 }, func(r *region) {
		r.host(1, press, newMemLog(4, 1, 1, 1), newMemLog(4))
		r.replicas[press].syncTime = time.Hour
		r.follow(1, press)
		after(time.Second)
		if got := r.fetchers.Lags(); len(got) != 1 || got[0] != (Lag{press, 1, 0, 4, false}) {
			t.Errorf("after one batch of three: %+v", got)
		}
	})
}

// A partition whose disk does not answer holds up the others of its leader only until
// it is told to follow someone else, or nobody.
func TestStuckSync(t *testing.T) {
	for name, leave := range map[string]func(*region){
		"unfollow": func(r *region) { r.fetchers.Unfollow(press.Topic, press.Index) },
		"another":  func(r *region) { r.follow(2, press) },
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, nil, func(r *region) {
				r.host(1, press, newMemLog(4, 1), newMemLog(4))
				r.host(1, pump, newMemLog(4, 1), newMemLog(4))
				r.replicas[press].syncTime = time.Hour
				r.follow(1, press)
				r.follow(1, pump)
				after(time.Second)
				leave(r)
				r.grow(1, pump, 1)
				after(time.Second)
				r.same(1, pump)
				r.stop()
				after(2 * time.Hour) // until the disk answers
			})
		})
	}
}

// What was durable before a truncation says nothing of what came after it.
func TestSyncFailsAfterTruncation(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		r.host(1, press, newMemLog(7, 1, 3, 3), newMemLog(7, 1, 2, 2, 2, 2))
		ours := r.replicas[press]
		ours.syncError = errors.New("not this time")
		r.follow(1, press) // each fetch is held against what is durable
		after(time.Minute)
		ours.with(func() { ours.syncError = nil })
		after(time.Minute)
		r.same(1, press)
	})
}
