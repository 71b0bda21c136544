package group

import (
	"sync"
	"time"
)

// cell is a group among others: its lock, and the way of its records to the log.
type cell struct {
	c     *Coordinator
	shard *shard

	mu      sync.Mutex // guards all below; never held across the disk
	g       *group
	removed bool  // no longer in the coordinator
	storing bool  // one goroutine at a time appends, in the order of puts
	counted int64 // of g.bytes and g.rebalances, what the coordinator has counted
	rounds  int64

	at    time.Time // guarded by the timers' lock
	index int       // likewise
}

func newCell(c *Coordinator, s *shard, g *group) *cell {
	return &cell{c: c, shard: s, g: g, index: -1}
}

// do has f change the group, stores what f queued and sees to it that what is due
// later is done. It does nothing and returns false when the group has been removed
// meanwhile.
func (k *cell) do(f func(g *group, now time.Time)) bool {
	k.mu.Lock()
	if k.removed {
		k.mu.Unlock()
		return false
	}
	now, trusted := k.c.clock()
	k.g.doubtful = !trusted
	f(k.g, now)
	k.settle()
	k.mu.Unlock()
	k.flush()
	return true
}

// read shows f the group, which f leaves as it is; false when it has been removed.
func (k *cell) read(f func(*group)) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.removed {
		f(k.g)
	}
	return !k.removed
}

// settle brings what others know of the group up to date. The lock is held.
func (k *cell) settle() {
	k.c.bytes.Add(k.g.bytes - k.counted)
	k.c.metrics.rebalances.Add(float64(k.g.rebalances - k.rounds))
	k.counted, k.rounds = k.g.bytes, k.g.rebalances
	if k.g.gone || k.g.idle() && !k.g.stored && len(k.g.puts) == 0 {
		k.remove()
		return
	}
	k.c.timers.set(k, k.g.due())
}

// remove ends the group here, and what it had to store and nobody took. The lock is
// held.
func (k *cell) remove() {
	k.g.state = Dead
	k.removed = true
	now, _ := k.c.clock()
	puts := k.g.puts
	k.g.puts = nil
	for _, p := range puts {
		p.done(now, -1, ErrNotHere)
	}
	k.c.bytes.Add(-k.counted)
	k.c.timers.remove(k)
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.c.groups[k.g.id] == k {
		delete(k.c.groups, k.g.id)
	}
}

// flush appends what is queued, unless another goroutine does. Once the shard is
// given up, nothing more of it begins.
func (k *cell) flush() {
	for {
		k.mu.Lock()
		if k.storing || k.removed || len(k.g.puts) == 0 {
			k.mu.Unlock()
			return
		}
		puts := k.g.puts
		k.g.puts, k.storing = nil, true
		k.shard.appending.Add(1)
		k.mu.Unlock()
		for _, p := range puts {
			k.c.append(k.shard, p, func(baseOffset int64, err error) { k.stored(p, baseOffset, err) })
		}
		k.mu.Lock()
		k.storing = false
		k.shard.appending.Done()
		k.mu.Unlock()
	}
}

// stored goes on with the group when p is in the log, or will not be. It may run
// on the goroutine that syncs, which must not append: what comes of it is left to
// Run.
func (k *cell) stored(p put, baseOffset int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, trusted := k.c.clock()
	k.g.doubtful = !trusted
	p.done(now, baseOffset, err)
	if k.removed {
		return
	}
	k.settle()
	if len(k.g.puts) > 0 {
		k.c.timers.set(k, now)
	}
}

// tick does what is due.
func (k *cell) tick() {
	k.do(func(g *group, now time.Time) { g.expire(now) })
}

// unload ends the group here without a trace in the log. Those who wait look for
// its new coordinator, which has what is being stored, or has not.
func (k *cell) unload() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.removed {
		return
	}
	for _, m := range k.g.members {
		m.answerJoin(JoinResult{MemberID: m.id, Err: ErrNotHere})
		m.answerSync(SyncResult{Err: ErrNotHere})
	}
	k.remove()
	now, _ := k.c.clock()
	k.g.abandon(now, ErrNotHere)
}
