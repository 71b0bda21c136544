package modelcheck

import (
	"slices"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/replica"
)

// mistakes are rules that are wrong on purpose, each in one thing.
var mistakes = map[string]struct {
	make    func(*rules)
	from    uint64                    // a seed that finds it, or is not long before one; other rules, other seeds
	history func(seed uint64) history // nil: newHistory
}{
	// a leader's
	"a shrink of the ISR counts before the controller has confirmed it": {leaders(func(l *replica.Leader) leader { return &hastyShrink{leader: l} }), 0, nil},
	"an expansion of the ISR counts once it is confirmed":               {func(r *rules) { r.newLeader = newLateExpansion }, 0, nil},
	"a request without an answer is taken to be refused":                {leaders(func(l *replica.Leader) leader { return &hopeless{leader: l} }), 87, nil},
	"the high watermark is the furthest of the ISR":                     {leaders(func(l *replica.Leader) leader { return &furthest{Leader: l} }), 0, nil},
	"an epoch is taken to begin at offset 0":                            {func(r *rules) { r.newLeader = fromZero }, 0, nil},
	"the leader's end counts before it is durable":                      {func(r *rules) { r.wrong.countsUndurable = true }, 0, nil},
	"a follower's end counts before it is durable":                      {func(r *rules) { r.wrong.fetchesUndurable = true }, 0, nil},
	"followers get what is not durable":                                 {func(r *rules) { r.wrong.readsUndurable = true }, 0, of(slow, outage, power, freeze)},
	"the offset of a log that diverges counts":                          {func(r *rules) { r.wrong.divergingCounts = true }, 0, nil},
	"ends that were told in an earlier epoch count":                     {func(r *rules) { r.wrong.trustsEarlierEpoch = true }, 0, missesAnEpoch},
	"a fetch of another leader epoch counts":                            {func(r *rules) { r.wrong.anyFetch = true }, 110, nil},
	"a leader goes on in the epoch that it finds":                       {func(r *rules) { r.wrong.noBegin = true }, 0, nil},

	// a follower's
	"a follower truncates to its high watermark": {func(r *rules) {
		r.beforeFirstFetch = func(_ int32, log replica.Log) int64 { return min(log.HighWatermark, log.EndOffset) }
	}, 0, nil},
	"a follower does not truncate": {func(r *rules) {
		r.diverged = func(int32, int64, replica.EpochEnd) (bool, bool) { return false, true }
	}, 0, nil},
	"a follower truncates to where the epoch ends in its own log": {func(r *rules) {
		r.truncate = func(_, own replica.EpochEnd, log replica.Log) replica.Truncation {
			return replica.Truncation{EndOffset: min(own.EndOffset, log.EndOffset), Complete: true}
		}
	}, 0, nil},
	"a follower truncates to where the epoch ends in the leader's log": {func(r *rules) {
		r.truncate = func(leader, _ replica.EpochEnd, log replica.Log) replica.Truncation {
			return replica.Truncation{EndOffset: min(leader.EndOffset, log.EndOffset), Complete: true}
		}
	}, 0, nil},
	"a follower compares lengths, not epochs": {func(r *rules) {
		r.diverged = func(last int32, offset int64, end replica.EpochEnd) (bool, bool) { return end.EndOffset < offset, true }
	}, 139, nil},
	"a follower's high watermark is the leader's": {func(r *rules) {
		r.followerHighWatermark = func(prev, leaders, _ int64) int64 { return max(prev, leaders) }
	}, 0, nil},
	"an answer counts that was asked for in an earlier role":        {func(r *rules) { r.wrong.anyAnswer = true }, 0, nil},
	"a follower keeps what nobody could compare":                    {func(r *rules) { r.wrong.keepsIncomparable = true }, 0, nil},
	"a broker cuts its log to the high watermark that it had saved": {func(r *rules) { r.wrong.checkpointTruncates = true }, 0, nil},
	"a broker takes orders that were for its earlier registration":  {func(r *rules) { r.wrong.anyOrderEpoch = true }, 11085, nil},
	"a partition takes orders of an earlier leader epoch": {func(r *rules) {
		r.wrong.anyLeaderEpoch, r.wrong.anyController = true, true
	}, 68, nil},

	// a controller's
	"whoever is online leads": {func(r *rules) {
		r.afterChange = func(a cluster.Assignment, s cluster.PartitionState, roll controller.Roll, _ bool) (cluster.PartitionState, bool) {
			return controller.AfterChange(a, s, roll, true)
		}
	}, 0, nil},
	"the last of an ISR leaves it":                 {func(r *rules) { r.afterChange = emptied }, 0, nil},
	"a wish of an earlier leader epoch is granted": {func(r *rules) { r.judge = credulous(true, false) }, 40, nil},
	"a wish for an earlier version is granted":     {func(r *rules) { r.judge = credulous(false, true) }, 123, nil},
	"a controller that was replaced writes":        {func(r *rules) { r.wrong.unfencedWrites, r.wrong.blindWrites = true, true }, 77, of(depose, oneWay, noStore, kill, late)},
}

// within is by how many seeds a mistake must have been found.
const within = 1000

// Each mistake is found.
func TestMistakesAreFound(t *testing.T) {
	for name, m := range mistakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := trueRules()
			m.make(&r)
			if m.history == nil {
				m.history = of()
			}
			for seed := m.from; seed < m.from+within; seed++ {
				if s := play(m.history(seed), r, false); s.check.wrong != "" {
					t.Logf("seed %d: %s", seed, s.check.wrong)
					return
				}
			}
			t.Errorf("not found in %d seeds from %d on", within, m.from)
		})
	}
}

// of is histories with faults of some kinds, or of all.
func of(some ...kind) func(uint64) history {
	return func(seed uint64) history { return newHistory(seed, some...) }
}

// missesAnEpoch is a history in which a leader does not hear that another has led
// between two of its epochs. No seed has been seen to make one. Broker 4 should be the
// controller: in one seed of four it is.
func missesAnEpoch(seed uint64) history {
	return history{seed, config{
		brokers: 4, replicas: []int32{2, 1, 3}, minISR: 2,
		maxLag: 10 * time.Second, sessionTimeout: 4 * time.Second, pause: 50 * time.Millisecond,
	}, []fault{
		{at: 3 * time.Second, lasts: 8 * time.Second, kind: kill, a: 2},          // broker 1 leads
		{at: 30 * time.Second, lasts: 10 * time.Second, kind: slow, a: 2},        // 2 stays behind 3
		{at: 31 * time.Second, lasts: 9 * time.Second, kind: oneWay, a: 4, b: 1}, // 1 does not hear
		{at: 31500 * time.Millisecond, kind: prefer, a: 1},                       // that 2 leads
		{at: 33 * time.Second, lasts: 20 * time.Second, kind: kill, a: 2},        // nor that it is gone
	}}
}

// leaders has what wrap makes of each leader lead.
func leaders(wrap func(*replica.Leader) leader) func(*rules) {
	return func(r *rules) {
		r.newLeader = func(_ *sim, cfg replica.Config, o replica.Order, epochStart, endOffset, highWatermark int64, now time.Time) leader {
			return wrap(replica.NewLeader(cfg, o, epochStart, endOffset, highWatermark, now))
		}
	}
}

func fromZero(_ *sim, cfg replica.Config, o replica.Order, _, endOffset, highWatermark int64, now time.Time) leader {
	return replica.NewLeader(cfg, o, 0, endOffset, highWatermark, now)
}

// hastyShrink takes a smaller ISR to be the one once it has asked for it.
type hastyShrink struct{ leader }

func (l *hastyShrink) Propose(now time.Time) (replica.Proposal, bool) {
	p, ok := l.leader.Propose(now)
	if ok && len(p.ISR) < len(l.ISR()) {
		l.leader.Answered(p, replica.Answer{LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: p.ISR}, now)
	}
	return p, ok
}

// hopeless gives up a change of the ISR of which it has not heard.
type hopeless struct{ leader }

func (l *hopeless) Answered(p replica.Proposal, a replica.Answer, now time.Time) {
	if a.Outcome == replica.Failed {
		a.Outcome = replica.Refused
	}
	l.leader.Answered(p, a, now)
}

// lateExpansion has a high watermark that only the confirmed ISR holds back.
type lateExpansion struct {
	leader
	self               int32
	highWatermark, end int64
}

func newLateExpansion(_ *sim, cfg replica.Config, o replica.Order, epochStart, endOffset, highWatermark int64, now time.Time) leader {
	return &lateExpansion{replica.NewLeader(cfg, o, epochStart, endOffset, highWatermark, now), cfg.Self, min(highWatermark, endOffset), endOffset}
}

func (l *lateExpansion) Durable(endOffset int64, now time.Time) {
	l.end = max(l.end, endOffset)
	l.leader.Durable(endOffset, now)
}

func (l *lateExpansion) HighWatermark() int64 {
	if l.UnderMinISR() {
		return max(l.highWatermark, l.leader.HighWatermark())
	}
	low := l.end
	for _, id := range l.ISR() {
		if end := l.FollowerEnd(id); id != l.self && end < low {
			low = end
		}
	}
	l.highWatermark = max(l.highWatermark, low, l.leader.HighWatermark())
	return l.highWatermark
}

// furthest takes the first that has something for all.
type furthest struct {
	*replica.Leader
	end int64
}

func (l *furthest) Durable(endOffset int64, now time.Time) {
	l.end = max(l.end, endOffset)
	l.Leader.Durable(endOffset, now)
}

func (l *furthest) HighWatermark() int64 { return max(l.end, l.Leader.HighWatermark()) }

// emptied elects from those that live, whoever was in sync when all were gone.
func emptied(a cluster.Assignment, s cluster.PartitionState, r controller.Roll, unclean bool) (cluster.PartitionState, bool) {
	if !slices.ContainsFunc(s.ISR, r.Alive) {
		s.ISR = a.Replicas
	}
	return controller.AfterChange(a, s, r, unclean)
}

// credulous grants wishes as if they were of the epoch, or the version, that is.
func credulous(epoch, version bool) func(cluster.PartitionState, cluster.Assignment, int32, controller.ISRChange, func(controller.ISRMember) bool) (cluster.PartitionState, error) {
	return func(s cluster.PartitionState, a cluster.Assignment, leader int32, w controller.ISRChange, eligible func(controller.ISRMember) bool) (cluster.PartitionState, error) {
		if epoch && w.LeaderEpoch < s.LeaderEpoch {
			w.LeaderEpoch, w.PartitionEpoch, leader = s.LeaderEpoch, s.PartitionEpoch, s.Leader
		}
		if version && w.PartitionEpoch < s.PartitionEpoch {
			w.PartitionEpoch = s.PartitionEpoch
		}
		return controller.Judge(s, a, leader, w, eligible)
	}
}
