package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/record"
)

// fakePositions keeps positions in memory. A commit is done at once, unless it is
// held back.
type fakePositions struct {
	mu      sync.Mutex // guards all below
	groups  map[string]map[fakePartition]fakePosition
	loading error
	fail    error
	held    []func()
	hold    bool
	commits int
}

type fakePartition struct {
	topic     string
	partition int32
}

type fakePosition struct {
	offset   int64
	metadata string
}

func newFakePositions() *fakePositions {
	return &fakePositions{groups: map[string]map[fakePartition]fakePosition{}}
}

// set puts an offset where a Kafka client would.
func (p *fakePositions) set(group, topic string, partition int32, offset int64, metadata string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.groups[group] == nil {
		p.groups[group] = map[fakePartition]fakePosition{}
	}
	p.groups[group][fakePartition{topic, partition}] = fakePosition{offset, metadata}
}

func (p *fakePositions) get(group, topic string, partition int32) (fakePosition, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.groups[group][fakePartition{topic, partition}]
	return at, ok
}

func (p *fakePositions) CommitPosition(group, topic string, partition int32, offset int64, metadata string, done func(error)) {
	end := func() {
		p.mu.Lock()
		err := p.fail
		p.commits++
		p.mu.Unlock()
		if err == nil {
			p.set(group, topic, partition, offset, metadata)
		}
		done(err)
	}
	p.mu.Lock()
	hold := p.hold
	if hold {
		p.held = append(p.held, end)
	}
	p.mu.Unlock()
	if !hold {
		end()
	}
}

// letGo ends the commits that were held back, and holds no more.
func (p *fakePositions) letGo() {
	p.mu.Lock()
	held := p.held
	p.held, p.hold = nil, false
	p.mu.Unlock()
	for _, end := range held {
		end()
	}
}

func (p *fakePositions) Positions(group string, yield func(topic string, partition int32, offset int64, metadata string)) error {
	p.mu.Lock()
	positions := maps.Clone(p.groups[group])
	p.mu.Unlock()
	for at, position := range positions {
		yield(at.topic, at.partition, position.offset, position.metadata)
	}
	return nil
}

func (p *fakePositions) EachGroup(yield func(group string) bool) error {
	p.mu.Lock()
	groups, err := slices.Sorted(maps.Keys(p.groups)), p.loading
	p.mu.Unlock()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if !yield(g) {
			break
		}
	}
	return nil
}

func (p *fakePositions) ForgetPosition(group, topic string, partition int32, done func(error)) {
	p.mu.Lock()
	delete(p.groups[group], fakePartition{topic, partition})
	if len(p.groups[group]) == 0 {
		delete(p.groups, group)
	}
	p.mu.Unlock()
	done(nil)
}

var errFakeLoading = errors.New("loading")

// liveReader is a Reader in memory that records can be appended to.
type liveReader struct {
	*fakeReader
	watchers map[chan<- struct{}]int
}

func (r *liveReader) WatchPartition(topic string, partition int32, wake chan<- struct{}) (func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.find(topic, partition); err != nil {
		return nil, err
	}
	r.watchers[wake]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watchers[wake]--
	}, nil
}

// append adds a record at the end of a log, and tells those who watch.
func (r *liveReader) append(l *fakeLog, subject, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.records = append(l.records, fakeRecord{l.end, l.end, record.Record{Value: []byte(value), Headers: []record.Header{{Key: headerSubject, Value: []byte(subject)}}}})
	l.end++
	for wake, n := range r.watchers {
		if n > 0 {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}

// watching is how often partitions are watched.
func (r *liveReader) watching() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.watchers {
		n += w
	}
	return n
}

// mailed is what came to an inbox.
type mailed struct {
	ackSubject, subject, headers, payload string
}

// text is a short form: the payload, or the status.
func (m mailed) text() string {
	status, ours := strings.CutPrefix(m.headers, "NATS/1.0 ")
	if m.ackSubject == "" && ours {
		status, _, _ = strings.Cut(status, "\r\n")
		return status
	}
	return m.payload
}

// deliveries is how often the message was given.
func (m mailed) deliveries() string { return strings.Split(m.ackSubject, ".")[4] }

// mailWire keeps what is sent, by inbox.
type mailWire struct {
	mu    sync.Mutex // guards all below
	mail  map[string][]mailed
	fail  error
	block map[string]chan struct{} // Deliver to such an inbox waits
}

func (w *mailWire) PublishMsg(subject, _, headers, payload []byte) error {
	return w.Deliver(subject, nil, nil, headers, payload)
}

func (w *mailWire) Deliver(inbox, ackReply, subject, headers, payload []byte) error {
	w.mu.Lock()
	block := w.block[string(inbox)]
	w.mu.Unlock()
	if block != nil {
		<-block
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	w.mail[string(inbox)] = append(w.mail[string(inbox)], mailed{string(ackReply), string(subject), string(headers), string(payload)})
	return nil
}

func (w *mailWire) failWith(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

// box is a Service that runs in a bubble of its own clock.
type box struct {
	*Service
	t         *testing.T
	cfg       Config
	reader    *liveReader
	positions *fakePositions
	wire      *mailWire
	reg       *prometheus.Registry
	stop      func()
}

func newBox(t *testing.T, cfg Config, logs ...*fakeLog) *box {
	if cfg.CommitInterval == 0 {
		cfg.CommitInterval = time.Second
	}
	b := &box{
		t:         t,
		cfg:       cfg,
		reader:    &liveReader{&fakeReader{logs: logs, perRead: 7}, map[chan<- struct{}]int{}},
		positions: newFakePositions(),
	}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// start starts the Service, also once more.
func (b *box) start() {
	b.wire = &mailWire{mail: map[string][]mailed{}, block: map[string]chan struct{}{}}
	b.reg = prometheus.NewRegistry()
	b.cfg.Unknown = func(err error) bool { return errors.Is(err, errFakeUnknown) }
	b.cfg.OutOfRange = func(err error) bool { return errors.Is(err, errFakeOutOfRange) }
	b.Service = New(b.cfg, b.reader, b.positions, b.wire, slog.New(slog.DiscardHandler), b.reg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
	})
	synctest.Wait()
}

// take hands a request to the Service, and waits until nothing happens any more.
func (b *box) take(subject, reply, payload string) {
	b.Take(&Request{Subject: []byte(subject), Reply: []byte(reply), Payload: []byte(payload)})
	synctest.Wait()
}

// get takes what came to an inbox.
func (b *box) get(inbox string) []mailed {
	b.wire.mu.Lock()
	defer b.wire.mu.Unlock()
	got := b.wire.mail[inbox]
	delete(b.wire.mail, inbox)
	return got
}

// want compares what came to an inbox, and returns it.
func (b *box) want(inbox string, want ...string) []mailed {
	b.t.Helper()
	var texts []string
	got := b.get(inbox)
	for _, m := range got {
		texts = append(texts, m.text())
	}
	if !slices.Equal(texts, want) {
		b.t.Fatalf("%s got %q, want %q", inbox, texts, want)
	}
	return got
}

// api asks the API, and returns the JSON of the answer.
func (b *box) api(subject, payload string) (answer map[string]any) {
	b.t.Helper()
	b.take("$JS.API."+subject, "api", payload)
	got := b.get("api")
	if len(got) != 1 {
		b.t.Fatalf("%s: %d answers, want one", subject, len(got))
	}
	if err := json.Unmarshal([]byte(got[0].payload), &answer); err != nil {
		b.t.Fatalf("%s: %q: %v", subject, got[0].payload, err)
	}
	return answer
}

// refused asks the API and returns the error that it answers.
func (b *box) refused(subject, payload string) string {
	b.t.Helper()
	e, ok := b.api(subject, payload)["error"].(map[string]any)
	if !ok {
		b.t.Fatalf("%s %s: no error", subject, payload)
	}
	return fmt.Sprintf("%v %v", e["err_code"], e["description"])
}

// consumer makes a consumer of press-0. config is JSON's inside.
func (b *box) consumer(name, config string) {
	b.t.Helper()
	if e := b.api("CONSUMER.CREATE.press-0."+name, `{"stream_name":"press-0","config":{"name":"`+name+`",`+config+`}}`)["error"]; e != nil {
		b.t.Fatalf("consumer %s: %v", name, e)
	}
}

// pull asks a consumer of press-0 for messages.
func (b *box) pull(consumer, inbox, request string) {
	b.take("$JS.API.CONSUMER.MSG.NEXT.press-0."+consumer, inbox, request)
}

// ack acknowledges messages.
func (b *box) ack(say string, messages ...mailed) {
	for _, m := range messages {
		b.take(m.ackSubject, "", say)
	}
}

// info is what is told of a consumer of press-0.
func (b *box) info(consumer string) consumerInfo {
	b.t.Helper()
	b.take("$JS.API.CONSUMER.INFO.press-0."+consumer, "api", "")
	var info consumerInfo
	if got := b.get("api"); len(got) != 1 || json.Unmarshal([]byte(got[0].payload), &info) != nil {
		b.t.Fatalf("information is %q", got)
	}
	return info
}

// passes lets time pass.
func (b *box) passes(d time.Duration) {
	time.Sleep(d) // on the bubble's clock
	synctest.Wait()
}

// committed is the offset that a durable consumer of press-0 has committed.
func (b *box) committed(name string) int64 {
	at, ok := b.positions.get(name, "press", 0)
	if !ok {
		return -1
	}
	return at.offset
}

// copy is what is committed now.
func (p *fakePositions) copy() *fakePositions {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := newFakePositions()
	for group, positions := range p.groups {
		out.groups[group] = maps.Clone(positions)
	}
	return out
}

// ReadRecords reads what there is when it begins, and holds nothing up while it yields.
func (r *liveReader) ReadRecords(topic string, partition int32, from int64, maxBytes int, yield func(offset, timestamp int64, r record.Record) bool) (int64, error) {
	r.mu.Lock()
	then := &fakeReader{perRead: r.perRead}
	for _, l := range r.logs {
		now := *l
		now.records = slices.Clone(l.records)
		then.logs = append(then.logs, &now)
	}
	r.mu.Unlock()
	return then.ReadRecords(topic, partition, from, maxBytes, yield)
}

func (p *fakePositions) setLoading(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loading = err
}

func (p *fakePositions) setFail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = err
}

func (p *fakePositions) setHold(hold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = hold
}

// count is how many commits have ended.
func (p *fakePositions) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commits
}
