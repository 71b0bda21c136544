package boot

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The region is asked about where that is wanted, and nowhere else.
func TestProbeCaughtUp(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			http.Error(w, "broker: asked for "+r.URL.RawQuery, http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	for caughtUp, want := range map[bool]health{
		false: {alive: true, ready: true},
		true:  {alive: true, why: "503: broker: asked for caught-up=true"},
	} {
		if h := probe(t.Context(), at, caughtUp); h != want {
			t.Errorf("%v: %+v, want %+v", caughtUp, h, want)
		}
	}
}
