package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// Firmware is the box's, where it was started from an image with two slots.
type Firmware interface {
	// Status is what the box has, to be shown as JSON.
	Status() (any, error)
	// Install writes a bundle of size bytes to the slot that does not run.
	Install(ctx context.Context, bundle io.Reader, size int64, allowDowngrade bool) (version string, err error)
	// RollBack has what was there before an update start next, and tells what that is and
	// whether a restart is needed for it.
	RollBack() (next string, restart bool, err error)
	// Refused tells errors before which nothing was written.
	Refused(err error) bool
	// Restart asks for a restart of the machine, and does not wait for it.
	Restart() error
}

// Limits of an upload.
const (
	maxBundleBytes = 512 << 20
	uploadIdle     = 30 * time.Second // without a byte
	uploadTime     = time.Hour
)

// firmwarePages answers GET /firmware, and to who has the password POST /firmware, whose
// body is a bundle, and POST /firmware/rollback. Both restart the machine, unless
// restart=no is asked for.
func (b Box) firmwarePages(mux *http.ServeMux, log *slog.Logger) {
	fw := b.Firmware
	mux.HandleFunc("GET /firmware", func(w http.ResponseWriter, _ *http.Request) {
		status, err := fw.Status()
		if err != nil {
			plain(w, http.StatusInternalServerError, err.Error()+"\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.Encode(status)
	})
	guard := http.NewCrossOriginProtection() // a browser that knows the password is not to be led here by another's page
	change := func(path string, do func(http.ResponseWriter, *http.Request) (done string, restart bool, err error)) {
		mux.Handle("POST "+path, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !b.allowed(w, r) {
				return
			}
			done, restart, err := do(w, r)
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
			if err != nil {
				log.Warn("firmware not changed", "from", r.RemoteAddr, "err", err)
				plain(w, statusOf(err, fw), err.Error()+"\n")
				return
			}
			log.Info("firmware changed", "from", r.RemoteAddr, "what", done)
			if !restart || r.URL.Query().Get("restart") == "no" {
				plain(w, http.StatusOK, done+"\n")
				return
			}
			plain(w, http.StatusOK, done+"; the box restarts\n")
			http.NewResponseController(w).Flush() // before the connection goes with all else
			if err := fw.Restart(); err != nil {
				log.Error("not restarted for the firmware", "err", err)
			}
		})))
	}
	change("/firmware", func(w http.ResponseWriter, r *http.Request) (string, bool, error) {
		version, err := upload(w, r, fw)
		return version + " is installed; the next start tries it", true, err
	})
	change("/firmware/rollback", func(http.ResponseWriter, *http.Request) (string, bool, error) {
		next, restart, err := fw.RollBack()
		return next + " is what starts next", restart, err
	})
}

// errUpload is what is wrong with an upload before its first byte.
type errUpload struct {
	status int
	text   string
}

func (e errUpload) Error() string { return e.text }

func statusOf(err error, fw Firmware) int {
	var upload errUpload
	switch {
	case errors.As(err, &upload):
		return upload.status
	case fw.Refused(err):
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

// upload has the body installed. It has an hour, and half a minute for each piece.
func upload(w http.ResponseWriter, r *http.Request, fw Firmware) (version string, err error) {
	switch {
	case r.ContentLength < 0:
		return "", errUpload{http.StatusLengthRequired, "how long the bundle is has to be said before it (Content-Length)"}
	case r.ContentLength > maxBundleBytes:
		return "", errUpload{http.StatusRequestEntityTooLarge, fmt.Sprintf("the bundle has %d bytes; allowed are %d", r.ContentLength, maxBundleBytes)}
	}
	deadlines := http.NewResponseController(w)
	if err := deadlines.SetWriteDeadline(time.Now().Add(uploadTime + writeTimeout)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(r.Context(), uploadTime)
	defer cancel()
	body := patient{r.Body, deadlines}
	return fw.Install(ctx, body, r.ContentLength, r.URL.Query().Get("allow-downgrade") == "true")
}

// patient is a body that may take long, as long as it goes on.
type patient struct {
	io.Reader
	deadlines *http.ResponseController
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.deadlines.SetReadDeadline(time.Now().Add(uploadIdle)); err != nil {
		return 0, err
	}
	return p.Reader.Read(b)
}
