package access

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func TestPassword(t *testing.T) {
	l := compile(t,
		User{Name: "a", Password: hash(t, "secret"), Publish: []string{"a"}},
		User{Name: "full", Password: hash(t, strings.Repeat("x", MaxPasswordLen)), Publish: []string{"a"}},
		User{Name: "certified", Certificate: "x", Publish: []string{"a"}},
	)
	for range 2 { // the second time it is known
		if id, err := l.Password("a", "secret"); err != nil || id.Name() != "a" {
			t.Errorf("%v, %v", id, err)
		}
		for name, tc := range map[string][2]string{
			"wrong":      {"a", "Secret"},
			"empty":      {"a", ""},
			"long":       {"full", strings.Repeat("x", MaxPasswordLen+1)}, // of which bcrypt sees what is right
			"unknown":    {"b", "secret"},
			"nameless":   {"", "secret"},
			"noPassword": {"certified", ""},
		} {
			if id, err := l.Password(tc[0], tc[1]); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v, %v", name, id, err)
			}
		}
	}
}

// Who has no password is refused after the same work as who gives a wrong one, so that
// the time does not tell which names there are.
func TestUnknownNameCostsAsMuch(t *testing.T) {
	l := compile(t,
		User{Name: "a", Password: hash(t, "secret"), Publish: []string{"a"}},
		User{Name: "certified", Certificate: "x", Publish: []string{"a"}},
	)
	var costs []int
	l.passwords.compare = func(hash, password []byte) error {
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			t.Errorf("%s: %v", hash, err)
		}
		costs = append(costs, cost)
		if err := bcrypt.CompareHashAndPassword(hash, password); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("%s: %v, want a comparison", hash, err)
		}
		return bcrypt.ErrMismatchedHashAndPassword
	}
	for _, name := range []string{"a", "b", "certified"} {
		if _, err := l.Password(name, "guess"); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(costs) != 3 || costs[0] != costs[1] || costs[0] != costs[2] {
		t.Errorf("costs %v, want three of the same", costs)
	}
}

// A flood of guesses has a bounded number of checks at one time and a bounded number
// that wait; who was right before comes in past it.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := compile(t, User{Name: "a", Password: hash(t, "secret"), Publish: []string{"a"}})
		if _, err := l.Password("a", "secret"); err != nil {
			t.Fatal(err)
		}
		var running, most atomic.Int32
		checked := make(chan struct{})
		l.passwords.compare = func(_, _ []byte) error {
			most.Store(max(most.Load(), running.Add(1)))
			<-checked
			running.Add(-1)
			return errors.New("wrong")
		}
		var refused, busy atomic.Int32
		var flood sync.WaitGroup
		for range 1000 {
			flood.Go(func() {
				switch _, err := l.Password("a", "guess"); {
				case errors.Is(err, ErrRefused):
					refused.Add(1)
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				}
			})
		}
		synctest.Wait()
		slots := int32(cap(l.passwords.slots))
		if running.Load() != slots {
			t.Errorf("%d are checked at one time, want %d", running.Load(), slots)
		}
		if got, want := busy.Load(), 1000-slots-maxWaiting; got != want {
			t.Errorf("%d were turned away at once, want %d", got, want)
		}
		start := time.Now()
		if id, err := l.Password("a", "secret"); err != nil || id.Name() != "a" || time.Since(start) != 0 {
			t.Errorf("who was right before: %v, %v, after %v", id, err, time.Since(start))
		}
		time.Sleep(maxWait) // of the bubble's clock
		synctest.Wait()
		if got, want := busy.Load(), 1000-slots; got != want {
			t.Errorf("%d gave up in the end, want %d", got, want)
		}
		close(checked)
		flood.Wait()
		if most.Load() > slots || refused.Load() != slots {
			t.Errorf("up to %d were checked at one time, %d refused; want %d of each", most.Load(), refused.Load(), slots)
		}
	})
}

// Of many who wait with the same right password one pays.
func TestRightPasswordIsCheckedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := compile(t, User{Name: "a", Password: hash(t, "secret"), Publish: []string{"a"}})
		l.passwords.slots = make(chan struct{}, 1)
		var checks atomic.Int32
		checked := make(chan struct{})
		l.passwords.compare = func(_, _ []byte) error {
			checks.Add(1)
			<-checked
			return nil
		}
		var logins sync.WaitGroup
		for range 100 {
			logins.Go(func() {
				if id, err := l.Password("a", "secret"); err != nil || id.Name() != "a" {
					t.Errorf("%v, %v", id, err)
				}
			})
		}
		synctest.Wait()
		close(checked)
		logins.Wait()
		if checks.Load() != 1 {
			t.Errorf("%d checks, want 1", checks.Load())
		}
	})
}
