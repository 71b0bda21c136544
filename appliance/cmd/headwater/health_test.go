package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What answers with 200 is ready. All else is 1 and a line with the reason, within the
// deadline; what cannot be asked at all is 2.
func TestHealth(t *testing.T) {
	release := make(chan struct{})
	answers := http.NewServeMux()
	server := httptest.NewServer(answers)
	defer server.Close()
	defer close(release)
	address := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	var answer atomic.Value // http.HandlerFunc
	answers.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer.Load().(http.HandlerFunc)(w, r) })
	ready := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") }
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	for name, tc := range map[string]struct {
		listen, flag   string
		answer         http.HandlerFunc
		stdout, stderr string // stderr's beginning
		code           int
	}{
		"ready":        {listen: address, answer: ready, stdout: "ready\n"},
		"everyAddress": {listen: ":" + port, answer: ready, stdout: "ready\n"},
		"everyIPv6":    {listen: "[::]:" + port, answer: ready, stdout: "ready\n"},
		"waiting": {
			listen: address, code: 1, stderr: "not ready: broker: a is off line; bridge: waits\n",
			answer: func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "broker: a is off line\nbridge: waits", http.StatusServiceUnavailable)
			},
		},
		"hangs": {
			listen: address, flag: "--timeout=50ms", code: 1, stderr: "does not answer: ",
			answer: func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-release:
				case <-r.Context().Done():
				}
			},
		},
		"behind": {
			listen: address, flag: "--caught-up", code: 1, stderr: "not ready: broker: not registered\n",
			answer: func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery == "caught-up=true" {
					http.Error(w, "broker: not registered", http.StatusServiceUnavailable)
				}
			},
		},
		"caughtUp": {listen: address, flag: "--caught-up", answer: ready, stdout: "ready, and caught up\n"},
		"notAsked": {listen: address, stdout: "ready\n", answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "" {
				http.Error(w, "asked for more", http.StatusServiceUnavailable)
			}
		}},
		"nobody":  {listen: closed.Addr().String(), code: 1, stderr: "does not answer: "},
		"anyPort": {listen: "127.0.0.1:0", code: 2, stderr: "admin.listen: port 0 may be any; "},
		"wrong":   {listen: "nowhere", code: 2, stderr: "admin.listen (environment HEADWATER_ADMIN_LISTEN): "},
	} {
		t.Run(name, func(t *testing.T) {
			answer.Store(tc.answer)
			args := []string{"health"}
			if tc.flag != "" {
				args = append(args, tc.flag)
			}
			begin := time.Now()
			stdout, stderr, code := call(t, []string{"HEADWATER_ADMIN_LISTEN=" + tc.listen}, args...)
			if code != tc.code || stdout != tc.stdout || !strings.HasPrefix(stderr, tc.stderr) || strings.Count(stderr, "\n") > 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q…", code, stdout, stderr, tc.code, tc.stdout, tc.stderr)
			}
			if took := time.Since(begin); took > 2*time.Second+deadline/2 {
				t.Errorf("took %v", took)
			}
		})
	}
}

// An address is asked as it stands, and each of the two loopbacks for every address.
func TestReadyURLs(t *testing.T) {
	for listen, want := range map[string][]string{
		"10.1.2.3:80": {"http://10.1.2.3:80/readyz"}, "[fd00::1]:80": {"http://[fd00::1]:80/readyz"},
		":80": {"http://127.0.0.1:80/readyz", "http://[::1]:80/readyz"}, "0.0.0.0:80": {"http://127.0.0.1:80/readyz", "http://[::1]:80/readyz"},
	} {
		if got, err := readyURLs(listen, false); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", listen, got, err, want)
		}
	}
}
