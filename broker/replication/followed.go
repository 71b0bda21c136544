package replication

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

var (
	errOldLeader  = errors.New("the leader is of a Kafka before 2.7")
	errSession    = errors.New("the leader does not go on with the fetch session")
	errNewcomers  = errors.New("given up for partitions that are new")
	errDiverged   = errors.New("the logs differ, and there is nothing to remove")
	errOutOfRange = errors.New("the leader said that it does not have the offset, and has it")
	errRefused    = errors.New("refused by the leader")
)

// loudAfter is how many times in a row a leader refuses a partition before that is
// logged. While leaders change, a few times are no news.
const loudAfter = 6

// followed is a partition that follows. Each order makes another one, so that an
// answer to what the one before asked is not taken for its own. Fetchers.mu guards
// what is not fixed.
type followed struct {
	cluster.TopicPartition
	id          topic.ID
	leaderEpoch int32
	by          *fetcher

	synced   int64     // the log is known to be durable up to here; -1: nothing is known
	syncing  bool      // that is being found out
	late     bool      // that took too long for the fetch under way
	release  func()    // ends the wait for that, if someone waits
	resumeAt time.Time // not fetched for before
	failures int       // in a row
	stopped  bool      // for good, the local log failed
	lag      int64     // how far behind the leader's high watermark; -1: unknown
}

// current reports whether no other order has come for p.
func (f *Fetchers) current(p *followed) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followed[p.TopicPartition] == p
}

// isSynced reports whether p's log is known to be durable up to end.
func (f *Fetchers) isSynced(p *followed, end int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return p.synced >= end
}

// isSyncedOrLate is isSynced. A partition that is not has missed the next fetch, which
// is not to keep it waiting.
func (f *Fetchers) isSyncedOrLate(p *followed, end int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	synced := p.synced >= end
	p.late = !synced && p.syncing
	return synced
}

// unsynced forgets how far p's log is durable: what was there was removed.
func (f *Fetchers) unsynced(p *followed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.synced = -1
}

// sync calls then once it is known whether p's log is durable up to end, or when that
// does not matter any more: p has left. Until then p is not fetched for.
func (f *Fetchers) sync(p *followed, replica Replica, end int64, then func()) {
	then = sync.OnceFunc(then)
	f.mu.Lock()
	p.syncing, p.release = true, then
	gone := f.followed[p.TopicPartition] != p
	f.mu.Unlock()
	if gone {
		then()
		return
	}
	replica.Await(end, func(err error) {
		f.mu.Lock()
		p.syncing = false
		if err == nil {
			p.synced = end
		}
		if p.late {
			p.late = false
			p.by.hurry()
		}
		f.mu.Unlock()
		if err != nil {
			f.failedHere(p, err)
		}
		then()
	})
}

// fetched notes that the leader has sent n bytes for p.
func (f *Fetchers) fetched(p *followed, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > 0 && f.throttle.of(p.Topic, p.Index) {
		f.throttle.take(n, time.Now())
	}
}

// followedTo notes that p is lag offsets behind, and well.
func (f *Fetchers) followedTo(p *followed, lag int64) {
	f.mu.Lock()
	failures := p.failures
	p.failures, p.lag = 0, lag
	f.mu.Unlock()
	if failures >= loudAfter {
		f.log.Info("partition is followed again", "partition", p.String(), "leader", p.by.at.leader.ID, "failures", failures)
	}
}

// pause leaves p alone for a while, longer each time, and returns how many times in a
// row that is.
func (f *Fetchers) pause(p *followed) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.failures++
	p.resumeAt = time.Now().Add(f.cfg.pauseAfter(p.failures))
	return p.failures
}

// refused pauses p after its leader has answered with code. Where another leader is
// meant, an order will say so.
func (f *Fetchers) refused(p *followed, code wire.ErrorCode) {
	f.failedThere(p, fmt.Errorf("%w: %v", errRefused, code))
}

// failedThere pauses p for what its leader did.
func (f *Fetchers) failedThere(p *followed, err error) {
	if f.pause(p) == loudAfter {
		f.complain(p, err)
	}
}

// corrupt pauses p, whose leader has sent a batch that cannot be appended.
func (f *Fetchers) corrupt(p *followed, err error) {
	if f.pause(p) == 1 {
		f.complain(p, err)
	}
}

// failedHere pauses p, which this broker's log could not do as it should, or stops it
// when the log is off line: the next order may start it again.
func (f *Fetchers) failedHere(p *followed, err error) {
	switch {
	case !f.current(p): // the partition is not in that epoch any more, or gone
	case errors.Is(err, commitlog.ErrOffline), errors.Is(err, commitlog.ErrClosed):
		f.mu.Lock()
		before := p.stopped
		p.stopped = true
		f.mu.Unlock()
		if !before {
			f.log.Error("partition is followed no more: its log is off line", "partition", p.String(), "err", err)
		}
	case underWay(err):
		f.failedThere(p, err)
	default:
		f.corrupt(p, err)
	}
}

// underWay reports whether err says that the partition is in another role than its
// order had, or gone: another order comes soon.
func underWay(err error) bool {
	for _, role := range []error{partition.ErrFencedLeaderEpoch, partition.ErrUnknownLeaderEpoch, partition.ErrNotLeader, partition.ErrUnknown} {
		if errors.Is(err, role) {
			return true
		}
	}
	return false
}

func (f *Fetchers) complain(p *followed, err error) {
	f.log.Warn("partition is not followed for now", "partition", p.String(), "leader", p.by.at.leader.ID, "leaderEpoch", p.leaderEpoch, "err", err)
}
