//go:build interop

package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// client is one that is tested, and what it has.
type client struct {
	name       string
	command    func() []string
	codecs     []string
	idempotent bool
	static     bool // group.instance.id
	transacts  bool
	keepsBase  bool // tells the offset of a batch's first record only
}

var allCodecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

func all() []client {
	python := func(module string) func() []string {
		return func() []string { return append(slices.Clone(pythonDriver), module) }
	}
	golang := func(name string) func() []string {
		return func() []string { return append(slices.Clone(goDriver), name) }
	}
	clients := []client{
		{name: "confluent", command: python("confluent"), codecs: allCodecs, idempotent: true, static: true, transacts: true},
		{name: "kafka-python", command: python("kafkapython"), codecs: allCodecs, idempotent: true, static: true, transacts: true},
		{name: "aiokafka", command: python("aio"), codecs: allCodecs, idempotent: true, static: true, transacts: true},
		{name: "kafkajs", command: func() []string { return nodeDriver }, codecs: allCodecs, idempotent: true, transacts: true, keepsBase: true},
		{name: "franz-go", command: golang("franz"), codecs: allCodecs, idempotent: true, static: true, transacts: true},
		{name: "sarama", command: golang("sarama"), codecs: allCodecs, idempotent: true, static: true, transacts: true},
		{name: "kafka-go", command: golang("kafkago"), codecs: allCodecs},
	}
	for _, version := range javaVersions {
		clients = append(clients, client{
			name: "java-" + version, command: func() []string { return javaDrivers[version] }, codecs: allCodecs,
			idempotent: true, static: true, transacts: true,
		})
	}
	return clients
}

// each runs test for every client, against one broker, beside one another: as many
// as go test runs in parallel.
func each(t *testing.T, test func(t *testing.T, c client, brokers string)) {
	p := start(t)
	t.Run("with", func(t *testing.T) {
		for _, c := range all() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				test(t, c, p.Kafka)
			})
		}
	})
}

// command is what a driver is asked to do. What it leaves out does not matter.
type command struct {
	Do          string            `json:"do"`
	Brokers     string            `json:"brokers"`
	Topic       string            `json:"topic"`
	Partition   *int32            `json:"partition,omitempty"` // produce: by the key if not set
	Codec       string            `json:"codec,omitempty"`
	Idempotent  bool              `json:"idempotent,omitempty"`
	Acks        *int16            `json:"acks,omitempty"`
	Count       int               `json:"count"` // of records: value <prefix>-<i>, key k<i mod 3>, a second apart
	Prefix      string            `json:"prefix,omitempty"`
	Time        int64             `json:"time"`         // of the first record; of the place to read from
	At          string            `json:"at,omitempty"` // read from: beginning, end, offset, time
	Offset      int64             `json:"offset"`
	Group       string            `json:"group,omitempty"`
	Instance    string            `json:"instance,omitempty"`
	Session     int               `json:"session,omitempty"` // timeout in milliseconds
	Partitions  int32             `json:"partitions,omitempty"`
	What        string            `json:"what,omitempty"` // admin: create, describe, alter, grow, delete
	Config      map[string]string `json:"config,omitempty"`
	Transaction string            `json:"transaction,omitempty"`
}

// event is a line of a driver's answer; which fields are set depends on what it
// tells.
type event struct {
	Error      string
	Version    string
	Ready      bool
	OK         bool
	Partition  int32
	Offset     int64
	End        int64 // of the partition's log, beside a committed offset
	Base       bool  // Offset is of the first of several records
	Key        string
	Value      string
	Time       int64
	Assigned   []int32
	Partitions int
	Config     map[string]string
}

// driver is a driver that runs.
type driver struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	ended  chan struct{}
	err    error // set before ended is closed

	mu     sync.Mutex
	events []event
	more   chan struct{} // closed, and replaced, when there are more events
}

// launch starts a driver. It is killed when the test ends.
func (c client) launch(t *testing.T, cmd command) *driver {
	t.Helper()
	text, err := json.Marshal(cmd)
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(c.command()), string(text))
	d := &driver{t: t, name: c.name, cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{}), more: make(chan struct{})}
	d.cmd.Stderr = &d.stderr
	stdout, err := d.cmd.StdoutPipe()
	if err == nil {
		d.stdin, err = d.cmd.StdinPipe()
	}
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		d.listen(stdout)
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(d.kill)
	return d
}

func (d *driver) listen(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e.Error = "the driver wrote " + lines.Text()
		}
		d.mu.Lock()
		d.events = append(d.events, e)
		close(d.more)
		d.more = make(chan struct{})
		d.mu.Unlock()
	}
}

// kill ends the driver with SIGKILL, if it still runs.
func (d *driver) kill() {
	_ = d.cmd.Process.Kill()
	<-d.ended
}

// leave has the driver end in good order, and waits for that.
func (d *driver) leave() {
	d.t.Helper()
	d.stdin.Close()
	d.wait()
}

// wait waits for the driver's end and returns all that it told.
func (d *driver) wait() []event {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-within(d.t, patience).Done():
		d.t.Fatalf("%s has not ended after %v; it told %d things, last %+v\n%s", d.name, patience, len(d.told()), last(d.told()), d.stderr.String())
	}
	if d.err != nil {
		d.t.Fatalf("%s: %v\n%s", d.name, d.err, d.stderr.String())
	}
	return d.told()
}

func last(events []event) any {
	if len(events) == 0 {
		return "nothing"
	}
	return events[len(events)-1]
}

func (d *driver) told() []event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

// until waits until what the driver has told is enough.
func (d *driver) until(what string, enough func(told []event) bool) []event {
	d.t.Helper()
	return d.untilAll(what, []*driver{d}, func(told [][]event) bool { return enough(told[0]) })[0]
}

// untilAll waits until what several drivers have told is enough.
func (d *driver) untilAll(what string, drivers []*driver, enough func(told [][]event) bool) [][]event {
	d.t.Helper()
	deadline := within(d.t, patience)
	for {
		told := make([][]event, len(drivers))
		wake := make(chan struct{}, 1)
		stop := make(chan struct{})
		for i, other := range drivers {
			other.mu.Lock()
			told[i] = slices.Clone(other.events)
			more := other.more
			other.mu.Unlock()
			go func() {
				select {
				case <-more:
					select {
					case wake <- struct{}{}:
					default:
					}
				case <-stop:
				}
			}()
		}
		good := enough(told)
		for i, other := range drivers {
			for _, e := range told[i] {
				if e.Error != "" {
					d.t.Fatalf("%s: waiting until %s: %s\n%s", other.name, what, e.Error, other.stderr.String())
				}
			}
		}
		if good {
			close(stop)
			return told
		}
		select {
		case <-wake:
		case <-deadline.Done():
			close(stop)
			for i, other := range drivers {
				d.t.Logf("%s told %d things, last %+v\n%s", other.name, len(told[i]), last(told[i]), other.stderr.String())
			}
			d.t.Fatalf("%s: waited %v until %s", d.name, patience, what)
		}
		close(stop)
	}
}

// do runs a driver to its end. An error that it tells fails the test.
func (c client) do(t *testing.T, cmd command) []event {
	t.Helper()
	events := c.launch(t, cmd).wait()
	for _, e := range events {
		if e.Error != "" {
			t.Fatalf("%s: %s: %s", c.name, cmd.Do, e.Error)
		}
	}
	return events
}

// try runs a driver to its end and returns the error that it tells.
func (c client) try(t *testing.T, cmd command) string {
	t.Helper()
	d := c.launch(t, cmd)
	for _, e := range d.wait() {
		if e.Error != "" {
			return e.Error
		}
	}
	return ""
}

func ptr[T any](v T) *T { return &v }

// eventually asks again until what the broker says is so: nothing tells when.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	ctx := within(t, patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if ask() {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %v until %s", patience, what)
		}
	}
}
