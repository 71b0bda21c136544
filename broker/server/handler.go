package server

import (
	"context"
	"errors"
	"net"
	"time"
)

// ErrUnsupported is for a Handler to wrap when it does not speak a request's API
// or version.
var ErrUnsupported = errors.New("unsupported request")

// Handler answers requests. Its methods are called from many connections'
// goroutines at once.
type Handler interface {
	// Terms says how a request may come in, before more of it is read than its
	// API key and version. An error closes the connection.
	Terms(key, version int16) (Terms, error)

	// Start begins a request. It is called on the connection's reader, in the
	// order of arrival, and the next frame waits for it: it does what must be done
	// in order, and leaves all waiting to the Request. frame is the request's, header
	// and body; that of a pipelined request is used for another one as soon as Start
	// has returned. An error closes the connection.
	Start(ctx context.Context, frame []byte, c Conn) (Request, error)
}

// Request is one that was started. Its methods are called one at a time, once
// every earlier request of the connection is finished.
type Request interface {
	// Ready reports whether Finish would answer without waiting. It does not wait
	// itself, and may do what Finish then need not.
	Ready() bool

	// Finish completes the request. It must return soon once ctx is done: then
	// nobody can be answered any more. An error closes the connection. It is called
	// at most once.
	Finish(ctx context.Context) (Answer, error)

	// Abandon is called instead when the connection broke before.
	Abandon()
}

// FinishFunc is a Request of which only Finish does something, and may take long.
type FinishFunc func(ctx context.Context) (Answer, error)

// Ready, Finish and Abandon implement Request.
func (FinishFunc) Ready() bool                                  { return false }
func (f FinishFunc) Finish(ctx context.Context) (Answer, error) { return f(ctx) }
func (FinishFunc) Abandon()                                     {}

// Answer is a response's frame in pieces, written one behind the other. Without
// pieces there is no response. Release, if set, is called when the pieces are no
// longer used, whatever became of them.
type Answer struct {
	Pieces  [][]byte
	Release func()
}

// Terms are the conditions for one kind of request.
type Terms struct {
	Name     string // for metrics; one of few
	Version  string // and the same
	MaxBytes int32  // of the frame, without its length

	// Pipelined requests may be started while earlier ones of the connection are
	// unanswered, and weigh on the produce budget. Their frames are on loan. After another request, the
	// connection is not read on until it is answered: so a connection holds one
	// such frame at most, and what was decoded of it.
	Pipelined bool
}

// Conn is what a handler may know of the connection that a request came on.
type Conn interface {
	RemoteAddr() net.Addr
	LocalAddr() net.Addr

	// Leaving is closed when nobody should be kept waiting any longer: the client
	// sends no more, or the server is stopping. A long poll then answers with what
	// it has.
	Leaving() <-chan struct{}

	// Mute has no request started on the connection for d from now. Those that were
	// started are answered meanwhile.
	Mute(d time.Duration)
}
