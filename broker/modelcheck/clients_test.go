package modelcheck

import (
	"time"
)

// producer sends one value after the other. Values are unique: what it sends again
// after it was not told may be there twice, and is the same producer's.
type producer struct {
	s       *sim
	id      int64
	all     bool // acks=all
	leader  int32
	value   int64
	tries   int
	attempt int
	last    int64 // the offset of the last value that was acknowledged
}

func (pr *producer) run() {
	if !pr.s.work {
		return
	}
	pr.value, pr.tries = pr.value+1000, 0
	pr.send()
}

// rest has the producer go on in a while.
func (pr *producer) rest(d time.Duration, then func()) {
	pr.s.after(between(pr.s.clients, d/2, 2*d), then)
}

func (pr *producer) send() {
	s := pr.s
	b := s.brokers[pr.leader-1]
	pr.attempt++
	attempt, value := pr.attempt, pr.value
	heard := func(offset int64, err error) {
		if pr.attempt == attempt {
			pr.attempt++
			pr.answered(offset, err)
		}
	}
	s.after(3*time.Second, func() { heard(0, errConnection) })
	s.after(between(s.clients, 0, 5*time.Millisecond), func() {
		life := b.life
		b.run(life, func() {
			b.partition.produce(value, pr.all, func(offset int64, err error) {
				if err == nil {
					s.check.acks(b, offset, value, pr.all) // the broker says so, whoever hears it
				}
				if s.clients.IntN(50) > 0 {
					s.after(between(s.clients, 0, 5*time.Millisecond), func() { heard(offset, err) })
				}
			})
		})
	})
}

func (pr *producer) answered(offset int64, err error) {
	switch {
	case err == nil:
		if pr.all && offset <= pr.last {
			pr.s.check.fail("producer %d is told offset %d after %d", pr.id, offset, pr.last)
		}
		pr.last = offset
		pr.rest(pr.s.cfg.pause, pr.run)
	case pr.tries > 4:
		pr.rest(100*time.Millisecond, pr.run)
	default:
		pr.tries++
		pr.leader = pr.ask()
		pr.rest(100*time.Millisecond, pr.send)
	}
}

// ask is a broker's word about who leads, or a guess.
func (pr *producer) ask() int32 {
	s := pr.s
	b := s.brokers[s.clients.IntN(len(s.brokers))]
	if b.up && b.frozen == 0 && b.partition.order.leader > 0 {
		return b.partition.order.leader
	}
	return s.cfg.replicas[s.clients.IntN(len(s.cfg.replicas))]
}

// consumer reads what is committed, from whichever replica, the leader or not.
type consumer struct {
	s        *sim
	epoch    int32 // the latest leader epoch that it knows
	position int64
	latest   int64 // that it was told
}

func (co *consumer) poll() {
	s := co.s
	b := s.brokers[s.cfg.replicas[s.clients.IntN(len(s.cfg.replicas))]-1]
	if b.up && b.frozen == 0 {
		co.read(b)
	}
}

// read is a fetch of up to some records. A broker that knows an earlier epoch than the
// consumer is not believed, as Kafka's clients have it.
func (co *consumer) read(b *broker) {
	p, l := b.partition, b.log
	if p.order.leader < 0 || p.order.leaderEpoch < co.epoch {
		return
	}
	co.epoch = p.order.leaderEpoch
	if p.leading != nil {
		co.askLatest(p)
	}
	switch {
	case co.position < l.start:
		co.position = l.start // it was deleted
	case co.position > l.end() && p.leading != nil:
		co.s.check.fail("a consumer at %d is out of range at broker %d, which leads epoch %d and ends at %d", co.position, b.id, co.epoch, l.end())
	case co.position < p.highWatermark:
		co.position = min(p.highWatermark, co.position+1+co.s.clients.Int64N(30))
	}
}

// askLatest is ListOffsets: what a leader says never goes back.
func (co *consumer) askLatest(p *replicaOf) {
	if p.highWatermark < p.leading.EpochStart() {
		return // it says that it does not know yet
	}
	if p.highWatermark < max(co.latest, co.position) {
		co.s.check.fail("the latest offset is %d at broker %d, which leads epoch %d, after %d", p.highWatermark, p.b.id, co.epoch, max(co.latest, co.position))
	}
	co.latest = p.highWatermark
}
