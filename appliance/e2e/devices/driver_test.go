//go:build interop

package devices

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// order is what a driver is asked to do. What it leaves out does not matter.
type order struct {
	Do       string `json:"do"`
	Server   string `json:"server"` // host:port
	Subject  string `json:"subject,omitempty"`
	Prefix   string `json:"prefix,omitempty"` // of the values: <prefix>-<i>
	Count    int    `json:"count"`
	IDs      bool   `json:"ids,omitempty"` // values are message ids too
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"` // of the first message
	Durable  string `json:"durable,omitempty"`

	Topic   string            `json:"topic,omitempty"`
	Filter  string            `json:"filter,omitempty"`
	QoS     int               `json:"qos"`
	Client  string            `json:"client,omitempty"`
	Session int               `json:"session,omitempty"` // expiry in seconds
	Retain  bool              `json:"retain,omitempty"`
	Will    string            `json:"will,omitempty"` // its topic
	User    map[string]string `json:"user,omitempty"` // properties
}

// event is a line of a driver's answer; which fields are set depends on what it
// tells.
type event struct {
	Error     string
	Ready     bool
	Subject   string
	Value     string
	Sequence  uint64
	Stream    string
	Duplicate bool
	Topic     string
	QoS       int
	Retain    bool
	Reason    int
	Present   bool // the session was there
	User      map[string]string
}

// drive runs a driver to its end, and returns what it told.
func drive(t *testing.T, driver []string, o order) []event {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	out := command(t, "", append(slices.Clone(driver), string(text))...)
	events, err := parseEvents(out)
	if err != nil {
		t.Fatalf("%s: %v\n%s", o.Do, err, out)
	}
	for _, e := range events {
		if e.Error != "" {
			t.Fatalf("%s: %s", o.Do, e.Error)
		}
	}
	return events
}

// driver is a driver that runs. It is killed when the test ends.
type driver struct {
	t      *testing.T
	events chan event
}

// launch starts a driver.
func launch(t *testing.T, args []string, o order) *driver {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	args = append(slices.Clone(args), string(text))
	cmd := exec.CommandContext(within(t, patience), args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, events: make(chan event, 1000)}
	go func() {
		defer close(d.events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e.Error = err.Error()
			}
			d.events <- e
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		for range d.events {
		}
		cmd.Wait() // it may have been killed, which is an error
	})
	return d
}

// next is the next that the driver tells.
func (d *driver) next() event {
	d.t.Helper()
	e, ok := <-d.events
	if !ok || e.Error != "" {
		d.t.Fatalf("the driver has ended: %s", e.Error)
	}
	return e
}

func (d *driver) ready() {
	d.t.Helper()
	if e := d.next(); !e.Ready {
		d.t.Fatalf("the driver says %+v, want that it is ready", e)
	}
}

func parseEvents(out string) (events []event, err error) {
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, lines.Err()
}
