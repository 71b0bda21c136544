package natsd

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ErrNotConnected is wrapped by errors about what cannot be sent because there is
// no connection.
var ErrNotConnected = errors.New("not connected to the embedded nats-server")

const (
	maxUnwritten  = 1 << 20         // bytes of answers that wait to be written
	controlMargin = 64 << 10        // beyond it, for PONGs and the like, which cannot wait
	writeTimeout  = 5 * time.Second // for one write; the server takes in 64 KiB within 10 ms at its slowest
)

// writer writes to one connection. Whoever has something to write appends it to a
// buffer; one goroutine, run's, writes: so that the reader can answer a PING while
// the server does not read, as it may not while it writes to us.
type writer struct {
	conn   net.Conn
	token  chan struct{} // holds a token when out has grown
	closed chan struct{} // closed when err is set

	mu    sync.Mutex // guards all below
	out   []byte
	spare []byte        // out's memory, the next time
	space chan struct{} // closed, and replaced, when out was taken to be written
	err   error         // why nothing more is written
}

func newWriter(conn net.Conn) *writer {
	return &writer{conn: conn, token: make(chan struct{}, 1), closed: make(chan struct{}), space: make(chan struct{})}
}

// send queues a message. It waits while too much is unwritten already, which ends
// with a write, or with the failure of one.
func (w *writer) send(m *outbound) error {
	for {
		ok, space, err := w.trySend(m)
		if ok || err != nil {
			return err
		}
		select {
		case <-space:
		case <-w.closed:
		}
	}
}

func (w *writer) trySend(m *outbound) (ok bool, space chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return false, nil, w.err
	}
	if len(w.out) > 0 && len(w.out)+m.len() > maxUnwritten {
		return false, w.space, nil
	}
	w.out = m.appendTo(w.out)
	w.poke()
	return true, nil, nil
}

// control queues a line of the protocol and never waits.
func (w *writer) control(line string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if len(w.out)+len(line) > maxUnwritten+controlMargin {
		return fmt.Errorf("%w: it does not read", ErrNotConnected)
	}
	w.out = append(append(w.out, line...), "\r\n"...)
	w.poke()
	return nil
}

func (w *writer) poke() {
	select {
	case w.token <- struct{}{}:
	default:
	}
}

// run writes what is queued until close, or until a write fails or takes too
// long: then it closes the connection, so that the reader learns of it.
func (w *writer) run() {
	for {
		select {
		case <-w.token:
		case <-w.closed:
			return
		}
		out := w.take()
		if len(out) == 0 {
			continue
		}
		w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only when closed; so does Write then
		if _, err := w.conn.Write(out); err != nil {
			w.close(err)
			return
		}
		w.giveBack(out)
	}
}

func (w *writer) take() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.out
	w.out, w.spare = w.spare[:0], nil
	close(w.space)
	w.space = make(chan struct{})
	return out
}

func (w *writer) giveBack(out []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = out[:0]
}

// close ends all writing, with err as the reason unless there is one.
func (w *writer) close(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = fmt.Errorf("%w: %w", ErrNotConnected, err)
	close(w.closed)
	w.conn.Close()
}
