package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/wire"
)

// queueLen is how many started requests of a connection may wait for their turn
// to finish.
const queueLen = 64

// Why a connection was closed by this side; the names are in the metrics.
var (
	errIdle    = errors.New("idle")
	errStalled = errors.New("stalled in the middle of a frame")
)

// errGone is any end that came from the client's side or the network.
var errGone = errors.New("client is gone")

// conn is one connection. serve is its writer; read runs beside it.
type conn struct {
	srv     *Server
	nc      net.Conn
	leaving context.Context // done when no more requests are read
	started chan *started   // in order of arrival; closed by the reader
	pending atomic.Int32    // requests that the writer has, or will get
	mute    mute

	// The reader's own:
	in      incoming
	direct  outgoing // answers that no request before them has to wait for
	counted Terms    // of the last request
	count   prometheus.Counter
}

// started is a request that the writer finishes.
type started struct {
	Request
	weight   weight        // of its frame on the budget
	answered chan struct{} // closed when it is; nil when nobody waits for that
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, started: make(chan *started, queueLen), mute: mute{since: time.Now()}}
	c.in.conn, c.direct.conn = c, c
	return c
}

// RemoteAddr, LocalAddr and Leaving implement Conn.
func (c *conn) RemoteAddr() net.Addr     { return c.nc.RemoteAddr() }
func (c *conn) LocalAddr() net.Addr      { return c.nc.LocalAddr() }
func (c *conn) Leaving() <-chan struct{} { return c.leaving.Done() }

// serve returns when the connection is closed. Once stopping is done it reads no
// more requests; once broken is done it gives up on those that were started.
func (c *conn) serve(stopping, broken context.Context) {
	ctx, cut := context.WithCancel(broken)
	leaving, leave := context.WithCancel(ctx)
	c.leaving = leaving
	// Blocked calls end by what is done to the connection under them.
	defer context.AfterFunc(ctx, func() { c.nc.Close() })()
	defer context.AfterFunc(leaving, func() { c.nc.SetReadDeadline(time.Unix(1, 0)) })()
	defer context.AfterFunc(stopping, leave)()

	readErr := make(chan error, 1)
	go func() {
		defer close(c.started)
		defer leave()
		readErr <- c.readAll(ctx)
	}()
	writeErr := c.write(ctx, cut)
	err := <-readErr // serve has waited for the reader from here on
	c.nc.Close()
	cut()
	if writeErr != nil && errors.Is(err, errGone) {
		err = writeErr // what the reader saw came of it
	}
	c.srv.closed(c, err)
}

// readAll reads until there is no more to read, and leaves nothing unsent.
func (c *conn) readAll(ctx context.Context) error {
	defer c.in.release()
	err := c.read(ctx)
	if sendErr := c.direct.flush(); sendErr != nil && errors.Is(err, errGone) {
		err = sendErr
	}
	return err
}

// read starts requests until the client sends no more, breaks a rule, or shall be
// kept waiting no longer.
func (c *conn) read(ctx context.Context) error {
	var before <-chan struct{} // closed when the last request is answered; nil when the next need not wait for it
	for {
		prefix, err := c.in.prefix() // even before the wait: it tells when the client goes away
		if err != nil {
			return err
		}
		terms, err := c.srv.handler.Terms(prefix.Key, prefix.Version)
		if err != nil {
			return err
		}
		if prefix.Length > terms.MaxBytes {
			return fmt.Errorf("%w: a %s request of %d bytes, at most %d are allowed", wire.ErrMalformed, terms.Name, prefix.Length, terms.MaxBytes)
		}
		if before != nil {
			select {
			case <-before:
			case <-c.Leaving():
				return errGone
			}
		}
		if err := c.rest(); err != nil {
			return err
		}
		if before, err = c.start(ctx, prefix, terms); err != nil {
			return err
		}
	}
}

// start reads the rest of a frame, as soon as there is room for it, and starts the
// request in it. If nothing has to be waited for, it is answered at once; else it
// is the writer's. Unless the next may be started beside it, start then returns a
// channel that is closed when it is answered.
func (c *conn) start(ctx context.Context, prefix wire.Prefix, terms Terms) (answered <-chan struct{}, err error) {
	weight, err := c.reserve(int64(prefix.Length), terms.Pipelined)
	if err != nil {
		return nil, err
	}
	req, err := c.begin(ctx, prefix, terms)
	if err != nil {
		weight.release()
		return nil, err
	}
	if c.pending.Load() == 0 && req.Ready() { // the writer has sent all that it had
		return nil, c.direct.finish(ctx, req, weight)
	}
	if err := c.direct.flush(); err != nil {
		req.Abandon()
		weight.release()
		return nil, err
	}
	r := &started{Request: req, weight: weight}
	if !terms.Pipelined {
		r.answered = make(chan struct{})
	}
	c.pending.Add(1)
	select {
	case c.started <- r: // also while leaving: what was started is finished
		return r.answered, nil
	case <-ctx.Done():
		req.Abandon()
		weight.release()
		return nil, errGone
	}
}

// begin reads the rest of a frame and has the handler start the request.
func (c *conn) begin(ctx context.Context, prefix wire.Prefix, terms Terms) (Request, error) {
	var frame []byte
	if terms.Pipelined {
		lent := buffer.Get(int(prefix.Length))
		defer lent.Release()
		frame = lent.Bytes
	} else {
		frame = make([]byte, prefix.Length)
	}
	prefix.Begin(frame, c.in.head)
	if err := c.in.fill(frame[wire.Filled:]); err != nil {
		return nil, err
	}
	if terms != c.counted {
		c.counted, c.count = terms, c.srv.metrics.requests.WithLabelValues(terms.Name, terms.Version)
	}
	c.count.Inc()
	return c.srv.handler.Start(ctx, frame, c)
}

// reserve waits until a frame of size bytes may be read. Before it waits, it sends
// what is answered.
func (c *conn) reserve(size int64, pipelined bool) (weight, error) {
	w := c.srv.weigh(size, pipelined)
	if w.tryAcquire() {
		return w, nil
	}
	if err := c.direct.flush(); err != nil {
		return weight{}, err
	}
	if err := w.acquire(c.leaving); err != nil {
		return weight{}, errGone
	}
	return w, nil
}

// write finishes the requests that the reader leaves to it, in their order, until
// there are no more. After a failure it cuts the connection off and only cleans
// up.
func (c *conn) write(ctx context.Context, cut func()) (failed error) {
	out := outgoing{conn: c}
	for {
		r, err := c.next(&out)
		if failed == nil && err != nil {
			failed = err
			cut()
		}
		switch {
		case r == nil:
			return failed
		case failed != nil:
			r.Abandon()
			c.settle(finished{weight: r.weight, started: r})
			continue
		}
		if failed = out.finishStarted(ctx, r); failed != nil {
			cut()
		}
	}
}

// next returns the request whose turn it is, nil when there will be none. It does
// not let what is answered wait for one that is not.
func (c *conn) next(out *outgoing) (*started, error) {
	select {
	case r := <-c.started:
		if r != nil && r.Ready() {
			return r, nil
		}
		return r, out.flush()
	default:
		err := out.flush()
		return <-c.started, err
	}
}
