package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	// writeStep is how much of an answer must be taken within the stall timeout.
	writeStep = 256 << 10

	// Answers that are ready together are sent together, up to so many and so much.
	gatherAnswers = 16
	gatherBytes   = 8 << 10

	// keptPieces is room for as many answers as are gathered, in two pieces each. An
	// answer with records can have many more.
	keptPieces = 2 * gatherAnswers
)

// outgoing gathers answers, in their order, and sends several with one call of the
// system.
type outgoing struct {
	conn   *conn
	pieces [][]byte
	bytes  int // in pieces
	done   []finished
}

// finished is a request whose answer was gathered.
type finished struct {
	release func() // of the answer; may be nil
	weight  weight
	started *started // nil when the writer never had it
}

// finish finishes a request and gathers its answer.
func (o *outgoing) finish(ctx context.Context, req Request, w weight) error {
	return o.gather(ctx, req, finished{weight: w})
}

// finishStarted is finish for one that the writer has.
func (o *outgoing) finishStarted(ctx context.Context, r *started) error {
	return o.gather(ctx, r, finished{weight: r.weight, started: r})
}

func (o *outgoing) gather(ctx context.Context, req Request, f finished) error {
	answer, err := req.Finish(ctx)
	f.release = answer.Release
	o.done = append(o.done, f)
	if err != nil {
		return errors.Join(err, o.flush()) // earlier ones are answered
	}
	o.pieces = append(o.pieces, answer.Pieces...)
	for _, p := range answer.Pieces {
		o.bytes += len(p)
	}
	if len(o.done) >= gatherAnswers || o.bytes >= gatherBytes {
		return o.flush()
	}
	return nil
}

// flush sends what was gathered. Whatever becomes of it, it is done with.
func (o *outgoing) flush() error {
	if len(o.done) == 0 {
		return nil
	}
	err := o.conn.send(o.pieces)
	clear(o.pieces)
	o.pieces, o.bytes = o.pieces[:0], 0
	if cap(o.pieces) > keptPieces {
		o.pieces = nil
	}
	for i, f := range o.done {
		o.done[i] = finished{}
		o.conn.settle(f)
	}
	o.done = o.done[:0]
	return err
}

// settle gives back what a request holds, and tells those who wait for its end.
func (c *conn) settle(f finished) {
	if f.release != nil {
		f.release()
	}
	f.weight.release()
	if f.started == nil {
		return
	}
	c.pending.Add(-1)
	if f.started.answered != nil {
		close(f.started.answered)
	}
}

// send writes pieces, and gives each step of them the stall timeout: a slow link
// may take long for a large answer, but not for a part of it.
func (c *conn) send(pieces [][]byte) error {
	for len(pieces) > 0 {
		var step net.Buffers // writing consumes it
		step, pieces = split(pieces, writeStep)
		c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.StallTimeout))
		err := error(nil)
		if len(step) == 1 {
			_, err = c.nc.Write(step[0])
		} else {
			_, err = step.WriteTo(c.nc)
		}
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
