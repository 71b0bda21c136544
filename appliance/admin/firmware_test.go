package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// fakeFirmware notes what is asked of it.
type fakeFirmware struct {
	password  string // "": nobody may
	err       error  // of what changes something
	installed string
	older     bool
	back      bool // restart is needed for it
	rolled    int
	restarts  int
}

var errRefused = errors.New("the bundle is for another kind of box")

func (f *fakeFirmware) Status() (any, error) { return map[string]string{"running": "a"}, nil }

func (f *fakeFirmware) Install(_ context.Context, bundle io.Reader, size int64, older bool) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	data, err := io.ReadAll(bundle)
	if err == nil && int64(len(data)) != size {
		err = fmt.Errorf("got %d bytes of %d", len(data), size)
	}
	f.installed, f.older = string(data), older
	return "1.4.0", err
}

func (f *fakeFirmware) RollBack() (string, bool, error) { f.rolled++; return "slot a", f.back, f.err }
func (f *fakeFirmware) Refused(err error) bool          { return errors.Is(err, errRefused) }
func (f *fakeFirmware) Restart() error                  { f.restarts++; return nil }

func (f *fakeFirmware) Allowed(password string) error {
	switch password {
	case "busy":
		return errors.New("too many")
	case f.password:
		return nil
	}
	if f.password == "" {
		return ErrNoPassword
	}
	return ErrPassword
}

// boxOf is a box with fw, or one without.
func boxOf(fw Firmware) Box {
	if fake, ok := fw.(*fakeFirmware); ok {
		return Box{Firmware: fw, Allowed: fake.Allowed}
	}
	return Box{}
}

// post asks a server with fw for a change.
func post(fw Firmware, path, password, body string, alter func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest("POST", path, strings.NewReader(body))
	if password != "" {
		req.SetBasicAuth("me", password)
	}
	if alter != nil {
		alter(req)
	}
	w := httptest.NewRecorder()
	handler(nil, boxOf(fw), slog.New(slog.DiscardHandler), prometheus.NewRegistry()).ServeHTTP(deadliner{w}, req)
	return w
}

// deadliner has the deadlines that a recorder lacks.
type deadliner struct{ *httptest.ResponseRecorder }

func (deadliner) SetReadDeadline(time.Time) error  { return nil }
func (deadliner) SetWriteDeadline(time.Time) error { return nil }

func TestFirmwareUpload(t *testing.T) {
	fw := &fakeFirmware{password: "secret"}
	w := post(fw, "/firmware?allow-downgrade=true", "secret", "bundle", nil)
	if w.Code != 200 || w.Body.String() != "1.4.0 is installed; the next start tries it; the box restarts\n" || fw.installed != "bundle" || !fw.older || fw.restarts != 1 {
		t.Errorf("%d %q, %+v", w.Code, w.Body, fw)
	}
	w = post(fw, "/firmware?restart=no", "secret", "other", nil)
	if w.Code != 200 || w.Body.String() != "1.4.0 is installed; the next start tries it\n" || fw.installed != "other" || fw.older || fw.restarts != 1 {
		t.Errorf("without a restart: %d %q, %+v", w.Code, w.Body, fw)
	}
}

func TestFirmwareRollBack(t *testing.T) {
	for restart, want := range map[bool]string{true: "slot a is what starts next; the box restarts\n", false: "slot a is what starts next\n"} {
		fw := &fakeFirmware{password: "secret", back: restart}
		w := post(fw, "/firmware/rollback", "secret", "", nil)
		if w.Code != 200 || w.Body.String() != want || fw.rolled != 1 || (fw.restarts == 1) != restart {
			t.Errorf("%d %q, %+v", w.Code, w.Body, fw)
		}
	}
}

// Who may not, or asks wrongly, changes nothing, and reads why.
func TestFirmwareRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		fw       fakeFirmware
		password string
		alter    func(*http.Request)
		status   int
		text     string
	}{
		"noPassword":    {fakeFirmware{password: "secret"}, "", nil, 401, ErrPassword.Error()},
		"wrongPassword": {fakeFirmware{password: "secret"}, "guess", nil, 401, ErrPassword.Error()},
		"nobodyMay":     {fakeFirmware{}, "guess", nil, 403, ErrNoPassword.Error()},
		"busy":          {fakeFirmware{password: "secret"}, "busy", nil, 503, "too many"},
		"otherSite":     {fakeFirmware{password: "secret"}, "secret", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, "cross-origin request"},
		"noLength":      {fakeFirmware{password: "secret"}, "secret", func(r *http.Request) { r.ContentLength = -1 }, 411, "Content-Length"},
		"tooLarge":      {fakeFirmware{password: "secret"}, "secret", func(r *http.Request) { r.ContentLength = maxBundleBytes + 1 }, 413, "536870913 bytes"},
		"refused":       {fakeFirmware{password: "secret", err: errRefused}, "secret", nil, 422, errRefused.Error()},
		"failed":        {fakeFirmware{password: "secret", err: errors.New("the card is failing")}, "secret", nil, 500, "the card is failing"},
	} {
		fw := tc.fw
		w := post(&fw, "/firmware", tc.password, "bundle", tc.alter)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.text) || fw.installed != "" || fw.restarts > 0 {
			t.Errorf("%s: %d %q, %+v; want %d and %q", name, w.Code, w.Body, fw, tc.status, tc.text)
		}
		if asks := w.Header().Get("WWW-Authenticate") != ""; asks != (tc.status == 401) {
			t.Errorf("%s: asks for a password: %v", name, asks)
		}
	}
}

// Everybody may look; and where there is no firmware there is no page.
func TestFirmwareStatus(t *testing.T) {
	get := func(fw Firmware, path string) (int, string) {
		w := httptest.NewRecorder()
		handler(nil, boxOf(fw), slog.New(slog.DiscardHandler), prometheus.NewRegistry()).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if status, body := get(&fakeFirmware{}, "/firmware"); status != 200 || body != "{\n  \"running\": \"a\"\n}\n" {
		t.Errorf("%d %q", status, body)
	}
	if _, body := get(&fakeFirmware{}, "/"); !strings.Contains(body, `href="/firmware"`) {
		t.Errorf("/ does not link to it: %s", body)
	}
	if status, _ := get(nil, "/firmware"); status != 404 {
		t.Errorf("without firmware: %d", status)
	}
}

// An upload may take longer than other requests while it goes on, and not when it stops.
func TestSlowUpload(t *testing.T) {
	for pause, want := range map[time.Duration]int{20 * time.Second: 200, 40 * time.Second: 500} {
		synctest.Test(t, func(t *testing.T) {
			ln := newPipes()
			fw := &fakeFirmware{password: "secret"}
			s, err := New(ln, nil, boxOf(fw), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			client, server := net.Pipe()
			defer client.Close()
			ln.conns <- server
			var sender sync.WaitGroup
			defer sender.Wait()
			sender.Go(func() {
				io.WriteString(client, "POST /firmware?restart=no HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nAuthorization: Basic bWU6c2VjcmV0\r\n\r\n")
				for _, piece := range []string{"bu", "nd", "le", ".."} {
					time.Sleep(pause) // of the bubble's clock
					io.WriteString(client, piece)
				}
			})
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil || resp.StatusCode != want {
				t.Errorf("a piece each %v: %v, %v; want %d", pause, resp, err, want)
			}
			client.Close()
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
