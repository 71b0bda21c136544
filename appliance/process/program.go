package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Program is any program that is started, ended and started again. What it writes is
// kept over its lives. One goroutine starts and stops it; Log and Ended are any
// goroutine's.
type Program struct {
	// Apart keeps from it what a terminal signals to this process and to all that it
	// has started.
	Apart bool
	// Tee gets what it writes too, if there is one.
	Tee io.Writer

	output output

	mu  sync.Mutex // guards run
	run *run       // nil before the first Launch
}

// run is one life of the program.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it was waited for
	err   error         // of the wait; set before ended is closed
}

// Launch starts cmd, which ends with this process at the latest. The thread that starts
// it is kept until it has ended: the kernel counts that one as the parent.
func (p *Program) Launch(cmd *exec.Cmd) error {
	var to io.Writer = &p.output
	if p.Tee != nil {
		to = io.MultiWriter(to, p.Tee)
	}
	cmd.Stdout, cmd.Stderr = to, to
	cmd.SysProcAttr = notOrphaned(p.Apart)
	r := &run{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			r.err = cmd.Wait()
			close(r.ended)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run = r
	return nil
}

func (p *Program) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// Started reports whether it was ever started.
func (p *Program) Started() bool { return p.current() != nil }

// PID is the process id of the one that was started last.
func (p *Program) PID() int { return p.current().cmd.Process.Pid }

// Ended is closed once the process that was started last has ended.
func (p *Program) Ended() <-chan struct{} { return p.current().ended }

// Signal sends it a signal.
func (p *Program) Signal(s syscall.Signal) error { return p.current().cmd.Process.Signal(s) }

// Kill ends it with SIGKILL, as a power cut would end it but for what the
// operating system still writes, and waits. It may have ended already.
func (p *Program) Kill() error {
	r := p.current()
	if r == nil {
		return nil
	}
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-r.ended
	return nil
}

// Wait waits until the process has ended and returns its exit code, or -1 if a
// signal ended it.
func (p *Program) Wait(ctx context.Context) (exitCode int, err error) {
	r := p.current()
	select {
	case <-ctx.Done():
		return 0, fmt.Errorf("still running: %w\n%s", ctx.Err(), p.Log())
	case <-r.ended:
		return r.cmd.ProcessState.ExitCode(), nil
	}
}

// Log is what the process wrote, in all its lives, the oldest first. What is more
// than a few MiB is cut out of the middle.
func (p *Program) Log() string { return p.output.String() }

// output keeps the beginning of what is written to it, and the end.
type output struct {
	mu          sync.Mutex // guards all below
	first, last []byte
}

const maxHalf = 2 << 20 // bytes kept at each end

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rest := b
	if room := maxHalf - len(o.first); room > 0 {
		n := min(room, len(rest))
		o.first = append(o.first, rest[:n]...)
		rest = rest[n:]
	}
	o.last = append(o.last, rest...)
	if over := len(o.last) - 2*maxHalf; over > 0 {
		o.last = append([]byte(nil), o.last[over+maxHalf:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.first) + string(o.last)
}
