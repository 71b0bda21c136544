// Package peer is a connection to another broker. It dials when it is first
// needed, carries one request at a time, and waits no longer for the answer than it
// is told.
//
// A connection on which anything went wrong is closed and never used again, above
// all one that still owes an answer; the next call dials anew. Who calls in a loop
// needs no pause of its own: a call after a connection that gave no answer first
// waits its turn out, twice as long each time up to maxPause, and the caller's
// context ends that wait too.
//
// A Conn may be used from any goroutine and starts none: calls wait for one another.
// Sizes are in bytes.
package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	minPause = 50 * time.Millisecond // after the first connection without an answer
	maxPause = time.Second
)

// Config is how connections to a broker are made and held.
type Config struct {
	ClientID         string
	Purpose          string        // what the connection is for, in metrics
	DialTimeout      time.Duration // until the connection stands, whatever Dial does for it
	RequestTimeout   time.Duration // until the answer begins, and between any two parts of it
	AnswerTimeout    time.Duration // from a request's first byte to its answer's last
	MaxResponseBytes int           // a longer answer is not believed
	Dial             func(ctx context.Context, network, address string) (net.Conn, error)
	Metrics          *Metrics // nil: nobody counts
}

// DefaultConfig suits requests that are answered soon, and fetches. A long answer comes
// over a slow line as well, as long as it comes: who waited for less would ask for the
// same again and again.
func DefaultConfig(clientID, purpose string) Config {
	return Config{
		ClientID:         clientID,
		Purpose:          purpose,
		DialTimeout:      10 * time.Second,
		RequestTimeout:   30 * time.Second,
		AnswerTimeout:    10 * time.Minute,
		MaxResponseBytes: 64 << 20,
		Dial:             (&net.Dialer{}).DialContext,
	}
}

// Conn is a connection to one broker, whether it stands at the moment or not.
type Conn struct {
	address string
	cfg     Config
	closed  context.Context
	close   context.CancelFunc

	turn chan struct{} // held by who uses what follows
	link *link         // nil: not connected
	// failures counts the connections in a row on which no call was answered, and the
	// next is not dialled before notBefore.
	failures  int
	notBefore time.Time
}

// New returns a Conn to the broker at address, host:port. It dials nothing yet.
func New(address string, cfg Config) *Conn {
	closed, cancel := context.WithCancel(context.Background())
	return &Conn{address: address, cfg: cfg, closed: closed, close: cancel, turn: make(chan struct{}, 1)}
}

// Address is where the broker is.
func (c *Conn) Address() string { return c.address }

// Call sends req, at the version that is set on it, and returns the answer, whose
// records are not copied again. After an error it is not known whether the broker
// has done what it was asked for.
func (c *Conn) Call(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	ctx, leave, err := c.enter(ctx)
	if err != nil {
		return nil, c.failed(req, err)
	}
	defer leave()
	resp, err := c.call(ctx, req)
	if err != nil {
		return nil, c.failed(req, err)
	}
	c.failures = 0
	return resp, nil
}

// MaxVersion is the latest version of an API that both the broker and this one
// know, -1 when the broker does not offer it. The broker is asked once a
// connection.
func (c *Conn) MaxVersion(ctx context.Context, key int16) (int16, error) {
	ctx, leave, err := c.enter(ctx)
	if err != nil {
		return -1, c.failed(kmsg.NewPtrApiVersionsRequest(), err)
	}
	defer leave()
	if c.link != nil && c.link.versions != nil {
		return c.link.versions.latest(key), nil
	}
	req := kmsg.NewPtrApiVersionsRequest() // of version 0, which every broker answers
	resp, err := c.call(ctx, req)
	if err != nil {
		return -1, c.failed(req, err)
	}
	v, err := offered(resp.(*kmsg.ApiVersionsResponse))
	if err != nil {
		c.drop()
		c.fail()
		return -1, c.failed(req, err)
	}
	if c.link != nil { // nil when ctx ended behind the answer
		c.link.versions = v
	}
	return v.latest(key), nil
}

// Close ends the connection and every call, and refuses later ones.
func (c *Conn) Close() {
	c.close()
	c.turn <- struct{}{}
	c.drop()
	<-c.turn
}

// enter waits for the caller's turn. The context that it returns ends also when c
// is closed.
func (c *Conn) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-c.closed.Done():
		return nil, nil, net.ErrClosed
	}
	if c.closed.Err() != nil {
		<-c.turn
		return nil, nil, net.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.closed, func() { cancel(net.ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		<-c.turn
	}, nil
}

// call connects if need be and has req answered. The error of a call that was given
// up says why it was.
func (c *Conn) call(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	c.cfg.Metrics.request(c.cfg.Purpose)
	resp, intact, err := c.link.exchange(ctx, req, c.cfg)
	if !intact {
		c.drop()
	}
	switch {
	case err == nil:
		return resp, nil
	case ctx.Err() != nil: // which says nothing about the broker
		return nil, context.Cause(ctx)
	}
	c.fail()
	return nil, err
}

// connect makes sure of a connection, after the pause that is due.
func (c *Conn) connect(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil || c.link != nil {
		return err
	}
	if err := pause(ctx, time.Until(c.notBefore)); err != nil {
		return err
	}
	dialling, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	nc, err := c.cfg.Dial(dialling, "tcp", c.address)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.fail()
		return err
	}
	c.cfg.Metrics.connected(c.cfg.Purpose)
	c.link = &link{nc: nc}
	return nil
}

// fail notes that a connection gave no answer.
func (c *Conn) fail() {
	wait := min(minPause<<min(c.failures, 10), maxPause)
	c.failures++
	c.notBefore = time.Now().Add(wait/2 + rand.N(wait/2)) // those who lost the same broker do not come back together
}

func (c *Conn) drop() {
	if c.link != nil {
		c.link.nc.Close()
		c.link = nil
	}
}

func (c *Conn) failed(req kmsg.Request, err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
		c.cfg.Metrics.failed(c.cfg.Purpose)
	}
	return fmt.Errorf("%s to %s: %w", kmsg.NameForKey(req.Key()), c.address, err)
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
