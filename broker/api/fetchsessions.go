package api

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// The session epochs that stand for something (KIP-227). Both come with a request
// that names all of its partitions.
const (
	wantsSession int32 = 0  // a new session is to begin
	finalEpoch   int32 = -1 // none is; one that is named ends
)

// keptFor is how long a session has its place for certain: from its last use
// against everyone, from its beginning against one with more partitions.
const keptFor = 2 * time.Minute

// topicIDVersion is the first of Fetch that names topics by their ids.
const topicIDVersion = 13

// fetchSessions is the cache of fetch sessions, bounded by their number and by the
// memory that they take. A consumer that gets none names its partitions each time.
type fetchSessions struct {
	slots    int
	maxBytes int64

	mu        sync.Mutex // guards all below, and the sessions
	sessions  map[int32]*fetchSession
	bytes     int64 // of all
	evictions int64
}

func newFetchSessions(slots int, maxBytes int64) *fetchSessions {
	return &fetchSessions{slots: slots, maxBytes: maxBytes, sessions: map[int32]*fetchSession{}}
}

// fetchScope is what sessions make of a request: the partitions that are meant, and
// how the answer is to be told.
type fetchScope struct {
	asks       []fetchAsk
	code       wire.ErrorCode // the answer, in place of partitions
	byID       bool
	creates    bool            // a session begins with the answer
	session    *fetchSession   // that the answer belongs to
	epoch      int32           // that session has as long as this is its latest fetch
	superseded <-chan struct{} // closed when it is so no longer
}

// open says what req means, and takes what it changes in its session.
func (c *fetchSessions) open(req *kmsg.FetchRequest, now time.Time) fetchScope {
	scope := fetchScope{byID: req.Version >= topicIDVersion}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sessions[req.SessionID]
	if req.SessionEpoch == wantsSession || req.SessionEpoch == finalEpoch {
		if s != nil {
			c.remove(s)
		}
		scope.asks, scope.creates = asksOf(req), req.SessionEpoch == wantsSession
		return scope
	}
	switch {
	case s == nil:
		scope.code = wire.FetchSessionIDNotFound
	case s.epoch != req.SessionEpoch:
		scope.code = wire.InvalidFetchSessionEpoch
	case s.byID != scope.byID:
		scope.code = wire.FetchSessionTopicIDError
	default:
		c.resume(&scope, s, req, now)
	}
	return scope
}

// resume takes an incremental request into its session.
func (c *fetchSessions) resume(scope *fetchScope, s *fetchSession, req *kmsg.FetchRequest, now time.Time) {
	before := s.bytes
	wanted := asksOf(req)
	for _, ask := range wanted {
		s.want(ask)
	}
	for _, t := range req.ForgottenTopics {
		for _, index := range t.Partitions {
			s.forget(fetchTarget{t.Topic, topic.ID(t.TopicID), index})
		}
	}
	c.bytes += s.bytes - before
	switch {
	case len(s.parts) == 0:
		c.remove(s)
		scope.asks = wanted
	case c.bytes > c.maxBytes && s.bytes > before:
		// It has outgrown the cache. Its client comes again with all its partitions,
		// and then the rules for a new session decide.
		c.remove(s)
		c.evictions++
		scope.code = wire.FetchSessionIDNotFound
	default:
		s.used, s.epoch = now, nextEpoch(s.epoch)
		scope.session, scope.epoch, scope.superseded = s, s.epoch, s.supersede()
		scope.asks = s.asks()
	}
}

// asksOf lists the partitions that req names.
func asksOf(req *kmsg.FetchRequest) []fetchAsk {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	out := make([]fetchAsk, 0, n)
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			out = append(out, fetchAsk{
				fetchTarget: fetchTarget{t.Topic, topic.ID(t.TopicID), p.Partition},
				offset:      p.FetchOffset, leaderEpoch: p.CurrentLeaderEpoch, maxBytes: p.PartitionMaxBytes,
				lastEpoch: p.LastFetchedEpoch, logStartOffset: p.LogStartOffset,
			})
		}
	}
	return out
}

// tell decides what of got, which was found for the scope's partitions in their
// order, the answer has: it returns the session that it names and whether each
// partition is in it. A session that is to begin does so now.
func (c *fetchSessions) tell(scope *fetchScope, got []wire.FetchedPartition, now time.Time) (sessionID int32, code wire.ErrorCode, told func(i int) bool) {
	all := func(int) bool { return true }
	none := func(int) bool { return false }
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s := scope.session; {
	case scope.code != wire.None:
		return 0, scope.code, none
	case scope.creates:
		return c.create(scope, got, now), wire.None, all
	case s == nil:
		return 0, wire.None, all
	case s.epoch != scope.epoch:
		return s.id, wire.InvalidFetchSessionEpoch, none
	default:
		news := make([]bool, len(got))
		for i := range got {
			news[i] = s.news(scope.asks[i].fetchTarget, &got[i])
		}
		return s.id, wire.None, func(i int) bool { return news[i] }
	}
}

// tellNone is tell for an answer that has no partitions, as one that comes at once
// because its client has had too much.
func (c *fetchSessions) tellNone(scope *fetchScope) (sessionID int32, code wire.ErrorCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s := scope.session; {
	case s == nil:
		return 0, scope.code
	case s.epoch != scope.epoch:
		return s.id, wire.InvalidFetchSessionEpoch
	default:
		return s.id, wire.None
	}
}

// create begins a session whose client was told got, and returns its id; 0 when
// there is no room.
func (c *fetchSessions) create(scope *fetchScope, got []wire.FetchedPartition, now time.Time) int32 {
	if len(scope.asks) == 0 || c.slots == 0 {
		return 0
	}
	s := newFetchSession(0, scope.byID, now)
	for i, ask := range scope.asks {
		s.want(ask)
		s.news(ask.fetchTarget, &got[i])
	}
	if s.bytes > c.maxBytes {
		return 0
	}
	for len(c.sessions) >= c.slots || c.bytes+s.bytes > c.maxBytes {
		victim := c.victim(len(s.parts), now)
		if victim == nil {
			return 0
		}
		c.remove(victim)
		c.evictions++
	}
	for s.id == 0 || c.sessions[s.id] != nil {
		s.id = rand.Int32()
	}
	c.sessions[s.id] = s
	c.bytes += s.bytes
	return s.id
}

// victim is the session that one with so many partitions may take the place of: the
// one that was used longest ago, if that is long; or else the smallest of those that
// are not new, if it is smaller. Nil when there is none.
func (c *fetchSessions) victim(parts int, now time.Time) *fetchSession {
	var oldest, smallest *fetchSession
	for _, s := range c.sessions {
		if oldest == nil || s.used.Before(oldest.used) {
			oldest = s
		}
		if now.Sub(s.created) > keptFor && (smallest == nil || len(s.parts) < len(smallest.parts)) {
			smallest = s
		}
	}
	switch {
	case oldest != nil && now.Sub(oldest.used) > keptFor:
		return oldest
	case smallest != nil && len(smallest.parts) < parts:
		return smallest
	}
	return nil
}

// remove ends s. A fetch that waits over it does so no longer.
func (c *fetchSessions) remove(s *fetchSession) {
	delete(c.sessions, s.id)
	c.bytes -= s.bytes
	if s.current != nil {
		close(s.current)
		s.current = nil
	}
}

// register adds the cache's metrics to reg, by the names that Kafka's JMX exporter
// gives.
func (c *fetchSessions) register(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	look := func(f func() int64) func() float64 {
		return func() float64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return float64(f())
		}
	}
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kafka_server_fetchsessioncache_numincrementalfetchsessions",
			Help: "Fetch sessions that are remembered.",
		}, look(func() int64 { return int64(len(c.sessions)) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
			Help: "Partitions in all fetch sessions together.",
		}, look(func() (n int64) {
			for _, s := range c.sessions {
				n += int64(len(s.parts))
			}
			return n
		})),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total",
			Help: "Fetch sessions that had to make room for others, or outgrew the memory for sessions.",
		}, look(func() int64 { return c.evictions })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "headwater_fetch_session_bytes",
			Help: "Memory that fetch sessions count for.",
		}, look(func() int64 { return c.bytes })),
	)
}
