package mqtt

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/subject"
)

// log is where publishes go, and NATS's side beside it.
type log struct {
	mu       sync.Mutex
	held     bool // nothing is answered until release
	waiting  []func()
	refuse   error
	noRule   string   // messages on this subject are nobody's
	stored   []string // "subject value"
	headers  []string
	best     []string // best effort
	told     []string // what NATS's subscribers heard
	patterns []string // by sid
	ended    []int
}

func (l *log) Take(m *ingest.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(m.Subject) + " " + string(m.Payload)
	if m.Answerer == nil {
		l.best = append(l.best, text)
		return
	}
	err := l.refuse
	switch {
	case string(m.Subject) == l.noRule:
		err = subject.ErrNoRule
	case err == nil:
		l.stored = append(l.stored, text)
		l.headers = append(l.headers, string(m.Headers))
	}
	answerer, token := m.Answerer, m.Token
	answer := func() { answerer.Answer(token, 0, 0, err) }
	if l.held {
		l.waiting = append(l.waiting, answer)
		return
	}
	go answer()
}

func (l *log) Idle() {}

func (l *log) PublishMsg(subject, _, headers, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, string(subject)+" "+string(headers)+string(payload))
	return nil
}

func (l *log) Subscribe(pattern string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.patterns = append(l.patterns, pattern)
	return len(l.patterns) - 1, nil
}

func (l *log) UnsubscribeOne(sid int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, sid)
	return nil
}

func (l *log) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// release answers what waits, in an order that the caller gives: nil for as it came.
func (l *log) release(order ...int) {
	l.mu.Lock()
	waiting := l.waiting
	l.waiting, l.held = nil, false
	l.mu.Unlock()
	if order == nil {
		for _, answer := range waiting {
			answer()
		}
	}
	for _, i := range order {
		waiting[i]()
	}
}

func (l *log) await(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		ok := false
		l.set(func() { ok = f() })
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not: %s; stored %v, best effort %v, told %v", what, l.stored, l.best, l.told)
		}
	}
}

// start runs a Server on a free port, until the test ends.
func start(t *testing.T, cfg Config) (*Server, *log) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	s, err := Listen(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &log{}
	if err := s.Start(l, l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s, l
}

// numbered are what count publishes are stored as.
func numbered(subject string, count int) (all []string) {
	for i := range count {
		all = append(all, fmt.Sprintf("%s %d", subject, i))
	}
	return all
}

func sorted(all []string) []string {
	all = slices.Clone(all)
	slices.Sort(all)
	return all
}
