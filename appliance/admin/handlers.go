package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
func handler(parts []Part, fw Firmware, log *slog.Logger, reg *prometheus.Registry) http.Handler {
	pages := []page{
		{"/metrics", "what is measured, as Prometheus reads it", metrics(reg)},
		{"/healthz", "200 while the process lives", http.HandlerFunc(healthz)},
		{"/readyz", "200 when every part is ready, else 503 and why", readyz(parts)},
	}
	mux := http.NewServeMux()
	for _, p := range pages {
		mux.Handle("GET "+p.path, p.handler)
	}
	if fw != nil {
		firmwarePages(mux, fw, log)
		pages = append(pages, page{path: "/firmware", doc: "what the two slots hold, and what became of the last update"})
	}
	mux.Handle("GET /{$}", index(pages))
	return mux
}

func metrics(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, MaxRequestsInFlight: maxScrapes})
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok\n")
}

// readyz has a line for each part that is not ready.
func readyz(parts []Part) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var waiting strings.Builder
		for _, part := range parts {
			if err := part.Ready(); err != nil {
				text := strings.ReplaceAll(err.Error(), "\n", "; ")
				fmt.Fprintf(&waiting, "%s: %s\n", part.Name, text)
			}
		}
		if waiting.Len() > 0 {
			plain(w, http.StatusServiceUnavailable, waiting.String())
			return
		}
		plain(w, http.StatusOK, "ready\n")
	})
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
