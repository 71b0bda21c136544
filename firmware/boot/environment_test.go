package boot

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestAdvertise(t *testing.T) {
	for _, tc := range []struct{ listen, said, want string }{
		{"0.0.0.0:9092", "", "10.0.0.5:9092"},
		{"[::]:9092", "", "10.0.0.5:9092"},
		{":9092", "", "10.0.0.5:9092"},
		{"0.0.0.0:9092", "box:1", ""},
		{"127.0.0.1:9092", "", ""},
		{"localhost:9092", "", ""},
		{"", "", ""},
	} {
		if got := advertise(Serve{Kafka: tc.listen, Advertise: tc.said}, address); got != tc.want {
			t.Errorf("on %q, said %q: %q, want %q", tc.listen, tc.said, got, tc.want)
		}
	}
	if got := advertise(Serve{Kafka: "0.0.0.0:9092"}, netip.Prefix{}); got != "" {
		t.Errorf("without an address: %q", got)
	}
}

func TestProbe(t *testing.T) {
	status, body := 200, "ready\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			status = 404
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	at := strings.TrimPrefix(server.URL, "http://")
	if h := probe(t.Context(), at, false); h != (health{alive: true, ready: true}) {
		t.Errorf("ready: %+v", h)
	}
	status, body = 503, "broker: recovers\nbridge: waits\n"+strings.Repeat("x", 1<<20)
	if h := probe(t.Context(), at, false); !h.alive || h.ready || !strings.HasPrefix(h.why, "503: broker: recovers; bridge: waits; xx") || len(h.why) > 2*maxWhy {
		t.Errorf("not ready: %+.200v", h)
	}
	server.Close()
	if h := probe(t.Context(), at, false); h.alive || h.ready || h.why == "" {
		t.Errorf("gone: %+v", h)
	}
	for listen, want := range map[string]string{"0.0.0.0:8080": "127.0.0.1:8080", "[::]:1": "127.0.0.1:1", ":2": "127.0.0.1:2", "10.0.0.1:3": "10.0.0.1:3"} {
		if got := probeAddress(listen); got != want {
			t.Errorf("%s is asked at %s, want %s", listen, got, want)
		}
	}
}
