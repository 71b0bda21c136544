package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// crowd is devices of one kind, which publish to a topic of their own.
type crowd struct {
	topic    string
	maxBytes int // of a message
	check    *checker
	acks     *progress
	refusals *progress
	devices  []*outbox
	// publish connects a device and publishes what next returns, until there is no
	// more and all is answered, or the connection is lost.
	publish func(ctx context.Context, d *outbox, next func() (posting, bool)) error

	running sync.WaitGroup
	ended   []error // by device; whoever waited for running may read it
}

func newCrowd(topic string, devices int) *crowd {
	c := &crowd{
		topic: topic, maxBytes: 500, check: newChecker(topic),
		acks: newProgress(), refusals: newProgress(), ended: make([]error, devices),
	}
	for n := range devices {
		c.devices = append(c.devices, &outbox{crowd: c, name: fmt.Sprintf("%s%d", topic, n), waiting: map[int]string{}})
	}
	return c
}

// start lets every device publish until ctx is done: first, again, what is not acked
// yet; then new messages until fresh is done (nil: none) or the device is refused one.
// Then it waits for the rest of its answers.
func (c *crowd) start(ctx, fresh context.Context) {
	for n, d := range c.devices {
		c.running.Go(func() { c.ended[n] = c.publish(ctx, d, d.source(fresh)) })
	}
}

// outbox is one device's messages, which it keeps until they are acked.
type outbox struct {
	crowd *crowd
	name  string

	mu      sync.Mutex // guards all below
	last    int        // number of the newest message
	waiting map[int]string
	refused []string // what was answered instead of acks, since start

	stalledAt int   // number of the newest message when nothing could be stored any more; 0: all is well
	early     []int // later messages that were acked nevertheless
}

// posting is one message of a device. Its value's first word is its id.
type posting struct {
	number int
	value  string
}

func (p posting) id() string { return p.value[:strings.IndexByte(p.value, ' ')] }

// source returns what a device publishes over one connection.
func (d *outbox) source(fresh context.Context) func() (posting, bool) {
	d.mu.Lock()
	d.refused = nil
	again := make([]posting, 0, len(d.waiting))
	for n := 1; n <= d.last && len(again) < len(d.waiting); n++ {
		if value, ok := d.waiting[n]; ok {
			again = append(again, posting{n, value})
		}
	}
	d.mu.Unlock()
	return func() (p posting, ok bool) {
		if len(again) > 0 {
			p, again = again[0], again[1:]
			return p, true
		}
		if _, refused := d.left(); fresh == nil || fresh.Err() != nil || len(refused) > 0 {
			return posting{}, false
		}
		return d.compose(), true
	}
}

// compose makes a new message.
func (d *outbox) compose() posting {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	p := posting{d.last, fmt.Sprintf("%s-%d %s", d.name, d.last, strings.Repeat("x", d.last*7919%d.crowd.maxBytes))}
	d.waiting[p.number] = p.value
	d.crowd.check.sending(p.value)
	return p
}

// acked says that a message is stored: at a place, or anywhere if at is nil.
func (d *outbox) acked(number int, at *place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	value, ok := d.waiting[number]
	if !ok { // the same message was acked over an earlier connection
		return
	}
	if d.stalledAt > 0 && number > d.stalledAt {
		d.early = append(d.early, number)
	}
	delete(d.waiting, number)
	if at != nil {
		d.crowd.check.ack(*at, value)
	} else {
		d.crowd.check.ackSomewhere(value)
	}
	d.crowd.acks.add(1)
}

func (d *outbox) left() (waiting int, refused []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting), d.refused
}

func (d *outbox) refuse(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = append(d.refused, why)
	d.crowd.refusals.add(1)
}

// stalled says that from now on nothing can be stored, or again can.
func (d *outbox) stalled(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stalledAt = 0
	if yes {
		d.stalledAt = d.last
	}
}

// natsCrowd is of devices that publish on NATS, with message ids or without. Answers
// that come while deaf says so are taken as if they had been lost on their way.
func natsCrowd(address, topic string, devices, window int, ids bool, deaf func() bool) *crowd {
	c := newCrowd(topic, devices)
	c.check.repeats = !ids
	c.publish = func(ctx context.Context, d *outbox, next func() (posting, bool)) error {
		pub := newPublisher(address, window)
		pub.onAck = func(a ack) {
			if !deaf() {
				d.acked(a.number, &a.place)
			}
		}
		pub.onRefusal = func(_ int, why string) {
			if !deaf() {
				d.refuse(why)
			}
		}
		return pub.publish(ctx, func() (message, bool) {
			p, ok := next()
			if !ok {
				return message{}, false
			}
			m := message{number: p.number, subject: topic + "." + d.name + ".value", value: p.value, wantAck: true}
			if ids {
				m.header = nats.Header{nats.MsgIdHdr: {p.id()}}
			}
			return m, true
		})
	}
	return c
}

// complain fails the test for devices that were refused, or that lost the
// connection of a process which ran.
func (c *crowd) complain(t *testing.T, mayBeLost bool) {
	t.Helper()
	for n, d := range c.devices {
		err := c.ended[n]
		if err != nil && !(mayBeLost && errors.Is(err, errLost)) {
			t.Errorf("device %s: %v", d.name, err)
		}
		if _, refused := d.left(); len(refused) > 0 {
			t.Errorf("device %s: %d messages refused, the first: %s", d.name, len(refused), refused[0])
		}
	}
}

// settle waits for the devices, then has each send what is not acked, to a process
// that lives and can store it: once, or until all is acked if what comes at one time
// may be too much for it.
func (c *crowd) settle(t *testing.T, mayBeTooMuch bool) {
	t.Helper()
	c.running.Wait()
	ctx := within(t, patience)
	for again := true; again; {
		c.start(ctx, nil)
		c.running.Wait()
		again = mayBeTooMuch && ctx.Err() == nil && c.left() > 0
	}
	if !mayBeTooMuch {
		c.complain(t, false)
	}
	if left := c.left(); left > 0 {
		t.Errorf("crowd %s: %d messages are left without an ack", c.topic, left)
	}
}

// left returns how many messages are not acked.
func (c *crowd) left() (messages int) {
	for _, d := range c.devices {
		waiting, _ := d.left()
		messages += waiting
	}
	return messages
}

// refusedWith returns how many devices were refused messages, and fails the test
// where the reason does not start as it must.
func (c *crowd) refusedWith(t *testing.T, prefix string) (devices int) {
	t.Helper()
	for _, d := range c.devices {
		_, refused := d.left()
		for _, why := range refused {
			if !strings.HasPrefix(why, prefix) {
				t.Errorf("device %s is refused with %q, want %q", d.name, why, prefix)
				break
			}
		}
		devices += min(len(refused), 1)
	}
	return devices
}
