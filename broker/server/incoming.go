package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/wire"
)

const (
	// minRate is the slowest that a frame may come in, in bytes a second, beyond
	// the stall timeout: a radio link's large frame needs longer than a small one.
	minRate = 64 << 10

	// aheadBytes is how much is read at a time where frames are small, so that one
	// call of the system takes several.
	aheadBytes = 16 << 10

	// maxAhead is how many connections may have read ahead at the same time. The
	// others read frame by frame.
	maxAhead = 64
)

// incoming is the side of a connection that is read from. Between two frames it
// holds no buffer, unless the next one has come with the last.
type incoming struct {
	conn  *conn
	head  [wire.PrefixLen]byte
	ahead buffer.Buffer
	rest  []byte // what of ahead was not taken yet
}

// prefix waits for the next frame's first bytes, which are in head then.
func (in *incoming) prefix() (wire.Prefix, error) {
	n := in.take(in.head[:])
	for n == 0 {
		var err error
		if n, err = in.wait(); err != nil {
			return wire.Prefix{}, err
		}
	}
	if in.conn.leaving.Err() != nil {
		return wire.Prefix{}, errGone
	}
	if n < len(in.head) {
		if err := in.fill(in.head[n:]); err != nil {
			return wire.Prefix{}, err
		}
	}
	return wire.ParsePrefix(in.head)
}

// wait reads some of head. It returns none while a client that is waiting for
// answers sends nothing more.
func (in *incoming) wait() (int, error) {
	c := in.conn
	if err := in.beforeRead(c.srv.cfg.IdleTimeout + max(c.mute.left(), 0)); err != nil {
		return 0, err
	}
	n, err := c.nc.Read(in.head[:])
	switch {
	case n > 0 || err == nil:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && c.leaving.Err() == nil:
		if c.pending.Load() == 0 && c.mute.left() <= 0 {
			return 0, errIdle
		}
		return 0, nil
	}
	return 0, fmt.Errorf("%w: %w", errGone, err)
}

// fill reads the whole of b, which belongs to a frame that has begun.
func (in *incoming) fill(b []byte) error {
	b = b[in.take(b):]
	if len(b) == 0 {
		return nil
	}
	c := in.conn
	if err := in.beforeRead(c.srv.cfg.StallTimeout + time.Duration(len(b))*time.Second/minRate); err != nil {
		return err
	}
	err := in.read(b)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && c.leaving.Err() == nil:
		return errStalled
	}
	return fmt.Errorf("%w: %w", errGone, err)
}

// read reads the whole of b and, where that is little, what has come behind it.
func (in *incoming) read(b []byte) error {
	if len(b) > aheadBytes/2 || !in.startAhead() {
		_, err := io.ReadFull(in.conn.nc, b)
		return err
	}
	n, err := io.ReadAtLeast(in.conn.nc, in.ahead.Bytes, len(b))
	in.rest = in.ahead.Bytes[:n]
	in.take(b)
	return err
}

// take moves bytes that were read ahead to b, and says how many.
func (in *incoming) take(b []byte) int {
	n := copy(b, in.rest)
	if in.rest = in.rest[n:]; len(in.rest) == 0 {
		in.release()
	}
	return n
}

// startAhead reports whether ahead may be read into. Nothing is in it.
func (in *incoming) startAhead() bool {
	if in.conn.srv.ahead.Add(1) > maxAhead {
		in.conn.srv.ahead.Add(-1)
		return false
	}
	in.ahead = buffer.Get(aheadBytes)
	return true
}

// release gives back what was read ahead into.
func (in *incoming) release() {
	if in.ahead.Bytes == nil {
		return
	}
	in.rest = nil
	in.ahead.Release()
	in.conn.srv.ahead.Add(-1)
}

// beforeRead gives the next reads until d from now, and lets no answer wait for
// them. A connection that is being left has a deadline already, which must stay.
func (in *incoming) beforeRead(d time.Duration) error {
	c := in.conn
	if err := c.direct.flush(); err != nil {
		return err
	}
	c.nc.SetReadDeadline(time.Now().Add(d))
	if c.leaving.Err() != nil {
		return errGone
	}
	return nil
}
