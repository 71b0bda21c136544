// Package cluster runs brokers and ZooKeeper servers for tests: stock Kafka and
// headwater, each at a seat of its own on a network that faults can come between. It
// knows how to start, kill, freeze and stop them, and asks the cluster who leads what.
//
// A Cluster and its machines are started and stopped by one goroutine at a time; what
// only asks is any goroutine's.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/headwater/headwater/appliance/e2e/region/network"
)

// Machine is a broker or a ZooKeeper server: what a nemesis can do something to.
type Machine interface {
	Name() string
	Seat() *network.Seat
	// Start starts it, and returns when it serves.
	Start(ctx context.Context) error
	// Kill ends it with SIGKILL, and waits. It may have ended already.
	Kill() error
	// Freeze stops it as SIGSTOP does; Thaw lets it go on.
	Freeze() error
	Thaw() error
	// Running reports whether it was started and has not ended.
	Running() bool
	// Log is what it wrote.
	Log() string
}

// program is what machines are made of: a process that is started and ended.
type program interface {
	PID() int
	Ended() <-chan struct{}
	Signal(s syscall.Signal) error
	Kill() error
	Wait(ctx context.Context) (exitCode int, err error)
	Log() string
}

// life is the part of a Machine that is every program's.
type life struct {
	name    string
	seat    *network.Seat
	program program
	begun   bool
}

func (l *life) Name() string        { return l.name }
func (l *life) Seat() *network.Seat { return l.seat }
func (l *life) Log() string         { return l.program.Log() }
func (l *life) PID() int            { return l.program.PID() }
func (l *life) Kill() error         { return l.program.Kill() }
func (l *life) Freeze() error       { return l.signal(syscall.SIGSTOP) }
func (l *life) Thaw() error         { return l.signal(syscall.SIGCONT) }

func (l *life) signal(s syscall.Signal) error {
	if !l.Running() {
		return nil
	}
	if err := l.program.Signal(s); err != nil {
		return fmt.Errorf("%v to %s: %w", s, l.name, err)
	}
	return nil
}

func (l *life) Running() bool {
	if !l.begun {
		return false
	}
	select {
	case <-l.program.Ended():
		return false
	default:
		return true
	}
}

// Ended is closed when the program has.
func (l *life) Ended() <-chan struct{} { return l.program.Ended() }

// Stop ends it with SIGTERM, and waits. It must end in good order.
func (l *life) Stop(ctx context.Context) error {
	if !l.Running() {
		return nil
	}
	if err := l.program.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	code, err := l.program.Wait(ctx)
	if err != nil {
		return fmt.Errorf("%s does not stop: %w", l.name, err)
	}
	if code != 0 && code != javaTerminated {
		return fmt.Errorf("%s: %w: exit code %d\n%s", l.name, errStopped, code, l.Log())
	}
	return nil
}

// javaTerminated is what a Java program that SIGTERM ends in good order exits with.
const javaTerminated = 143

var errStopped = errors.New("did not stop in good order")
