package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/brokertest"
)

// machine is a machine's clock that stands still until it is told.
type machine struct {
	mu           sync.Mutex // guards all below
	wall         time.Time
	boottime     time.Duration
	boot         int
	synchronized bool
}

func (m *machine) Wall() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall
}

func (m *machine) Boottime() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boottime
}

func (m *machine) BootID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint("boot-", m.boot)
}

func (m *machine) Synchronized() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.synchronized
}

// change lets something happen to the clocks at one moment.
func (m *machine) change(do func(m *machine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do(m)
}

func (m *machine) pass(d time.Duration) {
	m.change(func(m *machine) { m.wall, m.boottime = m.wall.Add(d), m.boottime+d })
}

func years(n int, synchronized bool) func(m *machine) {
	return func(m *machine) { m.wall, m.synchronized = m.wall.AddDate(n, 0, 0), synchronized }
}

// reboot is a boot at the time that the clock chip has, if there is one.
func reboot(chip bool) func(m *machine) {
	return func(m *machine) {
		m.boot, m.boottime, m.synchronized = m.boot+1, 20*time.Second, false
		if !chip {
			m.wall = time.Unix(20, 0)
		}
	}
}

// clocked is a broker on a machine whose clocks are the test's.
type clocked struct {
	t       *testing.T
	machine *machine
	box     *brokertest.Box
	client  *kgo.Client
}

func startClocked(t *testing.T, dir string, m *machine) *clocked {
	cfg := brokertest.Config(dir)
	cfg.Clock, cfg.RetentionEvery = m, 5*time.Millisecond
	cfg.TopicDefaults.Retention = 7 * 24 * time.Hour
	c := &clocked{t: t, machine: m, box: brokertest.Start(t, cfg)}
	var err error
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(c.box.Addr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	return c
}

func (c *clocked) stop() {
	c.client.Close()
	c.box.Stop(c.t)
}

// createHourly makes a topic that keeps its records for an hour.
func (c *clocked) createHourly(name string) {
	c.t.Helper()
	retention := "3600000"
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 5000
	top := kmsg.NewCreateTopicsRequestTopic()
	top.Topic, top.NumPartitions, top.ReplicationFactor = name, 1, 1
	top.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: &retention}}
	req.Topics = append(req.Topics, top)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		c.t.Fatalf("create %s: %+v, %v", name, resp, err)
	}
}

// earliest is the offset that a Kafka client is told to begin with.
func (c *clocked) earliest(name string) int64 {
	c.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp = -2
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: name, Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err != nil || len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		c.t.Fatalf("list offsets of %s: %+v, %v", name, resp, err)
	}
	return resp.Topics[0].Partitions[0].Offset
}

// await returns when the topic begins at offset want.
func (c *clocked) await(name string, want int64) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for got := c.earliest(name); got != want; got = c.earliest(name) {
		if got > want || time.Now().After(deadline) {
			c.t.Fatalf("%s begins at %d, want %d", name, got, want)
		}
	}
}

// hours lets four hours go by. It returns when a round of retention that began
// after now has ended: the records of an hourly topic that comes after all others
// in a round are gone twice.
func (c *clocked) hours() {
	c.t.Helper()
	for range 2 {
		next := put(c.t, c.box, "zz-hourly", "x") + 1
		c.machine.pass(2 * time.Hour)
		c.await("zz-hourly", next)
	}
}

// What Kafka clients find in a topic that keeps its records for a week does not
// change when the wall clock jumps, and does after a week: here 168 hours, of
// which none that the machine was off can be counted.
func TestRetentionOverClockJumps(t *testing.T) {
	m := &machine{wall: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), boottime: time.Minute, synchronized: true}
	dir := t.TempDir()
	c := startClocked(t, dir, m)
	c.createHourly("zz-hourly")
	put(t, c.box, "kept", "one", "two")
	steps := []struct {
		name    string
		restart bool
		change  func(m *machine)
	}{
		{"nothing", false, func(*machine) {}},
		{"ahead", false, years(10, false)},
		{"aheadSynchronized", false, years(10, true)},
		{"back", false, years(-20, true)},
		{"restart", true, func(*machine) {}},
		{"restartAhead", true, years(10, true)},
		{"restartBack", true, years(-10, true)},
		{"bootAhead", true, func(m *machine) { reboot(true)(m); years(10, true)(m) }},
		{"bootIn1970", true, reboot(false)},
		{"heardOfTheTime", false, func(m *machine) { m.wall, m.synchronized = time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC), true }},
		{"bootWithChip", true, reboot(true)},
	}
	for _, step := range steps {
		if step.restart {
			c.stop()
		}
		m.change(step.change)
		if step.restart {
			c = startClocked(t, dir, m)
		}
		c.hours()
		if got := c.earliest("kept"); got != 0 {
			t.Fatalf("%s: kept begins at %d, want 0", step.name, got)
		}
		if got := fmt.Sprint(get(t, c.box, "kept", 2)); got != "[one two]" {
			t.Errorf("%s: read %s", step.name, got)
		}
	}
	week := 7 * 24 * time.Hour
	m.pass(week - time.Duration(len(steps))*4*time.Hour - 2*time.Hour)
	c.hours() // passes the week in its second half
	c.await("kept", 2)
}
