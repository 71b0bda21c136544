package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// page is one thing that can be asked for.
type page struct {
	path    string
	doc     string
	handler http.Handler
}

// handler answers GET and HEAD for the pages, POST for the firmware, and 404 or 405 for
// the rest.
func handler(parts []Part, box Box, log *slog.Logger, reg *prometheus.Registry) http.Handler {
	pages := []page{
		{"/metrics", "what is measured, as Prometheus reads it", metrics(reg)},
		{"/healthz", "200 while the process lives", http.HandlerFunc(healthz)},
		{"/readyz", "200 when every part is ready, else 503 and why; with ?caught-up=true the broker must have caught up with its region, too", readyz(parts)},
	}
	mux := http.NewServeMux()
	for _, p := range pages {
		mux.Handle("GET "+p.path, p.handler)
	}
	pages = append(pages, box.pages(mux, log)...)
	mux.Handle("GET /{$}", index(pages))
	return mux
}

func metrics(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, MaxRequestsInFlight: maxScrapes})
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok\n")
}

// readyz has a line for each part that is not ready and, where that is asked for, for
// each that has not caught up.
func readyz(parts []Part) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caughtUp, err := wantsCaughtUp(r.URL.Query())
		if err != nil {
			plain(w, http.StatusBadRequest, err.Error()+"\n")
			return
		}
		var waiting strings.Builder
		ask := func(name string, is func() error) {
			if err := is(); err != nil {
				text := strings.ReplaceAll(err.Error(), "\n", "; ")
				fmt.Fprintf(&waiting, "%s: %s\n", name, text)
			}
		}
		for _, part := range parts {
			ask(part.Name, part.Ready)
			if caughtUp && part.CaughtUp != nil {
				ask(part.Name, part.CaughtUp)
			}
		}
		if waiting.Len() > 0 {
			plain(w, http.StatusServiceUnavailable, waiting.String())
			return
		}
		plain(w, http.StatusOK, "ready\n")
	})
}

// wantsCaughtUp reads ?caught-up=true. Who asks for it in other words is not to be told
// less than he wants to know.
func wantsCaughtUp(query url.Values) (bool, error) {
	asked, ok := query["caught-up"]
	if !ok {
		return false, nil
	}
	if !slices.Equal(asked, []string{"true"}) {
		return false, fmt.Errorf("caught-up: %.100q is not known; allowed is caught-up=true, once, or nothing of it", asked)
	}
	return true, nil
}

func plain(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	io.WriteString(w, body) // a client that is gone does not want it
}

// index is the list of pages. Nothing in it comes from outside.
func index(pages []page) http.Handler {
	var b strings.Builder
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>headwater</title>\n<h1>headwater</h1>\n<ul>\n")
	for _, p := range pages {
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a>: %s</li>\n", p.path, p.path, p.doc)
	}
	b.WriteString("</ul>\n</html>\n")
	body := b.String()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, body)
	})
}
