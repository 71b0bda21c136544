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
	"time"
)

// Process is a headwater with its settings. It keeps its ports and its data
// directory over a restart. New makes one on free ports; a literal with all addresses
// is as good.
type Process struct {
	// Binary is the program.
	Binary string
	// Kafka, NATS, MQTT and Admin are the addresses it listens on.
	Kafka, NATS, MQTT, Admin string
	// DataDir is its data directory.
	DataDir string
	// Env is added to its environment: "HEADWATER_...=...".
	Env []string
	// Args are words behind its command: --config and a file, say.
	Args []string
	// Prefix are words before its command: those of a program that runs it.
	Prefix []string

	Program
}

// New prepares binary to run on free ports with its data in dataDir. Nothing is
// started.
func New(binary, dataDir string) (*Process, error) {
	p := &Process{Binary: binary, DataDir: dataDir}
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
	words := append(slices.Clone(p.Prefix), p.Binary, "serve")
	words = append(words, p.Args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(environ(),
		"HEADWATER_DATA_DIR="+p.DataDir,
		"HEADWATER_DATA_ALLOW_VOLATILE=true", // wherever tests and benchmarks are let write
		"HEADWATER_KAFKA_LISTEN="+p.Kafka,
		"HEADWATER_NATS_LISTEN="+p.NATS,
		"HEADWATER_MQTT_LISTEN="+p.MQTT,
		"HEADWATER_ADMIN_LISTEN="+p.Admin)
	cmd.Env = append(cmd.Env, p.Env...)
	return p.Launch(cmd)
}

// readyEvery is how often a process that starts is asked whether it is ready: it
// is what bounds the precision of a measured start.
const readyEvery = time.Millisecond

// AwaitReady waits until /readyz says so. It is an error if the process ends
// before that.
func (p *Process) AwaitReady(ctx context.Context) error {
	err := Ready(ctx, p.Admin, readyEvery, p.Ended())
	switch {
	case errors.Is(err, ErrEnded):
		return fmt.Errorf("ended before it was ready: %v\n%s", p.current().err, p.Log())
	case err != nil:
		return fmt.Errorf("%w\n%s", err, p.Log())
	}
	return nil
}

// ErrEnded is returned by Ready when what it asks has ended.
var ErrEnded = errors.New("it has ended")

// Ready asks an admin port again and again until /readyz says so, ctx is done or what
// is asked has ended.
func Ready(ctx context.Context, admin string, every time.Duration, ended <-chan struct{}) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	client := http.Client{Timeout: max(time.Second, 20*every)}
	for {
		answer, err := client.Get("http://" + admin + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", context.Cause(ctx))
		case <-ended:
			return ErrEnded
		case <-tick.C:
		}
	}
}

// environ is this process's environment without what is meant for tests or for
// another headwater: a variable that is no setting's would be refused.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HEADWATER_") })
}
