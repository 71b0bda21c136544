package appliance

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// house records what parts do, in order.
type house struct {
	events chan string
}

// part is one that is ready when it has started and ready says so too.
func (h *house) part(name string, ready func() error, fails <-chan error) part {
	var started atomic.Bool
	return part{
		name: name,
		run: func(ctx context.Context) error {
			h.events <- name + " starts"
			started.Store(true)
			select {
			case <-ctx.Done():
				time.Sleep(time.Second) // what it finishes; the others must wait
				h.events <- name + " ends"
				return nil
			case err := <-fails:
				h.events <- name + " fails"
				return err
			}
		},
		ready: func() error {
			if !started.Load() {
				return errors.New("not started")
			}
			return ready()
		},
	}
}

func (h *house) all() []string {
	close(h.events)
	var out []string
	for e := range h.events {
		out = append(out, e)
	}
	return out
}

func yes() error { return nil }

// after is not ready for d.
func after(d time.Duration) func() error {
	start := time.Now()
	return func() error {
		if time.Since(start) < d {
			return errors.New("not yet")
		}
		return nil
	}
}

// Parts that were all started are ready when the last one is, and stop in
// reverse, each when the one after it has ended.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{make(chan string, 100)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := runInOrder(ctx, []part{
			h.part("admin", yes, nil), h.part("broker", after(2*time.Second), nil), h.part("bridge", after(time.Second), nil),
		}, func() {
			h.events <- "ready"
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("ready after %v, want 2s", took)
			}
		})
		if err != nil {
			t.Errorf("ended with %v, want nil", err)
		}
		got := h.all()
		slices.Sort(got[:3]) // they start at the same time
		want := []string{"admin starts", "bridge starts", "broker starts", "ready", "bridge ends", "broker ends", "admin ends"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if took := time.Since(start); took != time.Minute+3*time.Second {
			t.Errorf("took %v, want each part's second after the minute", took)
		}
	})
}

// A part that fails ends the others, those after it first, and its error is told.
func TestOnePartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{make(chan string, 100)}
		broken, fails := errors.New("disk is gone"), make(chan error)
		time.AfterFunc(time.Minute, func() { fails <- broken })
		err := runInOrder(t.Context(), []part{
			h.part("admin", yes, nil), h.part("broker", yes, fails), h.part("bridge", yes, nil),
		}, func() {})
		if !errors.Is(err, broken) || err.Error() != "broker: disk is gone" {
			t.Errorf("ended with %v, want %v", err, broken)
		}
		want := []string{"broker fails", "bridge ends", "admin ends"}
		if got := h.all()[3:]; !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// What is never ready is told to stop as well, and is not said to be ready.
func TestStopWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{make(chan string, 100)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := runInOrder(ctx, []part{
			h.part("admin", yes, nil), h.part("broker", after(time.Hour), nil), h.part("bridge", yes, nil),
		}, func() { t.Error("said to be ready") })
		want := []string{"bridge ends", "broker ends", "admin ends"}
		if got := h.all()[3:]; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v, %v\nwant %v", got, err, want)
		}
	})
}

// Who is told to stop before it was ready is not said to be ready.
func TestStopBeforeReady(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if err := runInOrder(ctx, []part{{"admin", wait, yes}}, func() { t.Error("said to be ready") }); err != nil {
		t.Errorf("ended with %v, want nil", err)
	}
}

// A part that ends without being told to is a failure, also without an error; and
// all failures are told, not the first one alone.
func TestEveryFailureIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		short := part{"bridge", func(context.Context) error { return nil }, yes}
		stuck := part{"broker", func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("not synced")
		}, yes}
		err := runInOrder(t.Context(), []part{stuck, short}, func() {})
		if want := "broker: not synced\nbridge: ended by itself"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}
