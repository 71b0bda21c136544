package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater/headwater/appliance/process"
)

const (
	stallDevices = 50
	stallWindow  = 16
	stallBytes   = 16 << 10 // of the largest message that asks for an ack
	stallBuffer  = 4 << 20  // less than all that wait for acks would take
	coreBytes    = 1 << 10
)

// stallRules lead the crowd that asks for acks and two kinds of telemetry to topics
// of their own.
const stallRules = `HEADWATER_BRIDGE_RULES=[{"subject": "asking.>", "topic": "asking"}, {"subject": "warm.>", "topic": "warm"}, {"subject": "cold.>", "topic": "cold"}]`

// While the disk stands still devices that ask for acks wait, and are refused once
// there is no room for them; best-effort messages are dropped, and each is counted
// under its rule; readers read, memory stays under its ceiling. When the disk goes
// on, so does everything, and what was acked is there.
func TestStalledDisk(t *testing.T) {
	card := newCard(t, cutCardBytes)
	p := prepare(t, filepath.Join(card.dir, "data"), stallRules,
		fmt.Sprintf("HEADWATER_MEMORY_LIMIT=%d", ceiling), fmt.Sprintf("HEADWATER_BRIDGE_BUFFER=%d", stallBuffer))
	restart(t, p)
	for _, topic := range []string{"asking", "warm", "cold"} {
		createTopic(t, p.Kafka, topic, 1)
	}
	asking := natsCrowd(p.NATS, "asking", stallDevices, stallWindow, false, func() bool { return false })
	asking.maxBytes = stallBytes
	telemetry := []*telemetry{{subject: "warm.a"}, {subject: "cold.b"}}

	ctx, stop := context.WithCancel(within(t, patience))
	defer stop()
	asking.start(within(t, 2*patience), ctx)
	asking.acks.awaitMore(t, p, 200, "acks")
	for _, s := range telemetry {
		s.publish(t, p.NATS, 1000)
		s.await(t, p)
	}
	asStored := len(readAll(t, p.Kafka, "warm"))

	card.freeze(t)
	for _, d := range asking.devices {
		d.stalled(true)
	}
	var publishing sync.WaitGroup
	for i, s := range telemetry {
		publishing.Go(func() { s.publish(t, p.NATS, 8000+4000*i) })
	}
	publishing.Wait()
	asking.refusals.await(t, p, 1, "refusals")
	for _, s := range telemetry {
		s.await(t, p)
	}
	if got := len(readAll(t, p.Kafka, "warm")); got < asStored {
		t.Errorf("%d records can be read from the disk that stands still, there were %d before", got, asStored)
	}
	refused := asking.refusedWith(t, "503")
	for _, d := range asking.devices {
		d.stalled(false)
		if len(d.early) > 0 {
			t.Errorf("device %s: %d messages were acked while nothing could be stored", d.name, len(d.early))
		}
	}
	card.thaw(t)

	stop()
	asking.running.Wait() // for those that waited; none did in vain
	asking.settle(t, true)
	fresh, stop := context.WithCancel(within(t, patience))
	defer stop()
	asking.start(within(t, 2*patience), fresh)
	asking.acks.awaitMore(t, p, 200, "acks after the disk went on")
	stop()
	asking.settle(t, true)
	asking.check.audit(readAll(t, p.Kafka, "asking"), nil)
	asking.check.report(t)
	for _, s := range telemetry {
		s.publish(t, p.NATS, 1000)
		s.check(t, p)
	}
	_, peak, err := p.Memory()
	if err != nil || peak > ceiling {
		t.Errorf("%.1f MB were in memory at the most, %v; the ceiling is %.1f MB", float64(peak)/1e6, err, float64(ceiling)/1e6)
	}
	t.Logf("%d of %d devices were refused; %.1f MB in memory at the most", refused, stallDevices, float64(peak)/1e6)
}

// telemetry is best-effort messages on one subject, whose first token names the
// topic and the rule.
type telemetry struct {
	subject string
	sent    int
}

func (s *telemetry) topic() string { return s.subject[:strings.IndexByte(s.subject, '.')] }

func (s *telemetry) metric(t *testing.T, p *process.Process, name string, labels ...string) int {
	t.Helper()
	v, err := p.Metric(within(t, patience), name, append(labels, fmt.Sprintf("rule=%q", s.topic()+".>"))...)
	if err != nil {
		t.Fatal(err)
	}
	return int(v)
}

// publish publishes n messages, and returns when the server has them.
func (s *telemetry) publish(t *testing.T, address string, n int) {
	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	for range n {
		s.sent++
		value := fmt.Sprintf("%d %s", s.sent, strings.Repeat("x", coreBytes))
		if err := nc.Publish(s.subject, []byte(value)); err != nil {
			t.Error(err)
			return
		}
	}
	if err := nc.FlushWithContext(within(t, patience)); err != nil {
		t.Error(err)
	}
}

// await waits until the bridge has heard of all that was sent.
func (s *telemetry) await(t *testing.T, p *process.Process) {
	t.Helper()
	eventually(t, s.subject+": not all messages are counted", func() bool {
		return s.metric(t, p, "headwater_bridge_messages_total", `kind="core"`)+s.metric(t, p, "headwater_bridge_lost_total") >= s.sent
	})
}

// check holds that each message is stored once, or was counted as dropped.
func (s *telemetry) check(t *testing.T, p *process.Process) {
	t.Helper()
	s.await(t, p)
	eventually(t, "messages are still on their way to the log", func() bool {
		v, err := p.Metric(within(t, patience), "headwater_bridge_buffered_bytes")
		if err != nil {
			t.Fatal(err)
		}
		return v == 0
	})
	there := map[string]bool{}
	records := readAll(t, p.Kafka, s.topic())
	for _, r := range records {
		there[r.value] = true
	}
	dropped := s.metric(t, p, "headwater_bridge_dropped_total") + s.metric(t, p, "headwater_bridge_lost_total")
	if len(there) != len(records) || len(there)+dropped != s.sent || dropped == 0 {
		t.Errorf("%s: %d messages were sent; %d are stored, in %d records, and %d counted as dropped",
			s.subject, s.sent, len(there), len(records), dropped)
	}
	t.Logf("%s: %d sent, %d stored, %d dropped", s.subject, s.sent, len(there), dropped)
}

// eventually asks until yes says so, for what the process tells only who asks.
func eventually(t *testing.T, otherwise string, yes func() bool) {
	t.Helper()
	ctx := within(t, patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s, after %v", otherwise, patience)
		}
	}
}
