package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

// fetcher fetches from one leader. What is not said to be guarded is its goroutine's.
type fetcher struct {
	of   *Fetchers
	at   place
	wake chan struct{} // there may be something to fetch
	ctx  context.Context
	end  context.CancelFunc

	started    bool // Fetchers.mu guards this and what follows, up to the gap
	partitions map[cluster.TopicPartition]*followed
	changed    bool               // partitions is not what order was made of
	newcomers  bool               // nor what the fetch under way was
	hurrying   bool               // that fetch is about to be given up for them
	giveUp     context.CancelFunc // does so; nil while no fetch waits for something new

	order    []*followed // the partitions by name
	turn     cluster.TopicPartition
	conn     Caller
	offered  int16 // of Fetch; 0: not known
	session  session
	failures int // of fetches, in a row
}

// ask is what one fetch asks for one partition.
type ask struct {
	want
	p       *followed
	replica Replica
}

func newFetcher(of *Fetchers, at place) *fetcher {
	ctx, end := context.WithCancel(context.Background())
	return &fetcher{
		of: of, at: at, ctx: ctx, end: end,
		wake:       make(chan struct{}, 1),
		partitions: map[cluster.TopicPartition]*followed{},
	}
}

// run fetches until ctx is done or the last partition has gone.
func (ft *fetcher) run(ctx context.Context) {
	defer context.AfterFunc(ctx, ft.end)()
	ft.conn = ft.of.dial(ft.at.leader)
	defer func() { ft.conn.Close() }() // it may be another by then
	for ft.ctx.Err() == nil {
		asks, resumeAt := ft.due(time.Now())
		if len(asks) == 0 {
			ft.idle(resumeAt)
			continue
		}
		if err := ft.round(asks, resumeAt); err != nil {
			ft.failed(err)
		}
	}
}

// idle waits for the next thing to do; a zero resumeAt is none that is known.
func (ft *fetcher) idle(resumeAt time.Time) {
	var due <-chan time.Time
	if !resumeAt.IsZero() {
		t := time.NewTimer(time.Until(resumeAt))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-ft.wake:
	case <-ft.ctx.Done():
	}
}

// round fetches once, and returns when what has come is durable. It does not wait at
// the leader beyond resumeAt, when there is more to ask for.
func (ft *fetcher) round(asks []ask, resumeAt time.Time) (err error) {
	if ft.offered == 0 {
		if ft.offered, err = ft.conn.MaxVersion(ft.ctx, wire.Fetch); err != nil {
			return err
		}
	}
	wants := make([]want, len(asks))
	for i := range asks {
		wants[i] = asks[i].want
	}
	version, ok := fetchVersion(ft.offered, wants)
	if !ok {
		return fmt.Errorf("%w: Fetch up to version %d, and %d is needed", errOldLeader, ft.offered, fetchDiverging)
	}
	req := fetchRequest(ft.of.cfg, version, ft.session.next(wants, version >= fetchByID))
	if !resumeAt.IsZero() {
		req.MaxWaitMillis = int32(min(int64(req.MaxWaitMillis), max(time.Until(resumeAt).Milliseconds()+1, 0)))
	}
	resp, err := ft.call(asks, req)
	switch {
	case err == nil:
		return ft.answered(asks, resp.(*kmsg.FetchResponse))
	case errors.Is(err, errNewcomers):
		err = nil
	}
	ft.session.broken()
	return err
}

// newcomerWait is how long a partition that is new waits for the fetch under way before
// that is given up, if it only waits for something new itself. It is long enough that
// those of one order come together.
const newcomerWait = 10 * time.Millisecond

// call has req answered, or is errNewcomers.
func (ft *fetcher) call(asks []ask, req *kmsg.FetchRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithCancelCause(ft.ctx)
	defer cancel(nil)
	f := ft.of
	f.mu.Lock()
	if !slices.ContainsFunc(asks, func(a ask) bool { return a.p.lag != 0 }) {
		ft.giveUp = func() { cancel(errNewcomers) }
	}
	if ft.newcomers { // since asks were made
		ft.hurry()
	}
	f.mu.Unlock()
	resp, err := ft.conn.Call(ctx, req)
	f.mu.Lock()
	ft.giveUp = nil
	f.mu.Unlock()
	return resp, err
}

// hurry has the fetch under way given up soon, unless it is over by then. To wait for
// the end of its poll would cost new leaders half a second before what they append is
// committed. Fetchers.mu is held.
func (ft *fetcher) hurry() {
	ft.newcomers = true
	if ft.hurrying {
		return
	}
	ft.hurrying = true
	time.AfterFunc(newcomerWait, func() {
		ft.of.mu.Lock()
		defer ft.of.mu.Unlock()
		if ft.hurrying = false; ft.newcomers && ft.giveUp != nil {
			ft.giveUp()
		}
	})
}

func (ft *fetcher) answered(asks []ask, resp *kmsg.FetchResponse) error {
	switch code := wire.ErrorCode(resp.ErrorCode); code {
	case wire.None:
	case wire.FetchSessionIDNotFound:
		ft.session.lost()
		return fmt.Errorf("%w: %v", errSession, code)
	default:
		ft.session.broken()
		return fmt.Errorf("%w: %v", errSession, code)
	}
	ft.session.answered(resp.SessionID)
	ft.reached()
	ft.of.metrics.rounds.Inc()
	ft.take(asks, resp)
	return nil
}

// failed logs the first of the failures in a row. It pauses where the connection does
// not, since an answer has come.
func (ft *fetcher) failed(err error) {
	if ft.ctx.Err() != nil {
		return
	}
	ft.failures++
	ft.offered = 0 // the next connection may be to another version of it
	loud := 1
	if errors.Is(err, errSession) {
		loud = 2 // a leader that restarts loses its sessions
	}
	if ft.failures == loud {
		ft.of.log.Warn("no records from a leader", "leader", ft.at.leader.ID, "err", err)
	}
	switch {
	case errors.Is(err, errOldLeader): // what it offers is asked for once a connection
		ft.conn.Close()
		ft.conn = ft.of.dial(ft.at.leader)
		rest(ft.ctx, ft.of.cfg.pauseAfter(ft.failures))
	case errors.Is(err, errSession) && ft.failures >= loud:
		rest(ft.ctx, ft.of.cfg.pauseAfter(ft.failures))
	}
}

func (ft *fetcher) reached() {
	if ft.failures > 1 {
		ft.of.log.Info("leader answers again", "leader", ft.at.leader.ID, "failures", ft.failures)
	}
	ft.failures = 0
}

// due returns what to fetch now, beginning behind the partition that had records
// last; and when there will be more.
func (ft *fetcher) due(now time.Time) (asks []ask, resumeAt time.Time) {
	candidates, resumeAt := ft.candidates(now)
	asks = make([]ask, 0, len(candidates))
	for _, p := range candidates {
		if a, ok := ft.ask(p); ok {
			asks = append(asks, a)
		}
	}
	return asks, resumeAt
}

// candidates are the partitions that are neither left alone nor throttled now.
func (ft *fetcher) candidates(now time.Time) (out []*followed, resumeAt time.Time) {
	f := ft.of
	f.mu.Lock()
	defer f.mu.Unlock()
	if ft.changed {
		ft.order = slices.SortedFunc(maps.Values(ft.partitions), func(a, b *followed) int {
			return compare(a.TopicPartition, b.TopicPartition)
		})
		ft.changed = false
	}
	ft.newcomers = false
	open := f.throttle.openAt(now)
	out = make([]*followed, 0, len(ft.order))
	first, _ := slices.BinarySearchFunc(ft.order, ft.turn, func(p *followed, tp cluster.TopicPartition) int {
		return cmp.Or(compare(p.TopicPartition, tp), -1) // behind it
	})
	for i := range ft.order {
		p := ft.order[(first+i)%len(ft.order)]
		switch {
		case p.stopped || p.syncing:
		case p.resumeAt.After(now):
			resumeAt = earlier(resumeAt, p.resumeAt)
		case open.After(now) && p.lag != 0 && f.throttle.of(p.Topic, p.Index):
			resumeAt = earlier(resumeAt, open)
		default:
			out = append(out, p)
		}
	}
	return out, resumeAt
}

// ask says what to fetch for p, if all that is in its log is durable.
func (ft *fetcher) ask(p *followed) (ask, bool) {
	replica, err := ft.of.local.Get(p.Topic, p.Index)
	if err != nil {
		ft.of.failedHere(p, err)
		return ask{}, false
	}
	end, lastEpoch, start := replica.Position()
	a := ask{want{p.TopicPartition, p.id, p.leaderEpoch, end, lastEpoch, start}, p, replica}
	if ft.of.isSynced(p, end) {
		return a, true
	}
	ft.of.sync(p, replica, end, func() { signal(ft.wake) })
	return a, ft.of.isSyncedOrLate(p, end)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func compare(a, b cluster.TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
}
