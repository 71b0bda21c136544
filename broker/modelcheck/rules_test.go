package modelcheck

import (
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/replica"
)

// leader is what the model uses of a replica.Leader.
type leader interface {
	Reorder(o replica.Order, now time.Time) bool
	Durable(endOffset int64, now time.Time)
	Fetched(f replica.Fetch, now time.Time) error
	Propose(now time.Time) (replica.Proposal, bool)
	Wants(now time.Time) bool
	Answered(p replica.Proposal, a replica.Answer, now time.Time)
	HighWatermark() int64
	UnderMinISR() bool
	MaximalUnderMinISR() bool
	LeaderEpoch() int32
	EpochStart() int64
	ISR() []int32
	FollowerEnd(id int32) int64
}

// rules is everything that is put to the test, so that a fault can take its place.
type rules struct {
	newLeader             func(s *sim, cfg replica.Config, o replica.Order, epochStart, endOffset, highWatermark int64, now time.Time) leader
	diverged              func(lastFetchedEpoch int32, fetchOffset int64, end replica.EpochEnd) (diverged, known bool)
	truncate              func(leader, own replica.EpochEnd, log replica.Log) replica.Truncation
	beforeFirstFetch      func(lastEpoch int32, log replica.Log) int64
	recover               func(leaderStart, leaderEnd, logEnd int64) replica.Recovery
	followerHighWatermark func(prev, leaderHighWatermark, durableEnd int64) int64
	followerLogStart      func(own, leaderLogStartOffset, highWatermark int64) int64
	afterChange           func(a cluster.Assignment, s cluster.PartitionState, r controller.Roll, unclean bool) (cluster.PartitionState, bool)
	judge                 func(s cluster.PartitionState, a cluster.Assignment, leader int32, w controller.ISRChange, eligible func(controller.ISRMember) bool) (cluster.PartitionState, error)

	wrong wrongs
}

// wrongs are what those who use the rules could do wrong. All of them are false but in
// a test that wants to see what comes of one.
type wrongs struct {
	unfencedWrites      bool // the store takes a former controller's writes
	blindWrites         bool // the store does not compare versions
	anyBrokerEpoch      bool // the controller takes a wish of an earlier registration
	anyOrderEpoch       bool // a broker takes an order that was meant for its earlier registration
	anyController       bool // a broker takes orders of a former controller
	anyRequestOrder     bool // a broker takes what a controller sent before what it took last
	anyLeaderEpoch      bool // a partition takes an order of an earlier leader epoch
	anyFetch            bool // a leader does not look at the follower's leader epoch
	anyAnswer           bool // a follower takes an answer to what it asked in an earlier role
	noBegin             bool // a leader goes on in the epoch that it finds
	fetchesUndurable    bool // a follower tells where its log ends before that is durable
	readsUndurable      bool // a follower gets what its leader could lose
	countsUndurable     bool // a leader counts what it could lose
	divergingCounts     bool // a leader takes the offset of a log that diverges for a position
	checkpointTruncates bool // a broker starts with its log cut to the high watermark it had saved
	showsDeleted        bool // a follower moves its high watermark before it deletes what its leader has deleted
	trustsEarlierEpoch  bool // a leader takes over what it knew of followers in an epoch before
}

func trueRules() rules {
	return rules{
		newLeader: func(_ *sim, cfg replica.Config, o replica.Order, epochStart, endOffset, highWatermark int64, now time.Time) leader {
			return replica.NewLeader(cfg, o, epochStart, endOffset, highWatermark, now)
		},
		diverged: replica.Diverged, truncate: replica.Truncate, beforeFirstFetch: replica.BeforeFirstFetch, recover: replica.Recover,
		followerHighWatermark: replica.FollowerHighWatermark, followerLogStart: replica.FollowerLogStart,
		afterChange: controller.AfterChange, judge: controller.Judge,
	}
}
