package boot

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// family is the one of this process: two would take each other's children.
var family children

// The first process is told how its children ended, and reaps those of others that are
// left to it.
func TestChildren(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal("orphans are not left to this process:", err)
	}
	cs := &family
	var out bytes.Buffer
	c, err := cs.start(Command{Path: "/bin/sh", Args: []string{"-c", "sleep 0.3 >&- 2>&- & echo one; echo $WHO >&2; exit 3"}, Env: []string{"PATH=/usr/bin:/bin", "WHO=box"}, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if c.Status() != "ended with code 3" || out.String() != "one\nbox\n" {
		t.Errorf("%s after %q", c.Status(), out.String())
	}
	if err := c.Signal(unix.SIGTERM); err == nil {
		t.Error("a process that is gone was sent a signal")
	}
	cs.awaitNone(10 * time.Second)
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
		t.Errorf("an orphan is left: %v", err)
	}

	killed, err := cs.start(Command{Path: "/bin/sh", Args: []string{"-c", "kill -9 $$"}, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	<-killed.Done()
	if !strings.HasPrefix(killed.Status(), "ended by signal 9") {
		t.Error(killed.Status())
	}
	if _, err := cs.start(Command{Path: "/nowhere", Output: &out}); err == nil {
		t.Error("started what is not there")
	}
}

// A child whose own child holds on to its output has ended nevertheless.
func TestChildrenOutput(t *testing.T) {
	cs := &family
	var out bytes.Buffer
	c, err := cs.start(Command{Path: "/bin/sh", Args: []string{"-c", "sleep 20 & echo $!"}, Env: []string{"PATH=/usr/bin:/bin"}, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	<-c.Done()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	pid := 0
	for _, digit := range strings.TrimSpace(out.String()) {
		pid = 10*pid + int(digit-'0')
	}
	if pid > 1 {
		unix.Kill(pid, unix.SIGKILL)
	}
}
