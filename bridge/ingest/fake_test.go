package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// fakeLog is an Appender in memory, whose records become durable when the test
// says so.
type fakeLog struct {
	partitions func(ctx context.Context, topic string) (int32, error) // nil: one each

	mu       sync.Mutex
	asked    []string
	batches  []appended
	ends     map[string]int64 // log end offset, by topic; the tests use partition 0 where it matters
	heldBack bool             // do not call done
	stuck    string           // do not for this topic
	fail     error            // call done with this
	grown    int32            // partitions of every topic, if not 0
	noTopic  error            // refuse every topic with this
	unread   error            // fail reads and Offsets with this
	gate     chan struct{}    // reads wait until it is closed; nil: they do not
}

type appended struct {
	topic     string
	partition int32
	batch     record.Batch
	at        time.Time
	done      func() // nil once called
	base      int64  // anyOffset for a batch that failed
}

func (f *fakeLog) Partitions(ctx context.Context, name string) (topic.Partitions, error) {
	n, err := f.count(ctx, name)
	return topic.Partitions{Count: n}, err
}

func (f *fakeLog) count(ctx context.Context, topic string) (int32, error) {
	f.mu.Lock()
	f.asked = append(f.asked, topic)
	grown, noTopic := f.grown, f.noTopic
	f.mu.Unlock()
	if noTopic != nil || grown > 0 {
		return grown, noTopic
	}
	if f.partitions == nil {
		return 1, nil
	}
	return f.partitions(ctx, topic)
}

func (f *fakeLog) Append(topic string, partition int32, b record.Batch, done func(int64, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := b.Validate(); err != nil {
		panic(err)
	}
	if f.ends == nil {
		f.ends = map[string]int64{}
	}
	base := f.ends[topic]
	err := f.fail
	if err == nil {
		f.ends[topic] += int64(b.Count())
	}
	b.Stamp(base, 0)
	a := appended{topic: topic, partition: partition, batch: b, at: time.Now(), done: func() { done(base, err) }, base: base}
	if err != nil {
		a.base = anyOffset
	}
	if !f.heldBack && f.stuck != topic {
		a.done()
		a.done = nil
	}
	f.batches = append(f.batches, a)
}

// hold keeps what is appended from now on from being durable, until release.
func (f *fakeLog) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heldBack = true
}

// release makes durable what was held back; what follows is held back again.
func (f *fakeLog) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.batches {
		if f.batches[i].done != nil {
			f.batches[i].done()
			f.batches[i].done = nil
		}
	}
}

// goOn makes durable what was held back, and what follows.
func (f *fakeLog) goOn() {
	f.set(func() { f.heldBack, f.stuck = false, "" })
	f.release()
}

// unsettled is the size in bytes of the batches that are not durable, of one topic or,
// without a name, of all.
func (f *fakeLog) unsettled(topic string) (size int64) {
	for _, a := range f.all() {
		if a.done != nil && (topic == "" || a.topic == topic) {
			size += int64(len(a.batch))
		}
	}
	return size
}

func (f *fakeLog) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeLog) all() []appended {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

// counts is how many records each batch had.
func (f *fakeLog) counts() (counts []int) {
	for _, a := range f.all() {
		counts = append(counts, int(a.batch.Count()))
	}
	return counts
}

// values are the records' values, in the order of the log.
func (f *fakeLog) values(t testing.TB) (values []string) {
	t.Helper()
	for _, a := range f.all() {
		for _, r := range recordsOf(t, a.batch) {
			values = append(values, string(r.Value))
		}
	}
	return values
}

func recordsOf(t testing.TB, b record.Batch) (records []record.Record) {
	t.Helper()
	if err := record.Records(b.Payload(), b.Count(), func(r record.Record) bool {
		records = append(records, r)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return records
}

// fakeDevices takes the answers.
type fakeDevices struct {
	mu      sync.Mutex
	answers []answered
	fail    error
	publish func(reply string) // called first
}

type answered struct {
	reply, text string
	at          time.Time
}

func (f *fakeDevices) Publish(subject, payload []byte) error {
	if f.publish != nil {
		f.publish(string(subject))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.answers = append(f.answers, answered{string(subject), string(payload), time.Now()})
	return nil
}

func (f *fakeDevices) all() []answered {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.answers)
}

// errCodes are the answers by reply subject: JetStream's error number, 0 for a
// message that was stored.
func (f *fakeDevices) errCodes(t testing.TB) map[string]int {
	t.Helper()
	codes := map[string]int{}
	for _, a := range f.all() {
		var answer struct {
			Error struct {
				ErrCode int `json:"err_code"`
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(a.text), &answer); err != nil {
			t.Fatalf("answer %q: %v", a.text, err)
		}
		if _, twice := codes[a.reply]; twice {
			t.Fatalf("%s was answered twice", a.reply)
		}
		codes[a.reply] = answer.Error.ErrCode
	}
	return codes
}

// rig is an Ingest that runs, in a bubble, between a fake log and fake devices.
type rig struct {
	*Ingest
	t       *testing.T
	log     *fakeLog
	devices *fakeDevices
	reg     *prometheus.Registry
	start   time.Time
	rules   []subject.Rule
	cfg     Config
	ctx     context.Context // Run's
	end     func() error    // ends Run and returns what it returned
}

var testRules = []subject.Rule{
	{Subject: "telemetry.>", Topic: "telemetry", Key: "{2}"},
	{Subject: "plant.*.>", Topic: "plant.{2}", Key: "{3}", Partition: subject.ByKey},
}

// inBubble runs test in a bubble where time passes only when all wait.
func inBubble(t *testing.T, cfg Config, test func(r *rig)) {
	t.Helper()
	inBubbleBy(t, testRules, cfg, test)
}

// inBubbleBy is inBubble with rules of the test's own.
func inBubbleBy(t *testing.T, rules []subject.Rule, cfg Config, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, log: &fakeLog{}, devices: &fakeDevices{}, start: time.Now(), rules: rules, cfg: cfg}
		r.run()
		test(r)
		if r.ctx.Err() == nil {
			if err := r.end(); err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
}

// run makes the Ingest and runs it, with what the log and the devices have already.
func (r *rig) run() {
	r.t.Helper()
	table, err := subject.Compile(r.rules)
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, rule := range r.rules {
		names = append(names, rule.Subject)
	}
	cfg := r.cfg
	cfg.Store, cfg.NextOffset = r.log, endOf
	r.reg = prometheus.NewRegistry()
	r.Ingest = New(cfg, table, names, r.log, r.devices, slog.New(slog.DiscardHandler), r.reg)
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	in := r.Ingest
	go func() { ended <- in.Run(ctx) }()
	r.ctx = ctx
	r.end = func() error {
		cancel()
		return <-ended
	}
	synctest.Wait()
}

// warm makes the topic telemetry known with one stored message, and forgets that
// it did.
func (r *rig) warm() {
	r.t.Helper()
	r.core("telemetry.warm.up", "x")
	time.Sleep(time.Second) // of the bubble's
	synctest.Wait()
	r.log.set(func() { r.log.batches, r.log.asked, r.log.ends = nil, nil, nil })
	r.start = time.Now()
}

func (r *rig) core(subject, value string) { r.take(subject, "", value) }

func (r *rig) take(subject, reply, value string) {
	m := Message{Subject: []byte(subject), Reply: []byte(reply), Payload: []byte(value)}
	if subject[0] == 'p' {
		m.Rule = 1
	}
	r.Take(&m)
}

// idle is the reader's: all input was taken. It returns when all has settled.
func (r *rig) idle() {
	r.Idle()
	synctest.Wait()
}

func (r *rig) buffered() int64 { return int64(r.bufferedBytes()) }

// counted is a counter's value, given the values of its labels in any order.
func (r *rig) counted(name string, labels ...string) int {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(have, l) }) {
				sum += int(m.GetCounter().GetValue())
			}
		}
	}
	return sum
}

var errDisk = errors.New("disk broke")

var discard = slog.New(slog.DiscardHandler)
