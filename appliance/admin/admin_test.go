package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// start serves parts on a free port until the test ends.
func start(t *testing.T, reg *prometheus.Registry, parts ...Part) (base string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(ln, parts, Box{}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
	return "http://" + ln.Addr().String()
}

// get returns the answer's status, its content type and its body.
func get(t *testing.T, method, url string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
}

// It is ready when every part is, and says of the others why they are not; it is
// healthy all the time.
func TestReadyAndHealthy(t *testing.T) {
	var brokerErr, bridgeErr error
	base := start(t, prometheus.NewRegistry(),
		Part{Name: "broker", Ready: func() error { return brokerErr }}, Part{Name: "bridge", Ready: func() error { return bridgeErr }})

	for name, tc := range map[string]struct {
		broker, bridge error
		status         int
		body           string
	}{
		"all":    {nil, nil, 200, "ready\n"},
		"one":    {nil, errors.New("not listening"), 503, "bridge: not listening\n"},
		"none":   {errors.New("recovers"), errors.New("not\nlistening"), 503, "broker: recovers\nbridge: not; listening\n"},
		"again":  {nil, nil, 200, "ready\n"},
		"broker": {errors.New("recovers"), nil, 503, "broker: recovers\n"},
	} {
		brokerErr, bridgeErr = tc.broker, tc.bridge
		if status, _, body := get(t, "GET", base+"/readyz"); status != tc.status || body != tc.body {
			t.Errorf("%s: /readyz: %d %q, want %d %q", name, status, body, tc.status, tc.body)
		}
		if status, _, body := get(t, "GET", base+"/healthz"); status != 200 || body != "ok\n" {
			t.Errorf("%s: /healthz: %d %q, want 200 ok", name, status, body)
		}
	}
}

// Who asks for it is told of what is not caught up, beside what is not ready; nobody
// else is, and nobody who asks in other words is told that all is well.
func TestCaughtUp(t *testing.T) {
	var readyErr, behindErr error
	base := start(t, prometheus.NewRegistry(),
		Part{Name: "broker", Ready: func() error { return readyErr }, CaughtUp: func() error { return behindErr }},
		Part{Name: "bridge", Ready: func() error { return nil }})
	recovers, behind := errors.New("recovers"), errors.New("not\nregistered")
	refused := func(values string) string {
		return "caught-up: [" + values + "] is not known; allowed is caught-up=true, once, or nothing of it\n"
	}
	for name, tc := range map[string]struct {
		query         string
		ready, behind error
		status        int
		body          string
	}{
		"all":        {"?caught-up=true", nil, nil, 200, "ready\n"},
		"behind":     {"?caught-up=true", nil, behind, 503, "broker: not; registered\n"},
		"neither":    {"?caught-up=true", recovers, behind, 503, "broker: recovers\nbroker: not; registered\n"},
		"notReady":   {"?caught-up=true", recovers, nil, 503, "broker: recovers\n"},
		"notAsked":   {"", nil, behind, 200, "ready\n"},
		"otherQuery": {"?verbose=1", nil, behind, 200, "ready\n"},
		"false":      {"?caught-up=false", nil, nil, 400, refused(`"false"`)},
		"empty":      {"?caught-up", nil, nil, 400, refused(`""`)},
		"twice":      {"?caught-up=true&caught-up=true", nil, nil, 400, refused(`"true" "true"`)},
	} {
		readyErr, behindErr = tc.ready, tc.behind
		if status, _, body := get(t, "GET", base+"/readyz"+tc.query); status != tc.status || body != tc.body {
			t.Errorf("%s: %d %q, want %d %q", name, status, body, tc.status, tc.body)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	drops := prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_test_drops_total", Help: "Drops."})
	reg.MustRegister(drops)
	drops.Add(3)
	base := start(t, reg)
	status, _, body := get(t, "GET", base+"/metrics")
	for _, want := range []string{"headwater_test_drops_total 3", "go_goroutines ", "process_resident_memory_bytes "} {
		if status != 200 || !strings.Contains(body, "\n"+want) {
			t.Errorf("/metrics: %d without %q", status, want)
		}
	}
}

func TestOtherPaths(t *testing.T) {
	base := start(t, prometheus.NewRegistry())
	status, kind, body := get(t, "GET", base+"/")
	if status != 200 || !strings.HasPrefix(kind, "text/html") {
		t.Errorf("/: %d %s", status, kind)
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		if !strings.Contains(body, `<a href="`+path+`">`) {
			t.Errorf("/ does not link to %s", path)
		}
	}
	if status, _, _ := get(t, "GET", base+"/nothing"); status != 404 {
		t.Errorf("/nothing: %d, want 404", status)
	}
	if status, _, _ := get(t, "POST", base+"/readyz"); status != 405 {
		t.Errorf("POST: %d, want 405", status)
	}
}

// A header that is larger than anyone needs is refused.
func TestHeaderLimit(t *testing.T) {
	base := start(t, prometheus.NewRegistry())
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The server may close before all is sent; what counts is its answer.
	go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 2*maxHeaderBytes)+"\r\n\r\n")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Errorf("got %q, %v; want status 431", answer, err)
	}
}

// pipes is a listener without a network, for a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// ask runs a server with one slow part, asks it for /readyz, and tells it to stop
// while the answer is being made. It returns what Run is going to return, what
// lets the part go on, and the client's end of the connection.
func ask(t *testing.T) (ended <-chan error, goOn func(), client net.Conn) {
	blocked := make(chan struct{})
	ln := newPipes()
	s, err := New(ln, []Part{{Name: "slow", Ready: func() error { <-blocked; return nil }}}, Box{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() { returned <- s.Run(ctx) }()
	client, server := net.Pipe()
	ln.conns <- server
	if _, err := io.WriteString(client, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // the part is asked
	stop()
	synctest.Wait()
	return returned, func() { close(blocked) }, client
}

// A request that is under way when the server stops is answered, and Run waits
// for it.
func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, goOn, client := ask(t)
		defer client.Close()
		select {
		case err := <-ended:
			t.Errorf("Run returned %v with a request under way", err)
		default:
		}
		goOn()
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("answered %v, %v; want 200", resp, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
}

// It does not wait for ever.
func TestStopGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ended, goOn, client := ask(t)
		defer client.Close()
		if err := <-ended; err != nil || time.Since(start) != drainTimeout {
			t.Errorf("Run returned %v after %v, want nil after %v", err, time.Since(start), drainTimeout)
		}
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is still open")
		}
		goOn()
	})
}

// A listener that fails ends Run, with an error.
func TestListenerFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(ln, nil, Box{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run returned nil, want an error")
	}
}
