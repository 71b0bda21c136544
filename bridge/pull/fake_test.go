package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/record"
)

var (
	errFakeUnknown    = errors.New("unknown partition")
	errFakeOutOfRange = errors.New("offset out of range")
)

// fakeRecord is a record of a fakeLog.
type fakeRecord struct {
	offset, timestamp int64
	record.Record
}

// fakeLog is a partition in memory.
type fakeLog struct {
	topic      string
	partition  int32
	start, end int64
	records    []fakeRecord // by offset, with gaps
	err        error        // it is offline
}

// fakeReader is a Reader in memory. A read brings one batch: up to perRead records or,
// when there are none, a gap of as many offsets.
type fakeReader struct {
	mu      sync.Mutex // guards all below
	logs    []*fakeLog
	perRead int
	reads   int
	entered chan struct{} // if not nil: a read sends to it, then receives from resume
	resume  chan struct{}
}

func (r *fakeReader) find(topic string, partition int32) (*fakeLog, error) {
	for _, l := range r.logs {
		if l.topic == topic && l.partition == partition {
			return l, l.err
		}
	}
	return nil, errFakeUnknown
}

func (r *fakeReader) EachPartition(yield func(topic string, partition int32) bool) {
	for _, l := range r.logs {
		if !yield(l.topic, l.partition) {
			return
		}
	}
}

func (r *fakeReader) Offsets(topic string, partition int32) (int64, int64, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := r.find(topic, partition)
	if err != nil {
		return 0, 0, 0, err
	}
	return l.start, l.end, 1000 * (l.end - l.start), nil
}

func (r *fakeReader) Retention(topic string) (int64, int64, int64, error) {
	for _, l := range r.logs {
		if l.topic == topic {
			return 1 << 20, 3_600_000, 1 << 20, nil
		}
	}
	return 0, 0, 0, errFakeUnknown
}

func (r *fakeReader) ReadRecords(topic string, partition int32, from int64, _ int, yield func(offset, timestamp int64, r record.Record) bool) (int64, error) {
	if r.entered != nil {
		r.entered <- struct{}{}
		<-r.resume
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	l, err := r.find(topic, partition)
	switch {
	case err != nil:
		return from, err
	case from < l.start || from > l.end:
		return from, errFakeOutOfRange
	case from == l.end:
		return from, nil
	}
	perRead := max(r.perRead, 1)
	at := slices.IndexFunc(l.records, func(f fakeRecord) bool { return f.offset >= from })
	if at < 0 || l.records[at].offset >= from+int64(perRead) {
		return min(from+int64(perRead), l.end), nil
	}
	next := from
	for _, f := range l.records[at:min(at+perRead, len(l.records))] {
		next = f.offset + 1
		if !yield(f.offset, f.timestamp, f.Record) {
			break
		}
	}
	return next, nil
}

func (r *fakeReader) OffsetForTime(topic string, partition int32, timestamp int64) (int64, error) {
	l, err := r.find(topic, partition)
	if err != nil {
		return 0, err
	}
	for _, f := range l.records {
		if f.timestamp >= timestamp {
			return f.offset, nil
		}
	}
	return l.end, nil
}

func (r *fakeReader) WatchPartition(string, int32, chan<- struct{}) (func(), error) {
	return nil, errors.New("not of this test")
}

// said is a message that a Service sent.
type said struct {
	subject, headers string
	payload          string
}

// fakeWire keeps what is sent.
type fakeWire struct {
	sent   chan said
	fail   error
	failed chan struct{} // for each message that was not sent
}

func (w *fakeWire) PublishMsg(subject, _, headers, payload []byte) error {
	if w.fail != nil {
		w.failed <- struct{}{}
		return w.fail
	}
	w.sent <- said{string(subject), string(headers), string(payload)}
	return nil
}

func (w *fakeWire) Deliver(_, _, _, _, _ []byte) error { return errors.New("not of this test") }

// press is a log of n records on the subjects plant.0 to plant.9 in turn, each at its
// offset as a timestamp, from an offset on.
func press(start int64, n int) *fakeLog {
	l := &fakeLog{topic: "press", start: start, end: start + int64(n)}
	for i := range int64(n) {
		l.records = append(l.records, fakeRecord{start + i, start + i, record.Record{
			Value:   fmt.Appendf(nil, "v%d", start+i),
			Headers: []record.Header{{Key: headerSubject, Value: fmt.Appendf(nil, "plant.%d", (start+i)%10)}},
		}})
	}
	return l
}

// without takes the record at an offset out.
func (l *fakeLog) without(offsets ...int64) *fakeLog {
	l.records = slices.DeleteFunc(l.records, func(f fakeRecord) bool { return slices.Contains(offsets, f.offset) })
	return l
}

// served is a Service that runs.
type served struct {
	*Service
	positions *fakePositions
	reader    *fakeReader
	wire      *fakeWire
	reg       *prometheus.Registry
	stop      func()
}

func serve(t *testing.T, cfg Config, logs ...*fakeLog) *served {
	t.Helper()
	s := newServed(cfg, logs...)
	s.run(t)
	return s
}

func newServed(cfg Config, logs ...*fakeLog) *served {
	s := &served{positions: newFakePositions(), reader: &fakeReader{logs: logs, perRead: 7}, wire: &fakeWire{sent: make(chan said, 5000), failed: make(chan struct{}, 100)}, reg: prometheus.NewRegistry()}
	cfg.Unknown = func(err error) bool { return errors.Is(err, errFakeUnknown) }
	cfg.OutOfRange = func(err error) bool { return errors.Is(err, errFakeOutOfRange) }
	s.Service = New(cfg, s.reader, s.positions, s.wire, slog.New(slog.DiscardHandler), s.reg)
	return s
}

func (s *served) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
}

// take hands a request to the Service, in memory that is overwritten afterwards.
func (s *served) take(subject, reply, payload string) {
	all := []byte(subject + reply + payload)
	a, b := len(subject), len(subject)+len(reply)
	s.Take(&Request{Subject: all[:a:a], Reply: all[a:b:b], Payload: all[b:]})
	for i := range all {
		all[i] = '!'
	}
	s.Idle()
}

// ask returns the one answer to a request.
func (s *served) ask(subject, payload string) said {
	s.take(subject, "_INBOX.1", payload)
	return <-s.wire.sent
}

// askFor decodes the JSON that answers a request, which must be of the kind.
func askFor[T any](t *testing.T, s *served, kind, subject, payload string) (answer T) {
	t.Helper()
	got := s.ask(subject, payload)
	var head struct {
		Type  string    `json:"type"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal([]byte(got.payload), &head); err != nil {
		t.Fatalf("%s %s: %q: %v", subject, payload, got.payload, err)
	}
	if head.Type != "io.nats.jetstream.api.v1."+kind {
		t.Errorf("%s: type %q, want %q", subject, head.Type, kind)
	}
	if err := json.Unmarshal([]byte(got.payload), &answer); err != nil {
		t.Fatalf("%s: %q: %v", subject, got.payload, err)
	}
	return answer
}

// failed is an answer that is an error.
type failed struct {
	Error *apiError `json:"error"`
}

func (f failed) String() string {
	if f.Error == nil {
		return "no error"
	}
	return fmt.Sprintf("%d %d %s", f.Error.Code, f.Error.ErrCode, f.Error.Description)
}

// block is a header block of lines.
func block(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
