package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// children are the processes that PID 1 started, and those that lost their parent. Who
// asks for a status of any child would take it from who waits for that one, so one
// place asks for all.
type children struct {
	once sync.Once

	mu   sync.Mutex // guards all below; held while a process is started, so that it is known before it can have ended
	mine map[int]*child
}

// child is a Process.
type child struct {
	pid    int
	ended  chan struct{} // it was reaped
	done   chan struct{} // and its output was read
	status syscall.WaitStatus
}

func (c *child) PID() int { return c.pid }

func (c *child) Done() <-chan struct{} { return c.done }

// Signal sends nothing to a process that has ended: its number may be another's.
func (c *child) Signal(sig os.Signal) error {
	select {
	case <-c.ended:
		return os.ErrProcessDone
	default:
		return syscall.Kill(c.pid, sig.(syscall.Signal))
	}
}

func (c *child) Status() string {
	<-c.ended
	switch {
	case c.status.Signaled():
		return fmt.Sprintf("ended by signal %d (%v)", c.status.Signal(), c.status.Signal())
	case c.status.ExitStatus() == 0:
		return "ended without being asked to"
	default:
		return fmt.Sprintf("ended with code %d", c.status.ExitStatus())
	}
}

// code is the exit code, or -1 for a signal.
func (c *child) code() int {
	<-c.ended
	return c.status.ExitStatus()
}

// childScore has the kernel end the child first when memory is short.
const childScore = "500"

// Start implements Machine.
func (k *Kernel) Start(c Command) (Process, error) { return k.children.start(c) }

func (cs *children) start(c Command) (*child, error) {
	cs.once.Do(func() {
		cs.mine = map[int]*child{}
		go cs.reap() // lives as long as the process, which is the machine's life
	})
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		out.Close()
		return nil, err
	}
	defer null.Close()
	cs.mu.Lock()
	pid, err := syscall.ForkExec(c.Path, append([]string{c.Path}, c.Args...), &syscall.ProcAttr{
		Dir: "/", Env: c.Env, Files: []uintptr{null.Fd(), in.Fd(), in.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	child := &child{pid: pid, ended: make(chan struct{}), done: make(chan struct{})}
	if err == nil {
		cs.mine[pid] = child
	}
	cs.mu.Unlock()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("start %s %s: %w", c.Path, strings.Join(c.Args, " "), err)
	}
	os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(childScore), 0) // it has ended, or there is no /proc
	go child.finish(out, c.Output)
	return child, nil
}

// outputLimit is how long the output of a child that has ended is waited for: a child
// of its own may hold on to it.
const outputLimit = time.Second

// finish hands the child's output on until both have ended.
func (c *child) finish(out *os.File, to io.Writer) {
	read := make(chan struct{})
	go func() {
		io.Copy(to, out)
		close(read)
	}()
	<-c.ended
	select {
	case <-read:
	case <-time.After(outputLimit):
	}
	out.Close() // ends the copy
	<-read
	close(c.done)
}

// reap waits for every child that ends, ours or not.
func (cs *children) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for ; ; <-ended {
		for cs.reapOne() {
		}
	}
}

func (cs *children) reapOne() bool {
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.mine[pid]; c != nil {
		delete(cs.mine, pid)
		c.status = status
		close(c.ended)
	}
	return true
}

const lookForChildren = 50 * time.Millisecond

// awaitNone waits until there are no children, for at most so long.
func (cs *children) awaitNone(limit time.Duration) {
	ticker := time.NewTicker(lookForChildren)
	defer ticker.Stop()
	for end := time.Now().Add(limit); time.Now().Before(end); <-ticker.C {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) // takes nothing away
		if errors.Is(err, unix.ECHILD) {
			return
		}
	}
}
