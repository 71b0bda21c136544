package zk

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/zk/zktest"
)

// The tests of the contract share one server: each has a chroot of its own.
var contractTests = map[string]func(t *testing.T, address string){
	"registration":          testRegistration,
	"registrationTaken":     testRegistrationTaken,
	"registrationLeft":      testRegistrationLeft,
	"registrationTakenOver": testRegistrationTakenOver,
	"ids":                   testIDs,
	"election":              testElection,
	"fence":                 testFence,
	"topics":                testTopics,
	"states":                testStates,
	"deletion":              testDeletion,
	"configs":               testConfigs,
	"notifications":         testNotifications,
	"wanted":                testWanted,
	"producerIDs":           testProducerIDs,
	"consumers":             testConsumers,
	"watchStorm":            testWatchStorm,
	"changes":               testChangesOfATerm,
	"acl":                   testACL,
	"tooLarge":              testTooLarge,
}

func TestContract(t *testing.T) {
	server := zktest.Start(t)
	for name, test := range contractTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.Address()+"/"+name)
		})
	}
}

// patience bounds the waits of tests. None passes by waiting so long.
const patience = 30 * time.Second

// user is a client that runs.
type user struct {
	*Client
	stop func() error
}

// start runs a client until the test ends or stop is called. use gets its sessions.
func start(t *testing.T, cfg Config, use func(context.Context, *Session) error) *user {
	t.Helper()
	c, err := NewClient(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, use) }()
	var stopped atomic.Bool
	u := &user{Client: c, stop: func() error {
		if stopped.Swap(true) {
			return nil
		}
		cancel()
		return <-ended
	}}
	t.Cleanup(func() {
		if err := u.stop(); err != nil {
			t.Error(err)
		}
	})
	return u
}

// config has sessions that outlive the pauses of a machine with much else to do.
func config(address string) Config {
	cfg := DefaultConfig()
	cfg.Connect, cfg.SessionTimeout = address, patience
	return cfg
}

// begin begins a session that lasts as long as the test, with the standing nodes.
func begin(t *testing.T, cfg Config) (*Session, *user) {
	t.Helper()
	sessions := make(chan *Session)
	u := start(t, cfg, func(ctx context.Context, s *Session) error {
		select {
		case sessions <- s:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return nil
	})
	s := receive(t, sessions, "a session")
	if err := s.EnsurePaths(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, u
}

func receive[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
	return v
}

// must returns v, and ends the test on an error.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error %v, want %v", got, want)
	}
}

// nodeText is what stands in a node, or "-" if it is not there.
func nodeText(t *testing.T, s *Session, path string) string {
	t.Helper()
	n, found, err := s.find(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return "-"
	}
	return string(n.data)
}

func wantNode(t *testing.T, s *Session, path, want string) {
	t.Helper()
	if got := nodeText(t, s, path); got != want {
		t.Errorf("%s has\n%s, want\n%s", path, got, want)
	}
}

func contains(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v does not say %q", err, words)
	}
}
