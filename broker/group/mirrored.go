package group

import (
	"path"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// mirrorKey names a copy.
type mirrorKey struct {
	group string
	TopicPartition
}

// mirrored is an offset that is copied.
type mirrored struct {
	mirrorKey
	want    int64 // as it is committed
	written int64 // the last one that was copied; -1 for none
	tried   int64 // one that may have been copied too; notTried for none
	seen    int64 // as the copy stood last; -1 for none
	known   bool  // it has been looked at
	stale   bool  // and is to be, now
	round   int   // the last look at the groups that found the offset
	queued  bool  // in Mirror.queue

	fired bool // in Mirror.fired; guarded by the Mirror's lock
}

const notTried = -2

// collect looks at the committed offsets, and has those copied that are not as their
// copy. Groups that this broker does not have any more are left alone: so are their
// copies.
func (m *Mirror) collect() {
	m.round++
	left := 0
	for _, k := range m.groups.cells() {
		if !m.matches(k.g.id) {
			continue
		}
		k.read(func(g *group) {
			for tp, o := range g.offsets {
				if o.Offset.Offset < 0 {
					continue // which a client may commit, and reads as none
				}
				if e := m.copyOf(mirrorKey{g.id, tp}); e != nil {
					m.wants(e, o.Offset.Offset)
				} else {
					left++
				}
			}
		})
	}
	m.metrics.copies.Set(float64(m.here()))
	if full := left > 0; full != m.full {
		m.full = full
		if full {
			m.log.Warn("more committed offsets than may be copied to ZooKeeper", "copied", m.cfg.MaxOffsets, "left", left)
		}
	}
}

// matches reports whether a group is one of those that are copied.
func (m *Mirror) matches(id string) bool {
	return NamesNode(id) && slices.ContainsFunc(m.cfg.Groups, func(pattern string) bool {
		ok, _ := path.Match(pattern, id)
		return ok
	})
}

// copyOf returns the offset's copy, nil when there is no room for one more.
func (m *Mirror) copyOf(key mirrorKey) *mirrored {
	if e := m.copies[key]; e != nil {
		return e
	}
	if !NamesNode(key.Topic) || len(m.copies) >= m.cfg.MaxOffsets && !m.evict() {
		return nil
	}
	e := &mirrored{mirrorKey: key, round: -1}
	m.copies[key] = e
	return e
}

// evict makes room by forgetting copies of groups that have gone. They are kept until
// then, since what ZooKeeper has been asked to watch it cannot be asked to leave.
func (m *Mirror) evict() bool {
	before := len(m.copies)
	for key, e := range m.copies {
		if e.round < m.round-1 {
			delete(m.copies, key)
		}
	}
	return len(m.copies) < before
}

// wants sets what the copy should be. A copy that comes back may have been another
// broker's meanwhile: it is looked at as for the first time.
func (m *Mirror) wants(e *mirrored, offset int64) {
	if e.round != m.round-1 {
		e.known, e.stale, e.written, e.tried, e.seen = false, true, -1, notTried, -1
	}
	e.round, e.want = m.round, offset
	if e.stale || e.want != e.written {
		m.push(e)
	}
}

// here counts the copies of groups that this broker has.
func (m *Mirror) here() (n int) {
	for _, e := range m.copies {
		if e.round == m.round {
			n++
		}
	}
	return n
}

// push has the copy dealt with, once.
func (m *Mirror) push(e *mirrored) {
	if !e.queued {
		e.queued = true
		m.queue = append(m.queue, e)
	}
}

// next takes the copy that is to be dealt with next: those that have changed go first.
func (m *Mirror) next() *mirrored {
	for {
		e := m.takeFired()
		if e == nil {
			break
		}
		if e.round == m.round {
			e.stale = true
			return e
		}
	}
	for len(m.queue) > 0 {
		e := m.queue[0]
		m.queue = m.queue[1:]
		e.queued = false
		if e.round == m.round && (e.stale || e.want != e.written) {
			return e
		}
	}
	m.queue = nil
	return nil
}

func (m *Mirror) takeFired() *mirrored {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.fired) == 0 {
		m.fired = nil
		return nil
	}
	e := m.fired[0]
	m.fired = m.fired[1:]
	e.fired = false
	return e
}

// changed leaves word that a copy has changed. The store calls it, from anywhere.
func (m *Mirror) changed(e *mirrored) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !e.fired {
		e.fired = true
		m.fired = append(m.fired, e)
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// lookAtAll has every copy looked at again: nobody has watched them since the session
// before.
func (m *Mirror) lookAtAll() {
	for _, e := range m.copies {
		e.stale = true
	}
}

// mirrorMetrics are a Mirror's.
type mirrorMetrics struct {
	writes, failures, outside prometheus.Counter
	copies                    prometheus.Gauge
}

func newMirrorMetrics() mirrorMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return mirrorMetrics{
		writes:   counter("headwater_group_mirror_writes_total", "Committed offsets that were copied to ZooKeeper."),
		failures: counter("headwater_group_mirror_failures_total", "Requests to ZooKeeper for such copies that failed."),
		outside:  counter("headwater_group_mirror_outside_changes_total", "Copies that someone else has changed."),
		copies:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "headwater_group_mirror_offsets", Help: "Offsets of this broker's groups that are copied to ZooKeeper."}),
	}
}

func (m mirrorMetrics) register(reg prometheus.Registerer) {
	if reg != nil {
		reg.MustRegister(m.writes, m.failures, m.outside, m.copies)
	}
}
