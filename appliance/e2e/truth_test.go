package e2e

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

const (
	truthRoundsDefault = 5
	truthDevices       = 50 // of each kind
	truthWindow        = 8  // messages of one device that wait for their acks
	truthPartitions    = 2
)

// truthRules lead each crowd to a topic of its own, and each device to one
// partition of that.
const truthRules = `HEADWATER_BRIDGE_RULES=[{"subject": "ids.>", "topic": "ids", "key": "{2}", "partition": "key"}, {"subject": "plain.>", "topic": "plain", "key": "{2}", "partition": "key"}, {"subject": "mqtt.>", "topic": "mqtt", "key": "{2}", "partition": "key"}]`

// Killed again and again under crowds of devices, the process has every message
// that it acked. Those with ids, which the devices send again until they are
// acked, are there exactly once.
func TestAckTruth(t *testing.T) {
	r := newTruthRig(t, t.TempDir())
	r.fall = func() { kill(t, r.p) }
	r.run(t, rounds(t, "HEADWATER_TRUTH_ROUNDS", truthRoundsDefault))
}

// truthRig is a process and the crowds that publish to it, over all that happens
// to it.
type truthRig struct {
	p       *process.Process
	rng     *rand.Rand
	crowds  []*crowd
	audited map[*crowd]map[int32]int64 // up to where, by partition
	fall    func()                     // has the process end without a warning
	rise    func()                     // repairs what a restart needs; may be nil
	dark    atomic.Bool                // the power is going or gone: acks do not count
}

func newTruthRig(t *testing.T, dataDir string, env ...string) *truthRig {
	t.Helper()
	r := &truthRig{rng: seeded(t), audited: map[*crowd]map[int32]int64{}}
	r.p = prepare(t, dataDir, append(env, truthRules)...)
	restart(t, r.p)
	r.crowds = []*crowd{
		natsCrowd(r.p.NATS, "ids", truthDevices/2, truthWindow, true, r.dark.Load),
		natsCrowd(r.p.NATS, "plain", truthDevices/2, truthWindow, false, r.dark.Load),
		mqttCrowd(r.p.MQTT, "mqtt", truthDevices, truthWindow, r.dark.Load),
	}
	for _, c := range r.crowds {
		createTopic(t, r.p.Kafka, c.topic, truthPartitions)
		r.audited[c] = map[int32]int64{}
	}
	return r
}

// run does the rounds, then lets every device have its last messages acked, and
// reads everything once more.
func (r *truthRig) run(t *testing.T, n int) {
	t.Helper()
	began := time.Now()
	for range n {
		r.round(t)
		for _, c := range r.crowds {
			if !c.check.sound() {
				c.check.report(t)
			}
		}
		if t.Failed() {
			return
		}
	}
	took := time.Since(began)
	for _, c := range r.crowds {
		c.settle(t, false)
		clear(r.audited[c])
		r.audit(t, c)
		c.check.report(t)
	}
	t.Logf("%d rounds, %v each", n, (took / time.Duration(n)).Round(time.Millisecond))
}

// round lets devices publish, has the process end at an ack of a chosen number of
// one crowd, anywhere for the others, and holds what is stored after a restart
// against what they were told.
func (r *truthRig) round(t *testing.T) {
	t.Helper()
	ctx := within(t, 2*patience)
	fresh, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, c := range r.crowds {
		c.start(ctx, fresh)
	}
	order := r.rng.Perm(len(r.crowds))
	for i, n := range order {
		c := r.crowds[n]
		few := int64(1)
		if i == len(order)-1 {
			few += r.rng.Int64N(2000)
		}
		c.acks.awaitMore(t, r.p, few, "acks of crowd "+c.topic)
	}
	r.fall()
	cancel()
	for _, c := range r.crowds {
		c.running.Wait() // before the restart, or what is sent again is not the device's doing
		c.complain(t, true)
	}
	if r.rise != nil {
		r.rise()
	}
	restart(t, r.p)
	for _, c := range r.crowds {
		r.audit(t, c)
	}
}

// found returns how many anomalies of a kind there are, in all topics.
func (r *truthRig) found(kind anomaly) (n int) {
	for _, c := range r.crowds {
		n += c.check.found(kind)
	}
	return n
}

// audit reads what has come to a crowd's topic since the last audit.
func (r *truthRig) audit(t *testing.T, c *crowd) {
	t.Helper()
	from := r.audited[c]
	records := readFrom(t, r.p.Kafka, c.topic, from)
	c.check.audit(records, from)
	next := map[int32]int64{}
	for partition, offset := range from {
		next[partition] = offset
	}
	for _, s := range records {
		next[s.partition] = max(next[s.partition], s.offset+1)
	}
	r.audited[c] = next
}
