package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/headwater/headwater/broker/wire"
)

const (
	// queueLen is how many started requests of a connection may wait for their
	// turn to finish.
	queueLen = 64

	// freeBytes is the length up to which a frame weighs on no budget. A
	// connection has one such frame at a time.
	freeBytes = 4 << 10

	// minRate is the slowest that a frame may come in, in bytes a second, beyond
	// the stall timeout: a radio link's large frame needs longer than a small one.
	minRate = 64 << 10

	// writeStep is how much of an answer must be taken within the stall timeout.
	writeStep = 256 << 10
)

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
	started chan started    // in order of arrival; closed by the reader
	pending atomic.Int32    // requests that were started and are not answered
	head    [wire.PrefixLen]byte
}

// started is a request between its two phases.
type started struct {
	finish   Finish
	answered chan struct{} // closed when it is
	release  func()        // gives its frame's bytes back to the budget
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{srv: s, nc: nc, started: make(chan started, queueLen)}
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
		readErr <- c.read(ctx)
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

// read starts requests until the client sends no more, breaks a rule, or shall be
// kept waiting no longer.
func (c *conn) read(ctx context.Context) error {
	var before <-chan struct{} // closed when the last request is answered; nil when the next need not wait for it
	for {
		prefix, err := c.readPrefix() // even before the wait: it tells when the client goes away
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
		if before, err = c.start(ctx, prefix, terms); err != nil {
			return err
		}
	}
}

// readPrefix waits for the next frame's first bytes.
func (c *conn) readPrefix() (wire.Prefix, error) {
	n := 0
	for n == 0 {
		if err := c.allow(c.srv.cfg.IdleTimeout); err != nil {
			return wire.Prefix{}, err
		}
		var err error
		n, err = c.nc.Read(c.head[:])
		switch {
		case n > 0 || err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && c.leaving.Err() == nil:
			if c.pending.Load() == 0 {
				return wire.Prefix{}, errIdle
			}
		default:
			return wire.Prefix{}, fmt.Errorf("%w: %w", errGone, err)
		}
	}
	if err := c.fill(c.head[n:]); err != nil {
		return wire.Prefix{}, err
	}
	return wire.ParsePrefix(c.head)
}

// start reads the rest of a frame, as soon as there is room for it, starts the
// request in it and hands it to the writer. Unless the next may be started beside
// it, it returns a channel that is closed when it is answered.
func (c *conn) start(ctx context.Context, prefix wire.Prefix, terms Terms) (answered <-chan struct{}, err error) {
	release, err := c.srv.reserve(c.leaving, int64(prefix.Length), terms.Pipelined)
	if err != nil {
		return nil, errGone
	}
	frame := prefix.Body(c.head)
	if err := c.fill(frame[wire.Filled:]); err != nil {
		release()
		return nil, err
	}
	c.srv.metrics.requests.WithLabelValues(terms.Name).Inc()
	finish, err := c.srv.handler.Start(ctx, frame, c)
	if err != nil {
		release()
		return nil, err
	}
	r := started{finish: finish, release: release, answered: make(chan struct{})}
	c.pending.Add(1)
	select {
	case c.started <- r: // also while leaving: what was started is finished
	case <-ctx.Done():
		release()
		return nil, errGone
	}
	if terms.Pipelined {
		return nil, nil
	}
	return r.answered, nil
}

// fill reads the whole of b, which belongs to a frame that has begun.
func (c *conn) fill(b []byte) error {
	if err := c.allow(c.srv.cfg.StallTimeout + time.Duration(len(b))*time.Second/minRate); err != nil {
		return err
	}
	_, err := io.ReadFull(c.nc, b)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && c.leaving.Err() == nil:
		return errStalled
	}
	return fmt.Errorf("%w: %w", errGone, err)
}

// allow gives the next reads until d from now. A connection that is being left
// has a deadline already, which must stay.
func (c *conn) allow(d time.Duration) error {
	c.nc.SetReadDeadline(time.Now().Add(d))
	if c.leaving.Err() != nil {
		return errGone
	}
	return nil
}

// write finishes requests in the order in which they were started, until there
// are no more. After a failure it cuts the connection off and only cleans up.
func (c *conn) write(ctx context.Context, cut func()) (failed error) {
	for r := range c.started {
		if failed == nil {
			if failed = c.answer(ctx, r); failed != nil {
				cut()
			}
		}
		r.release()
		c.pending.Add(-1)
		close(r.answered)
	}
	return failed
}

func (c *conn) answer(ctx context.Context, r started) error {
	answer, err := r.finish(ctx)
	if answer.Release != nil {
		defer answer.Release()
	}
	if err != nil {
		return err
	}
	return c.send(answer.Pieces)
}

// send writes pieces, and gives each step of them the stall timeout: a slow link
// may take long for a large answer, but not for a part of it.
func (c *conn) send(pieces [][]byte) error {
	for len(pieces) > 0 {
		var step net.Buffers
		step, pieces = split(pieces, writeStep)
		c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.StallTimeout))
		_, err := step.WriteTo(c.nc)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errStalled
		case err != nil:
			return fmt.Errorf("%w: %w", errGone, err)
		}
	}
	return nil
}

// split returns the first size bytes of pieces and the rest.
func split(pieces [][]byte, size int) (first net.Buffers, rest [][]byte) {
	for i, p := range pieces {
		if len(p) > size {
			rest = append([][]byte{p[size:]}, pieces[i+1:]...)
			return append(first, p[:size]), rest
		}
		first = append(first, p)
		size -= len(p)
	}
	return first, nil
}
