package mqtt

import (
	"log/slog"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Store keeps what must outlive the process, as a log of keys and values: of each
// key the last value counts, and nil says that there is none.
type Store interface {
	// AppendState writes all or nothing, and calls done once, when it is as durable as the
	// broker promises or when it failed. done must not block; the slices are not used
	// after it.
	AppendState(keys, values [][]byte, done func(error))
	// ReadState yields what was written before the call, in order; a key may come more than
	// once. timestamp is when it was written, in Unix milliseconds. skipped is how much
	// is damaged and left out; with an error what follows is missing too. The slices
	// are only valid during yield.
	ReadState(yield func(timestamp int64, key, value []byte)) (skipped int, err error)
}

// state is what survives a restart: sessions that outlast their connection, with
// subscriptions, messages and packet ids, and retained messages. It knows what the
// store has, so that all of it can be taken back.
//
// What is said of a session is written in the order in which it happened, so that
// what a power cut leaves is the state at some moment before.
type state struct {
	server  *Server
	log     *slog.Logger
	metrics *stateMetrics
	journal *journal // nil: nothing is kept
	stop    chan struct{}
	ended   sync.WaitGroup

	mu          sync.Mutex // guards below
	sessions    map[string]*kept
	queuedBytes int64 // of all sessions
}

// kept is what the store has of a session.
type kept struct {
	owner    *mochi.Client    // whose session it is now
	filters  map[string]bool  // subscribed to
	queued   map[uint16]int64 // messages by packet id, and their bytes
	received map[uint16]bool  // packet ids of QoS 2 publishes that are not released
	expires  time.Time        // of a session that nobody came back to since the start
}

func newKept(owner *mochi.Client) *kept {
	return &kept{owner: owner, filters: map[string]bool{}, queued: map[uint16]int64{}, received: map[uint16]bool{}}
}

type stateMetrics struct {
	written  prometheus.Counter
	failures prometheus.Counter
	lost     prometheus.Counter
	skipped  prometheus.Counter
	full     prometheus.Counter
}

func newState(s *Server, log *slog.Logger, reg prometheus.Registerer) *state {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_mqtt_state_" + name, Help: help})
	}
	st := &state{server: s, log: log, stop: make(chan struct{}), sessions: map[string]*kept{}, metrics: &stateMetrics{
		written:  counter("records_total", "Records of sessions and retained messages that were written."),
		failures: counter("failures_total", "Attempts to write sessions and retained messages that failed; each is made again."),
		lost:     counter("lost_total", "Records of sessions and retained messages that were not written, for too many waited for a disk that fails."),
		skipped:  counter("skipped_total", "Records of sessions and retained messages that could not be read at the start."),
		full:     counter("full_total", "Messages that were not kept for a client that is away, for those of all clients take too much."),
	}}
	if reg != nil {
		m := st.metrics
		reg.MustRegister(m.written, m.failures, m.lost, m.skipped, m.full, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "headwater_mqtt_state_queued_bytes", Help: "Messages that are kept for sessions.",
		}, func() float64 {
			st.mu.Lock()
			defer st.mu.Unlock()
			return float64(st.queuedBytes)
		}))
	}
	return st
}

// Keep has sessions and retained messages kept in store. It is called before Start.
func (s *Server) Keep(store Store) {
	s.state.journal = newJournal(store, s.log, s.state.metrics)
}

// start restores what the store has and goes on from there, unless nothing is kept.
func (st *state) start() error {
	if st.journal == nil {
		return nil
	}
	if err := st.server.mochi.AddHook(&keeper{state: st}, nil); err != nil {
		return err
	}
	st.ended.Go(st.journal.run)
	st.restore()
	st.ended.Go(st.reap)
	return nil
}

// end waits until what was said is written, as far as the disk takes it.
func (st *state) end() {
	if st.journal == nil {
		return
	}
	close(st.stop)
	defer st.journal.close()()
	st.ended.Wait()
}

// reapEvery is how often sessions are looked for that have expired.
const reapEvery = 30 * time.Second

// reap ends sessions that nobody came back to since the start. mochi would count by a
// wall clock that jumps when a box without a clock chip hears of the time.
func (st *state) reap() {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		select {
		case <-st.stop:
			return
		case now := <-tick.C:
			st.expire(now)
		}
	}
}

func (st *state) expire(now time.Time) {
	st.mu.Lock()
	var due []*mochi.Client
	for _, k := range st.sessions {
		if !k.expires.IsZero() && !now.Before(k.expires) {
			due = append(due, k.owner)
		}
	}
	st.mu.Unlock()
	s := st.server
	for _, cl := range due {
		if current, ok := s.mochi.Clients.Get(cl.ID); !ok || current != cl {
			continue
		}
		(&keeper{state: st}).OnClientExpired(cl)
		(&hook{server: s}).OnClientExpired(cl)
		s.mochi.Clients.Delete(cl.ID)
	}
}
