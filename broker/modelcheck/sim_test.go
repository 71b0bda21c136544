package modelcheck

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// sim is the time, and what is to happen in it.
type sim struct {
	cfg   config
	rules rules
	now   time.Duration // since the beginning
	queue events
	made  uint64 // events, ever

	net, disk, clients *rand.Rand // of their own: a fault that is left out changes little else

	cuts    map[[2]int32]int // links, from and to, and how many faults cut them
	late    int              // faults that make requests late, or lose them
	store   *store
	brokers []*broker
	work    bool // clients produce
	check   *checker

	tracing bool
	trace   []string
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = event{}
	*q = (*q)[:len(*q)-1]
	return last
}

// after has something happen in a while.
func (s *sim) after(d time.Duration, do func()) {
	s.made++
	heap.Push(&s.queue, event{s.now + d, s.made, do})
}

// every has something happen again and again.
func (s *sim) every(d time.Duration, do func()) {
	s.after(d, func() {
		do()
		s.every(d, do)
	})
}

// run lets time pass until then, or something is found to be wrong.
func (s *sim) run(until time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= until && s.check.wrong == "" {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
		s.check.step()
	}
	s.now = max(s.now, until)
}

// clock is the time as the rules take it.
func (s *sim) clock() time.Time { return time.Unix(1e9, 0).Add(s.now) }

// note is a line of the history. Its cost is nothing unless someone reads it.
func (s *sim) note(format string, args ...any) {
	if s.tracing {
		s.trace = append(s.trace, fmt.Sprintf("%9.3fs ", s.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// connected reports whether what from sends reaches to now.
func (s *sim) connected(from, to int32) bool { return s.cuts[[2]int32{from, to}] == 0 }

// latency is how long a message is on its way.
func (s *sim) latency() time.Duration {
	switch {
	case s.late > 0 && s.net.IntN(4) == 0:
		return between(s.net, 0, 3*time.Second)
	case s.net.IntN(50) == 0:
		return between(s.net, 0, 500*time.Millisecond)
	}
	return between(s.net, time.Millisecond, 5*time.Millisecond)
}

// maxLate is how long after its sender gave it up a request may arrive. The rules rely
// on it being less than a minute.
const maxLate = 45 * time.Second

// deliver has a message arrive, or not: a link that is cut holds it for a while.
func (s *sim) deliver(from, to int32, d time.Duration, arrive func()) {
	sent := s.now
	var try func()
	try = func() {
		switch {
		case s.connected(from, to):
			arrive()
		case s.now-sent < maxLate-3*time.Second && s.net.IntN(8) > 0:
			s.after(between(s.net, 200*time.Millisecond, 3*time.Second), try) // TCP sends it again
		}
	}
	s.after(d, try)
}

// call makes a request of a broker, and does done once, unless the caller is no more.
// Whoever gets an error does not know whether the request was heard, or is yet to be.
func (b *broker) call(to int32, timeout time.Duration, serve func(server *broker, reply func(any)), done func(resp any, err error)) {
	s, server := b.sim, b.sim.brokers[to-1]
	ours, theirs := b.life, server.life // a connection is between two processes
	over := false
	finish := func(resp any, err error) {
		if !over && b.life == ours {
			over = true
			done(resp, err)
		}
	}
	if !server.up {
		b.after(s.latency(), func() { finish(nil, errConnection) })
		return
	}
	b.after(timeout, func() { finish(nil, errConnection) })
	d := s.latency()
	if s.late > 0 {
		switch s.net.IntN(20) {
		case 0: // lost with its connection
			b.after(d, func() { finish(nil, errConnection) })
			return
		case 1, 2: // given up, and heard all the same
			b.after(d, func() { finish(nil, errConnection) })
			d = between(s.net, 0, maxLate)
		}
	}
	s.deliver(b.id, to, d, func() {
		if server.life != theirs {
			s.deliver(to, b.id, s.latency(), func() { b.run(ours, func() { finish(nil, errConnection) }) })
			return
		}
		server.run(theirs, func() {
			replied := false
			serve(server, func(resp any) {
				if !replied && server.life == theirs {
					replied = true
					s.deliver(to, b.id, s.latency(), func() { b.run(ours, func() { finish(resp, nil) }) })
				}
			})
		})
	})
}

// pipe brings things from one end to the other in their order, in its own time: a
// link that is cut holds them up.
type pipe struct {
	s        *sim
	from, to int32
	queue    []func()
	pumping  bool
}

func (p *pipe) send(arrive func()) {
	p.queue = append(p.queue, arrive)
	p.pump(p.s.latency())
}

func (p *pipe) pump(d time.Duration) {
	if p.pumping {
		return
	}
	p.pumping = true
	p.s.after(d, func() {
		p.pumping = false
		if !p.s.connected(p.from, p.to) {
			p.pump(between(p.s.net, 200*time.Millisecond, time.Second))
			return
		}
		first := p.queue[0]
		p.queue = p.queue[1:]
		first()
		if len(p.queue) > 0 {
			p.pump(between(p.s.net, 0, time.Millisecond))
		}
	})
}
