// Package process runs the headwater binary as a process of its own, the way an
// operator would: for `headwater bench`, which ships with it, and for the end-to-end
// tests.
//
// It builds the binary, gives it free loopback ports and a data directory, waits
// until it is ready, and signals, kills and restarts it. It knows nothing of what
// headwater does. A Process is one goroutine's to start and stop; Log, Memory,
// Metric and Ended are any goroutine's. Sizes are bytes.
package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a headwater with its settings. It keeps its ports and its data
// directory over a restart.
type Process struct {
	// Kafka, NATS, MQTT and Admin are the addresses it listens on.
	Kafka, NATS, MQTT, Admin string
	// DataDir is its data directory.
	DataDir string
	// Env is added to its environment: "HEADWATER_...=...".
	Env []string

	binary string
	output output

	mu  sync.Mutex // guards run
	run *run       // nil before the first Start
}

// run is one life of the process.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it was waited for
	err   error         // of the wait; set before ended is closed
}

// New prepares binary to run on free ports with its data in dataDir. Nothing is
// started.
func New(binary, dataDir string) (*Process, error) {
	p := &Process{binary: binary, DataDir: dataDir}
	for _, address := range []*string{&p.Kafka, &p.NATS, &p.MQTT, &p.Admin} {
		var err error
		if *address, err = FreeAddress(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Start starts the process and waits until it is ready. The process outlives ctx.
func (p *Process) Start(ctx context.Context) error {
	if err := p.StartOnly(); err != nil {
		return err
	}
	return p.AwaitReady(ctx)
}

// StartOnly starts the process.
func (p *Process) StartOnly() error {
	cmd := exec.Command(p.binary, "serve")
	cmd.Env = append(environ(),
		"HEADWATER_DATA_DIR="+p.DataDir,
		"HEADWATER_KAFKA_LISTEN="+p.Kafka,
		"HEADWATER_NATS_LISTEN="+p.NATS,
		"HEADWATER_MQTT_LISTEN="+p.MQTT,
		"HEADWATER_ADMIN_LISTEN="+p.Admin)
	cmd.Env = append(cmd.Env, p.Env...)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.SysProcAttr = notOrphaned()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.binary, err)
	}
	r := &run{cmd: cmd, ended: make(chan struct{})}
	go func() {
		r.err = cmd.Wait()
		close(r.ended)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run = r
	return nil
}

// readyEvery is how often a process that starts is asked whether it is ready: it
// is what bounds the precision of a measured start.
const readyEvery = time.Millisecond

// AwaitReady waits until /readyz says so. It is an error if the process ends
// before that.
func (p *Process) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	client := http.Client{Timeout: time.Second}
	for {
		answer, err := client.Get("http://" + p.Admin + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w\n%s", ctx.Err(), p.Log())
		case <-p.Ended():
			return fmt.Errorf("ended before it was ready: %v\n%s", p.current().err, p.Log())
		case <-tick.C:
		}
	}
}

func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// PID is the process id of the one that was started last.
func (p *Process) PID() int { return p.current().cmd.Process.Pid }

// Ended is closed once the process that was started last has ended.
func (p *Process) Ended() <-chan struct{} { return p.current().ended }

// Signal sends it a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.current().cmd.Process.Signal(s) }

// Kill ends it with SIGKILL, as a power cut would end it but for what the
// operating system still writes, and waits. It may have ended already.
func (p *Process) Kill() error {
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
func (p *Process) Wait(ctx context.Context) (exitCode int, err error) {
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
func (p *Process) Log() string { return p.output.String() }

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

// environ is this process's environment without what is meant for tests or for
// another headwater: a variable that is no setting's would be refused.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HEADWATER_") })
}
