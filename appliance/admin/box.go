package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// Box is what the port shows of a machine that was flashed, and changes on it. The zero
// value is any other machine.
type Box struct {
	Firmware Firmware                      // nil without two slots
	Log      func() (io.ReadCloser, error) // what the machine has logged; nil: none is kept
	// Allowed checks the password of who wants to change something, or to read the log. It
	// returns ErrPassword, ErrNoPassword, or an error that passes.
	Allowed func(password string) error
}

// ErrPassword is returned by Allowed for who may not.
var ErrPassword = errors.New("this needs the box's password, the one of admin.password; any user name will do")

// ErrNoPassword is returned by Allowed where nobody may.
var ErrNoPassword = errors.New("admin.password is not set, so that nothing can be changed over this port, and the log not read")

// pages answers for a box, and lists what everybody may look at.
func (b Box) pages(mux *http.ServeMux, log *slog.Logger) (pages []page) {
	if b.Firmware != nil {
		b.firmwarePages(mux, log)
		pages = append(pages, page{path: "/firmware", doc: "what the two slots hold, and what became of the last update"})
	}
	if b.Log != nil {
		mux.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
			if b.allowed(w, r) {
				b.sendLog(w, log)
			}
		})
		pages = append(pages, page{path: "/log", doc: "what the machine has logged, for who has its password"})
	}
	return pages
}

// logTime is how long the log may take over a slow line.
const logTime = 10 * time.Minute

// sendLog breaks the answer off if the log cannot be read to its end, so that nobody takes
// half of it for the whole.
func (b Box) sendLog(w http.ResponseWriter, log *slog.Logger) {
	logged, err := b.Log()
	if err != nil {
		plain(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	defer logged.Close()
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(logTime)); err != nil {
		log.Warn("log sent in the time of a short answer", "err", err)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if _, err := io.Copy(w, logged); err != nil {
		log.Warn("log not sent to its end", "err", err)
		panic(http.ErrAbortHandler)
	}
}

// allowed answers for itself where r may do nothing.
func (b Box) allowed(w http.ResponseWriter, r *http.Request) bool {
	_, password, _ := r.BasicAuth()
	err := b.Allowed(password)
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrNoPassword):
		plain(w, http.StatusForbidden, err.Error()+"\n")
	case errors.Is(err, ErrPassword):
		w.Header().Set("WWW-Authenticate", `Basic realm="headwater"`)
		plain(w, http.StatusUnauthorized, err.Error()+"\n")
	default:
		plain(w, http.StatusServiceUnavailable, err.Error()+"\n")
	}
	return false
}
