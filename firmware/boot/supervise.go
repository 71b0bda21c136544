package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"
)

// Why the supervision ends by itself: the machine is restarted then.
var (
	ErrTrialFailed = errors.New("the new version did not get ready")
	ErrGivenUp     = errors.New("headwater serve ends again and again")
)

const (
	probeEvery   = 2 * time.Second
	startLimit   = 15 * time.Minute // until it answers at first: it may have much to recover
	silenceLimit = 2 * time.Minute  // and later
	stopLimit    = 30 * time.Second // from SIGTERM to SIGKILL

	firstBackOff = time.Second // after an end that was not asked for, doubling
	lastBackOff  = time.Minute
	stableAfter  = 10 * time.Minute // what ran for so long starts with the first again
	maxFailures  = 30               // in a row; some 25 minutes

	trialSteady = 20 * time.Second // all that is asked for held for so long: it is good
	trialLimit  = 10 * time.Minute // from the start of the supervision, over all tries
)

// supervisor keeps headwater serve running. Its functions are called from the
// goroutine of run.
type supervisor struct {
	log   *slog.Logger
	start func() (Process, error)
	probe func(ctx context.Context, caughtUp bool) health
	well  func(d time.Duration) // promises the watchdog another pass

	onTrial    bool
	caughtUp   bool // what is on trial must have caught up with its region, too
	trialLimit time.Duration
	markGood   func() error
	changed    <-chan struct{} // what it is started with has changed: start it again

	trialEnds time.Time
}

// run supervises until ctx is done, when it has stopped what runs, and returns nil; or
// until the machine had better be restarted.
func (s *supervisor) run(ctx context.Context) error {
	s.trialEnds = time.Now().Add(s.trialLimit)
	for failures := 0; ; {
		s.well(passLimit)
		began := time.Now()
		asked, err := s.once(ctx)
		if ctx.Err() != nil || errors.Is(err, ErrTrialFailed) {
			return err
		}
		if time.Since(began) >= stableAfter || asked {
			failures = 0
		}
		if !asked {
			failures++
		}
		if failures > maxFailures {
			return fmt.Errorf("%w: %d times", ErrGivenUp, failures)
		}
		wait := backOff(failures)
		s.log.Warn("headwater serve ended", "err", err, "failures", failures, "again", wait)
		if !s.pause(ctx, wait) {
			return nil
		}
		if s.trialOver() {
			return fmt.Errorf("%w: %w", ErrTrialFailed, err)
		}
	}
}

// backOff is how long to wait after so many failures in a row.
func backOff(failures int) time.Duration {
	wait := firstBackOff
	for range min(failures-1, 10) {
		wait *= 2
	}
	return min(wait, lastBackOff)
}

func (s *supervisor) trialOver() bool { return s.onTrial && !time.Now().Before(s.trialEnds) }

// pause waits, and promises the watchdog that it does; false means that ctx is done.
func (s *supervisor) pause(ctx context.Context, wait time.Duration) bool {
	s.well(wait + passLimit)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

var (
	errSilent  = errors.New("it does not answer")
	errChanged = errors.New("the box's address changed")
)

// once starts headwater serve and stays with it until it has ended, and tells why.
// asked is true if that was our doing and it did nothing wrong.
func (s *supervisor) once(ctx context.Context) (asked bool, err error) {
	p, err := s.start()
	if err != nil {
		return false, err
	}
	s.log.Info("headwater serve started", "pid", p.PID())
	w := watch{started: time.Now()}
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.Done():
			return false, errors.New(p.Status())
		case <-ctx.Done():
			s.stop(p)
			return true, nil
		case <-s.changed:
			s.stop(p)
			return true, errChanged
		case <-ticker.C:
		}
		s.well(passLimit)
		h := s.probe(ctx, s.onTrial && s.caughtUp)
		w.see(time.Now(), h)
		s.tell(&w, h)
		if err := s.judge(&w, h); err != nil {
			s.stop(p)
			return false, err
		}
	}
}

// judge holds what was seen against the limits, and marks a version good that is.
func (s *supervisor) judge(w *watch, h health) error {
	now := time.Now()
	switch {
	case w.silentFor(now) > w.silenceAllowed():
		return fmt.Errorf("%w for %v: %s", errSilent, w.silentFor(now).Round(time.Second), h.why)
	case s.onTrial && w.readyFor(now) >= trialSteady:
		s.well(passLimit)
		if err := s.markGood(); err != nil {
			s.log.Error("new version is good, and that was not noted; tried again", "err", err)
			h.why = fmt.Sprintf("it is good, and that was not noted: %v", err)
			break // until the trial is over
		}
		s.log.Info("new version is good")
		s.onTrial = false
	}
	if s.trialOver() {
		if h.why == "" {
			h.why = fmt.Sprintf("it is ready, and was not for %v without a break", trialSteady)
		}
		return fmt.Errorf("%w in %v: %s", ErrTrialFailed, s.trialLimit, h.why)
	}
	return nil
}

// tell logs when it gets ready, and when it is not any more.
func (s *supervisor) tell(w *watch, h health) {
	if h.ready == w.told {
		return
	}
	w.told = h.ready
	if h.ready {
		s.log.Info("headwater serve is ready", "took", time.Since(w.started).Round(time.Millisecond), "onTrial", s.onTrial)
		return
	}
	s.log.Warn("headwater serve is not ready any more", "why", h.why)
}

// stop asks p to end, and ends it when it does not.
func (s *supervisor) stop(p Process) {
	s.well(stopLimit + passLimit)
	p.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-p.Done():
		return
	case <-timer.C:
	}
	s.log.Error("headwater serve did not end when asked; killed", "after", stopLimit)
	p.Signal(syscall.SIGKILL)
	<-p.Done() // if the kernel cannot end it, the watchdog does
}

// watch is what was seen of one process.
type watch struct {
	started   time.Time
	answered  time.Time // last; zero: never
	readyFrom time.Time // without a break; zero: it is not
	told      bool      // that it is ready
}

func (w *watch) see(now time.Time, h health) {
	if h.alive {
		w.answered = now
	}
	switch {
	case !h.ready:
		w.readyFrom = time.Time{}
	case w.readyFrom.IsZero():
		w.readyFrom = now
	}
}

func (w *watch) silentFor(now time.Time) time.Duration {
	if w.answered.IsZero() {
		return now.Sub(w.started)
	}
	return now.Sub(w.answered)
}

func (w *watch) silenceAllowed() time.Duration {
	if w.answered.IsZero() {
		return startLimit
	}
	return silenceLimit
}

func (w *watch) readyFor(now time.Time) time.Duration {
	if w.readyFrom.IsZero() {
		return -1
	}
	return now.Sub(w.readyFrom)
}
