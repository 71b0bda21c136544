package natsd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	readBufferBytes  = 64 << 10
	handshakeTimeout = 5 * time.Second
	maxFlushes       = 16 // that wait for their PONG at once
)

// errRefused is wrapped by what the server said when it would not have us.
var errRefused = errors.New("nats-server says")

// session is one connection, from its first INFO to its end. run's goroutine
// reads; the writer's writes.
type session struct {
	conn    net.Conn
	out     *writer
	parser  parser
	handler Handler
	log     *slog.Logger
	buf     []byte // read, from 0 to filled
	filled  int

	taken   tally
	client  uint64     // our number with the server
	looking sync.Mutex // guards losses
	losses  *losses    // nil for a session that takes nothing

	mu    sync.Mutex // guards below
	pongs []func()   // called as the PONGs arrive, by the reader, first in front
}

func newSession(conn net.Conn, parser parser, handler Handler, log *slog.Logger) *session {
	return &session{
		conn:    conn,
		out:     newWriter(conn),
		parser:  parser,
		handler: handler,
		taken:   newTally(0),
		log:     log,
		buf:     make([]byte, readBufferBytes),
	}
}

// run says hello, calls ready once the server has confirmed that, and reads until ctx
// is done or the connection is lost. greet queues what the server is told in return
// for its INFO. Messages may come before ready.
func (s *session) run(ctx context.Context, greet func() error, ready func()) error {
	var writing sync.WaitGroup
	defer writing.Wait()
	defer context.AfterFunc(ctx, func() { s.out.close(ctx.Err()) })()
	defer s.out.close(errors.New("the connection has ended"))
	writing.Go(s.out.run)

	s.conn.SetReadDeadline(time.Now().Add(handshakeTimeout))
	if err := s.awaitInfo(); err != nil {
		return err
	}
	if err := greet(); err != nil {
		return err
	}
	if err := s.ping(func() {
		s.conn.SetReadDeadline(time.Time{})
		ready()
	}); err != nil {
		return err
	}
	for {
		if err := s.handleAll(); err != nil {
			return err
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

// awaitInfo reads the server's INFO.
func (s *session) awaitInfo() error {
	for {
		op, taken, err := s.parser.next(s.buf[:s.filled])
		switch {
		case err != nil:
			return err
		case op == opInfo:
			var info struct {
				Client uint64 `json:"client_id"`
			}
			if err := json.Unmarshal(s.parser.text, &info); err != nil {
				return fmt.Errorf("%w: INFO: %w", ErrProtocol, err)
			}
			s.client = info.Client
			s.consume(taken)
			return nil
		case op != 0:
			return fmt.Errorf("%w: no INFO at the start", ErrProtocol)
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

// handleAll handles all that is there whole, and calls Idle if that was anything.
// A message that is there in part does not keep it from that: the rest may be
// long in coming, and those before it wait for their answers.
func (s *session) handleAll() error {
	handled := 0
	for {
		op, taken, err := s.parser.next(s.buf[handled:s.filled])
		if err != nil {
			return err
		}
		if taken == 0 {
			break
		}
		handled += taken
		if err := s.handle(op); err != nil {
			return err
		}
	}
	s.consume(handled)
	if handled > 0 && s.handler != nil {
		s.handler.Idle()
	}
	return nil
}

// consume forgets the first n bytes.
func (s *session) consume(n int) { s.filled = copy(s.buf, s.buf[n:s.filled]) }

// fill reads more, after the buffer has grown to hold what is begun. The parser
// has checked that length: the buffer never passes a line and the largest message.
func (s *session) fill() error {
	if s.parser.need > len(s.buf) {
		s.buf = slices.Grow(s.buf, s.parser.need-len(s.buf))[:s.parser.need]
	}
	s.parser.need = 0
	n, err := s.conn.Read(s.buf[s.filled:])
	s.filled += n
	return err
}

func (s *session) handle(op operation) error {
	switch op {
	case opMessage:
		s.taken.took(s.parser.message.Rule)
		s.handler.Take(&s.parser.message)
	case opPing:
		return s.out.control("PONG")
	case opPong:
		s.ponged()
	case opError:
		if fatal(s.parser.text) {
			return fmt.Errorf("%w: %.200s", errRefused, s.parser.text)
		}
		s.log.Warn("nats-server complains about the bridge", "text", string(s.parser.text))
	}
	return nil
}

// fatal tells complaints after which the server closes the connection from those
// about one message or subscription.
func fatal(text []byte) bool {
	said := strings.ToLower(string(text))
	return !strings.HasPrefix(said, "'permissions violation") && !strings.HasPrefix(said, "'maximum subscriptions exceeded")
}

// ping calls done, from the reader's goroutine, when the server has worked off all
// that was queued before, and the handler has seen all that it sent before that.
// done does not block, and is not called when the connection ends first.
func (s *session) ping(done func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pongs) == maxFlushes {
		return fmt.Errorf("%w: %d PINGs are unanswered", ErrNotConnected, maxFlushes)
	}
	if err := s.out.control("PING"); err != nil {
		return err
	}
	s.pongs = append(s.pongs, done)
	return nil
}

func (s *session) ponged() {
	s.mu.Lock()
	if len(s.pongs) == 0 {
		s.mu.Unlock()
		return
	}
	done := s.pongs[0]
	s.pongs = s.pongs[1:]
	s.mu.Unlock()
	done()
}

// flush waits for what ping calls done for.
func (s *session) flush(ctx context.Context) error {
	pong := make(chan struct{})
	if err := s.ping(func() { close(pong) }); err != nil {
		return err
	}
	select {
	case <-pong:
		return nil
	case <-s.out.closed:
		return ErrNotConnected
	case <-ctx.Done():
		return ctx.Err()
	}
}
