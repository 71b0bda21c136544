package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/client_golang/prometheus"
)

// The log is for who has the password, and goes to its end or is seen not to.
func TestLog(t *testing.T) {
	broken := errors.New("the card is failing")
	for name, tc := range map[string]struct {
		password string // of the box; "": nobody may
		given    string
		text     string
		err      error // of opening it, if there is no text; else of reading it on
		status   int   // 0: broken off
		want     string
	}{
		"all":       {"secret", "secret", "one\ntwo\n", nil, 200, "one\ntwo\n"},
		"none":      {"secret", "", "one\n", nil, 401, ErrPassword.Error() + "\n"},
		"guess":     {"secret", "guess", "one\n", nil, 401, ErrPassword.Error() + "\n"},
		"nobodyMay": {"", "guess", "one\n", nil, 403, ErrNoPassword.Error() + "\n"},
		"broken":    {"secret", "secret", "", broken, 500, broken.Error() + "\n"},
		"half":      {"secret", "secret", strings.Repeat("x", 1<<20), broken, 0, ""},
	} {
		fw := &fakeFirmware{password: tc.password}
		box := Box{Allowed: fw.Allowed, Log: func() (io.ReadCloser, error) {
			if tc.text == "" {
				return nil, tc.err
			}
			rest := io.Reader(strings.NewReader(""))
			if tc.err != nil {
				rest = iotest.ErrReader(tc.err)
			}
			return io.NopCloser(io.MultiReader(strings.NewReader(tc.text), rest)), nil
		}}
		server := httptest.NewServer(handler(nil, box, slog.New(slog.DiscardHandler), prometheus.NewRegistry()))
		req, err := http.NewRequest("GET", server.URL+"/log", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.given != "" {
			req.SetBasicAuth("me", tc.given)
		}
		status, text, err := fetch(req)
		if tc.status == 0 {
			if err == nil {
				t.Errorf("%s: %d, %d bytes, and nothing says that there is more", name, status, len(text))
			}
		} else if err != nil || status != tc.status || text != tc.want {
			t.Errorf("%s: %d %.80q (%v), want %d %q", name, status, text, err, tc.status, tc.want)
		}
		server.Close()
	}
}

func fetch(req *http.Request) (status int, text string, err error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// Where no log is kept there is no page, and the list of pages has what there is.
func TestLogPage(t *testing.T) {
	nothing := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }
	for want, box := range map[bool]Box{false: {}, true: {Log: nothing, Allowed: func(string) error { return nil }}} {
		h := handler(nil, box, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		page, index := httptest.NewRecorder(), httptest.NewRecorder()
		h.ServeHTTP(deadliner{page}, httptest.NewRequest("GET", "/log", nil))
		h.ServeHTTP(index, httptest.NewRequest("GET", "/", nil))
		if got := page.Code == 200; got != want || strings.Contains(index.Body.String(), `href="/log"`) != want {
			t.Errorf("%d, %s; want it there: %v", page.Code, index.Body, want)
		}
	}
}
