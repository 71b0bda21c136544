package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// start serves parts on a free port until the test ends or stop is called, which
// returns what Run returned.
func start(t *testing.T, reg *prometheus.Registry, parts ...Part) (s *Server, base string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err = New(ln, parts, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx); close(ended) }()
	stop = func() error { cancel(); return <-ended }
	t.Cleanup(func() { stop() })
	return s, "http://" + ln.Addr().String(), stop
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
	_, base, _ := start(t, prometheus.NewRegistry(),
		Part{"broker", func() error { return brokerErr }}, Part{"bridge", func() error { return bridgeErr }})

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

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	drops := prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_test_drops_total", Help: "Drops."})
	reg.MustRegister(drops)
	drops.Add(3)
	_, base, _ := start(t, reg)
	status, _, body := get(t, "GET", base+"/metrics")
	for _, want := range []string{"headwater_test_drops_total 3", "go_goroutines ", "process_resident_memory_bytes "} {
		if status != 200 || !strings.Contains(body, "\n"+want) {
			t.Errorf("/metrics: %d without %q", status, want)
		}
	}
}

func TestOtherPaths(t *testing.T) {
	_, base, _ := start(t, prometheus.NewRegistry())
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
	_, base, _ := start(t, prometheus.NewRegistry())
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

// A request that is under way when the server stops is answered, and Run waits
// for it.
func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	asked, stopping := make(chan struct{}), make(chan struct{})
	s, base, stop := start(t, prometheus.NewRegistry(), Part{"slow", func() error { close(asked); <-stopping; return nil }})
	s.http.RegisterOnShutdown(func() { close(stopping) })
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get(base + "/readyz")
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-asked
	if err := stop(); err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	if status := <-answered; status != 200 {
		t.Errorf("answered %d, want 200", status)
	}
	if _, err := http.Get(base + "/healthz"); err == nil {
		t.Error("still answers after Run returned")
	}
}

// A listener that fails ends Run, with an error.
func TestListenerFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(ln, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run returned nil, want an error")
	}
}
