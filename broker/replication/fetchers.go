package replication

import (
	"context"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// Fetchers follow the leaders of this broker's partitions.
type Fetchers struct {
	cfg     Config
	local   Replicas
	dial    func(leader cluster.Broker) Caller
	log     *slog.Logger
	metrics metrics
	wanted  chan struct{} // there are fetchers that Run has not started

	mu       sync.Mutex // guards all below, and what is said to be guarded by it elsewhere
	followed map[cluster.TopicPartition]*followed
	fetchers map[place]*fetcher
	throttle throttle
}

// place is where a fetcher fetches: one of those for a leader.
type place struct {
	leader cluster.Broker
	number int
}

// New returns Fetchers that do nothing until Run. dial makes a connection to a
// leader; it must not wait for it. A connection must let answers of
// cfg.MaxBytes and one batch more through. reg may be nil.
func New(cfg Config, local Replicas, dial func(leader cluster.Broker) Caller, log *slog.Logger, reg prometheus.Registerer) *Fetchers {
	f := &Fetchers{
		cfg: cfg, local: local, dial: dial, log: log,
		wanted:   make(chan struct{}, 1),
		followed: map[cluster.TopicPartition]*followed{},
		fetchers: map[place]*fetcher{},
	}
	f.metrics = newMetrics(reg, f)
	return f
}

// Follow has a partition follow leader from now on, whatever it did before. The
// partition must be a follower in that epoch already.
func (f *Fetchers) Follow(topicName string, index int32, id topic.ID, leader cluster.Broker, leaderEpoch int32) {
	tp := cluster.TopicPartition{Topic: topicName, Index: index}
	at := place{leader, f.number(tp)}
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &followed{TopicPartition: tp, id: id, leaderEpoch: leaderEpoch, synced: -1, lag: -1}
	before := f.followed[tp]
	if p.by = f.fetchers[at]; p.by == nil {
		p.by = newFetcher(f, at)
		f.fetchers[at] = p.by
		signal(f.wanted)
	}
	p.by.partitions[tp], p.by.changed = p, true // before the other goes: a fetcher without partitions ends
	f.followed[tp] = p
	if before != nil {
		f.leave(before)
	}
	signal(p.by.wake)
	p.by.hurry()
}

// Unfollow has a partition follow nobody. One that does not is no error.
func (f *Fetchers) Unfollow(topicName string, index int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tp := cluster.TopicPartition{Topic: topicName, Index: index}
	if p := f.followed[tp]; p != nil {
		delete(f.followed, tp)
		f.leave(p)
	}
}

// leave takes p, for whom there is another order, off its fetcher, which ends with its
// last partition. mu is held.
func (f *Fetchers) leave(p *followed) {
	if p.release != nil {
		p.release()
	}
	if p.by.partitions[p.TopicPartition] != p {
		return
	}
	delete(p.by.partitions, p.TopicPartition)
	p.by.changed = true
	if len(p.by.partitions) == 0 {
		delete(f.fetchers, p.by.at)
		p.by.end()
	}
}

// number spreads partitions over the fetchers of their leader.
func (f *Fetchers) number(tp cluster.TopicPartition) int {
	h := fnv.New32a()
	h.Write([]byte(tp.Topic))
	return int((h.Sum32()*31 + uint32(tp.Index)) % uint32(max(f.cfg.PerLeader, 1)))
}

// SetThrottle bounds what throttled partitions that are behind fetch, in bytes a
// second over all leaders: follower.replication.throttled.rate; 0 is no bound. applies
// says which are throttled (follower.replication.throttled.replicas); it must not
// block.
func (f *Fetchers) SetThrottle(rate int64, applies func(topic string, index int32) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.throttle.set(rate, applies)
	for _, ft := range f.fetchers {
		signal(ft.wake)
	}
}

// Run fetches until ctx is done.
func (f *Fetchers) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		for _, ft := range f.start() {
			running.Go(func() { ft.run(ctx) })
		}
		select {
		case <-f.wanted:
		case <-ctx.Done():
			return nil
		}
	}
}

// start returns the fetchers that were not started yet, and takes them for started.
func (f *Fetchers) start() (fresh []*fetcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ft := range f.fetchers {
		if !ft.started {
			ft.started = true
			fresh = append(fresh, ft)
		}
	}
	return fresh
}

// Lag is how far a follower is behind.
type Lag struct {
	cluster.TopicPartition
	Leader  int32
	Fetcher int   // number of the fetcher, of those for the leader
	Offsets int64 // to the leader's high watermark; -1: nothing is known yet
	Stopped bool  // it follows no more, since the local log failed
}

// Lags returns all partitions that follow, by name.
func (f *Fetchers) Lags() []Lag {
	f.mu.Lock()
	out := make([]Lag, 0, len(f.followed))
	for p := range maps.Values(f.followed) {
		out = append(out, Lag{p.TopicPartition, p.by.at.leader.ID, p.by.at.number, p.lag, p.stopped})
	}
	f.mu.Unlock()
	slices.SortFunc(out, func(a, b Lag) int { return compare(a.TopicPartition, b.TopicPartition) })
	return out
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
