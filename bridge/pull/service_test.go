package pull

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// results compares what became of requests.
func (s *served) results(t *testing.T, answered, refused, ignored, lost int) {
	t.Helper()
	want := fmt.Sprintf(`
# HELP headwater_jetstream_requests_total Requests of the JetStream API by what became of them: answered; refused with an error; ignored because nobody could hear the answer, or because they came faster than they could be refused; lost because the answer could not be sent.
# TYPE headwater_jetstream_requests_total counter
headwater_jetstream_requests_total{result="answered"} %d
headwater_jetstream_requests_total{result="ignored"} %d
headwater_jetstream_requests_total{result="lost"} %d
headwater_jetstream_requests_total{result="refused"} %d
`, answered, ignored, lost, refused)
	if err := testutil.GatherAndCompare(s.reg, strings.NewReader(want), "headwater_jetstream_requests_total"); err != nil {
		t.Error(err)
	}
}

// held is a Service whose one worker waits within a read, until resume.
func held(t *testing.T, cfg Config) *served {
	cfg.Workers = 1
	s := newServed(cfg, press(0, 10))
	s.reader.entered, s.reader.resume = make(chan struct{}), make(chan struct{})
	s.run(t)
	s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.1", `{"seq":1}`)
	<-s.reader.entered
	return s
}

// release lets n reads end, the one that waits among them.
func (s *served) release(n int) {
	for i := range n {
		s.reader.resume <- struct{}{}
		if i < n-1 {
			<-s.reader.entered
		}
	}
}

// While the log is slow requests wait, as many as may; the next is refused at once,
// and those that were taken are answered.
func TestQueueIsBounded(t *testing.T) {
	for name, cfg := range map[string]Config{
		"number": {QueuedRequests: 3},
		"bytes":  {QueuedBytes: 3 * len("press-0"+"_INBOX.1"+`{"seq":1}`)},
	} {
		s := held(t, cfg)
		for range 3 {
			s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.1", `{"seq":1}`)
		}
		s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.2", `{"seq":1}`)
		if got := <-s.wire.sent; got.subject != "_INBOX.2" || !strings.HasPrefix(got.headers, "NATS/1.0 500 insufficient resources: more is asked") {
			t.Errorf("%s: %+v", name, got)
		}
		if got := askFor[failed](t, s, "account_info_response", "$JS.API.INFO", strings.Repeat(" ", 30)); got.Error == nil || got.Error.Code != 503 {
			t.Errorf("%s: in JSON: %v", name, got)
		}
		s.release(4)
		for range 4 {
			if got := <-s.wire.sent; got != message(0) {
				t.Errorf("%s: %+v, want the message at offset 0", name, got)
			}
		}
		go s.release(1) // what was taken out of the queue has made room
		s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.1", `{"seq":1}`)
		<-s.reader.entered
		if got := <-s.wire.sent; got != message(0) {
			t.Errorf("%s: once there is room again: %+v", name, got)
		}
		s.stop()
		s.results(t, 5, 2, 0, 0)
	}
}

// A request that is larger than any of the API's is not kept.
func TestLargeRequest(t *testing.T) {
	s := serve(t, Config{MaxRequestBytes: 100}, press(0, 10))
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":1}`+strings.Repeat(" ", 100)); !strings.HasPrefix(got.headers, "NATS/1.0 400 bad request: it is larger") {
		t.Errorf("%+v", got)
	}
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":1}`); got != message(0) {
		t.Errorf("the next: %+v", got)
	}
}

// Whoever asks faster than can be refused is not answered, and holds nobody up.
func TestFloodIsIgnored(t *testing.T) {
	s := newServed(Config{QueuedRequests: 2}, press(0, 10)) // nothing runs yet
	for range 10 {
		s.take("$JS.API.INFO", "_INBOX.1", "")
	}
	s.results(t, 0, 0, 6, 0)
	s.run(t)
	for range 4 {
		<-s.wire.sent
	}
	s.stop()
	s.results(t, 2, 2, 6, 0)
}

// Nothing is said where nobody asked, or where it would be stored as if a device had
// said it.
func TestNotAnswered(t *testing.T) {
	s := serve(t, Config{Stored: func(subject []byte) bool { return string(subject) == "plant.7" }}, press(0, 10))
	s.take("$JS.API.INFO", "", "")
	s.take("$JS.API.INFO", "plant.7", "")
	s.take("plant.7", "_INBOX.1", "")
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":1}`); got != message(0) {
		t.Errorf("an answer to something else came first: %+v", got)
	}
	s.stop()
	s.results(t, 1, 0, 2, 0)
}

// Answers that cannot be sent are counted, and end a batch.
func TestAnswersLost(t *testing.T) {
	s := newServed(Config{}, press(0, 10))
	s.wire.fail = errors.New("not connected")
	s.run(t)
	for _, request := range []string{`{"seq":1}`, `{"seq":11}`, `{"seq":1,"batch":5}`} {
		s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.1", request)
	}
	s.take("$JS.API.INFO", "_INBOX.1", "")
	for range 4 { // one of them to say that there is no such message
		<-s.wire.failed
	}
	s.stop()
	s.results(t, 0, 1, 0, 4)
}

// At the end, what is being answered is, and what waits is told to go elsewhere.
func TestStop(t *testing.T) {
	s := held(t, Config{})
	s.take("$JS.API.INFO", "_INBOX.2", "")
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.stop() }()
	for {
		s.mu.Lock()
		stopping := s.stopping
		s.mu.Unlock()
		if stopping {
			break
		}
		runtime.Gosched()
	}
	s.take("$JS.API.INFO", "_INBOX.2", "")
	s.release(1)
	<-stopped
	if got := <-s.wire.sent; got != message(0) {
		t.Errorf("what was being answered: %+v", got)
	}
	for range 2 {
		if got := <-s.wire.sent; got.subject != "_INBOX.2" || !strings.Contains(got.payload, `"code":503,"err_code":10008`) {
			t.Errorf("what waited, or came then: %+v", got)
		}
	}
}

// Searches that take long are answered one at a time, and hold up nobody else.
func TestSlowRequests(t *testing.T) {
	l := press(0, quickRecords+100)
	l.records[0].Headers[0].Value = []byte("plant.early")
	s := newServed(Config{Workers: 1}, l)
	s.reader.perRead = 100
	s.run(t)
	const searches = 5
	for range searches {
		s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.slow", `{"last_by_subj":"plant.early"}`)
	}
	for range searches {
		if got := <-s.wire.sent; got.subject != "_INBOX.slow" || !strings.Contains(got.headers, "Nats-Sequence: 1\r\n") {
			t.Errorf("%+v", got)
		}
	}
	s.stop()
	s.results(t, searches, 0, 0, 0)
}
