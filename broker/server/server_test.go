package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/wire"
)

// The requests of these tests, by API key.
const (
	ahead  int16 = 0 // pipelined; up to 1000 bytes
	single int16 = 1 // not pipelined; up to 1<<20 bytes
)

// echo answers a request with its own frame, when it is told to.
type echo struct {
	mu       sync.Mutex
	events   []string                // "start 7", "finish 7", "release 7", by correlation id
	hold     map[int32]chan struct{} // finish waits for it
	answers  map[int32][]byte        // in place of the frame
	leaving  bool                    // finish returns early when the connection is leaving
	startErr error

	ready                 bool                    // finish waits for nothing
	muteStart, muteFinish map[int32]time.Duration // for how long these mute their connection, in either phase
}

func newEcho() *echo {
	return &echo{hold: map[int32]chan struct{}{}, answers: map[int32][]byte{}}
}

func (e *echo) Terms(key, _ int16) (Terms, error) {
	switch key {
	case ahead:
		return Terms{Name: "Ahead", MaxBytes: 1000, Pipelined: true}, nil
	case single:
		return Terms{Name: "Single", MaxBytes: 1 << 20}, nil
	}
	return Terms{}, fmt.Errorf("%w: API key %d", ErrUnsupported, key)
}

func (e *echo) Start(_ context.Context, frame []byte, c Conn) (Request, error) {
	h, err := wire.Peek(frame)
	if err != nil || e.startErr != nil {
		return nil, errors.Join(err, e.startErr)
	}
	e.event("start", h.CorrelationID)
	if d := e.muteStart[h.CorrelationID]; d > 0 {
		c.Mute(d)
	}
	frame = bytes.Clone(frame) // a pipelined one is on loan
	finish := FinishFunc(func(ctx context.Context) (Answer, error) { return e.finish(ctx, h.CorrelationID, frame, c) })
	if e.ready {
		return readyFunc{finish}, nil
	}
	return finish, nil
}

// readyFunc is a FinishFunc that waits for nothing.
type readyFunc struct{ FinishFunc }

func (readyFunc) Ready() bool { return true }

func (e *echo) finish(ctx context.Context, id int32, frame []byte, c Conn) (Answer, error) {
	e.mu.Lock()
	hold, answer := e.hold[id], e.answers[id]
	e.mu.Unlock()
	var leaving <-chan struct{}
	if e.leaving {
		leaving = c.Leaving()
	}
	if hold != nil {
		select {
		case <-hold:
		case <-leaving:
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
	e.event("finish", id)
	if d := e.muteFinish[id]; d > 0 {
		c.Mute(d)
	}
	if answer == nil {
		answer = frame
	}
	return Answer{Pieces: [][]byte{answer[:4], answer[4:]}, Release: func() { e.event("release", id) }}, nil
}

func (e *echo) event(what string, id int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, fmt.Sprintf("%s %d", what, id))
}

func (e *echo) want(t *testing.T, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := fmt.Sprint(e.events); got != fmt.Sprint(want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// pipes is a listener whose connections are net.Pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// running is a Server in a bubble.
type running struct {
	*pipes
	srv  *Server
	stop context.CancelFunc
	done chan error
}

// run starts a server; every goroutine of it must be gone when the bubble ends.
func run(t *testing.T, cfg Config, h Handler) *running {
	r := &running{pipes: newPipes(), done: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.srv = New(cfg, r.pipes, h, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
	go func() { r.done <- r.srv.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-r.done; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if n := r.srv.metrics.connections.n.Load(); n != 0 {
			t.Errorf("%d connections are counted as open after Run", n)
		}
	})
	return r
}

func request(key int16, id int32, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(size))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	return append(b, make([]byte, size-8)...)
}

// send writes frames in the background, as a client does whose broker is slow to
// read. What cannot be written is the test's to notice.
func send(c net.Conn, frames ...[]byte) {
	go func() { c.Write(bytes.Join(frames, nil)) }()
}

// closedFor waits until the server has closed c, and checks why.
func (r *running) closedFor(t *testing.T, c net.Conn, reason string) {
	t.Helper()
	if rest, err := io.ReadAll(c); len(rest) != 0 || err != nil {
		t.Errorf("got %d bytes and %v, want a closed connection", len(rest), err)
	}
	synctest.Wait()
	if n := testutil.ToFloat64(r.srv.metrics.closed.WithLabelValues(reason)); n != 1 {
		t.Errorf("%v connections closed as %s, want 1", n, reason)
	}
}

// Pipelined requests are all started before the first is finished, and answered
// in the order of their arrival though the later ones are ready first.
func TestAnswersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newEcho()
		h.hold[1] = make(chan struct{})
		r := run(t, DefaultConfig(), h)
		c := r.dial()
		defer c.Close()
		send(c, request(ahead, 1, 8), request(ahead, 2, 100), request(ahead, 3, 20))
		synctest.Wait()
		h.want(t, "start 1", "start 2", "start 3")
		close(h.hold[1])
		answersWhole(t, c, 1, 8)
		answersWhole(t, c, 2, 100)
		answersWhole(t, c, 3, 20)
		synctest.Wait()
		h.want(t, "start 1", "start 2", "start 3", "finish 1", "release 1", "finish 2", "release 2", "finish 3", "release 3")
	})
}

// answersWhole reads the echo of a request of size bytes: its frame, without length.
func answersWhole(t *testing.T, c net.Conn, id int32, size int) {
	t.Helper()
	got := make([]byte, size)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("answer to %d: %v", id, err)
	}
	if h, _ := wire.Peek(got); h.CorrelationID != id {
		t.Errorf("answer to %d, want %d", h.CorrelationID, id)
	}
}

// A request that is not pipelined is answered before the next is started.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newEcho()
		h.hold[1] = make(chan struct{})
		c := run(t, DefaultConfig(), h).dial()
		defer c.Close()
		send(c, request(single, 1, 8), request(ahead, 2, 8))
		synctest.Wait()
		h.want(t, "start 1")
		close(h.hold[1])
		answersWhole(t, c, 1, 8)
		answersWhole(t, c, 2, 8)
		synctest.Wait()
		h.want(t, "start 1", "finish 1", "release 1", "start 2", "finish 2", "release 2")
	})
}

// A connection has at most so many requests started.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newEcho()
		h.hold[0] = make(chan struct{})
		c := run(t, DefaultConfig(), h).dial()
		defer c.Close()
		var frames [][]byte
		for id := range int32(2 * queueLen) {
			frames = append(frames, request(ahead, id, 8))
		}
		send(c, frames...)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := len(h.events); n != queueLen+2 { // one with the writer, one with the reader
			t.Errorf("%d requests were started, want %d", n, queueLen+2)
		}
	})
}

// Lengths that cannot be, or may not be, close the connection before anything is
// allocated for them.
func TestBadFrames(t *testing.T) {
	length := func(n int32, key int16) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(n))
		return append(binary.BigEndian.AppendUint16(b, uint16(key)), 0, 0)
	}
	for name, tc := range map[string]struct {
		frame  []byte
		reason string
	}{
		"twoGigabytes": {length(1<<31-1, ahead), "malformed"},
		"minusOne":     {length(-1, ahead), "malformed"},
		"zero":         {length(0, ahead), "malformed"},
		"noHeader":     {length(7, ahead), "malformed"},
		"overItsLimit": {length(1001, ahead), "malformed"},
		"unknownKey":   {length(100, 77), "unsupported"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run(t, DefaultConfig(), newEcho())
				other, c := r.dial(), r.dial()
				defer other.Close()
				defer c.Close()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				send(c, tc.frame)
				r.closedFor(t, c, tc.reason)
				runtime.ReadMemStats(&after)
				if got := after.TotalAlloc - before.TotalAlloc; got > 256<<10 {
					t.Errorf("%d bytes were allocated", got)
				}
				send(other, request(single, 5, 8))
				answersWhole(t, other, 5, 8)
			})
		})
	}
}

// Random bytes hurt nobody but the connection that they came on.
func TestRandomBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, DefaultConfig(), newEcho())
		other := r.dial()
		defer other.Close()
		rng := rand.NewChaCha8([32]byte{1})
		for range 200 {
			c := r.dial()
			junk := make([]byte, 300)
			rng.Read(junk)
			send(c, junk)
			go io.Copy(io.Discard, c)
			synctest.Wait()
			c.Close()
		}
		send(other, request(ahead, 5, 8))
		answersWhole(t, other, 5, 8)
	})
}

// A handler's error closes its connection and no other.
func TestHandlerError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newEcho()
		h.startErr = errors.New("no")
		r := run(t, DefaultConfig(), h)
		c := r.dial()
		defer c.Close()
		send(c, request(ahead, 1, 8))
		r.closedFor(t, c, "failed")
	})
}

// A frame for which the budget has no room is not read; it is, once an earlier
// one was answered.
func TestBudgets(t *testing.T) {
	for name, key := range map[string]int16{"produce": ahead, "request": single} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newEcho()
				h.hold[1] = make(chan struct{})
				cfg := DefaultConfig()
				cfg.ProduceBytes, cfg.RequestBytes = 1500, 15000
				size := map[int16]int{ahead: 1000, single: 10000}[key]
				r := run(t, cfg, h)
				first, second, small := r.dial(), r.dial(), r.dial()
				defer first.Close()
				defer second.Close()
				defer small.Close()
				send(first, request(key, 1, size))
				synctest.Wait()
				send(second, request(key, 2, size))
				synctest.Wait()
				h.want(t, "start 1")
				send(small, request(single, 3, 8)) // weighs nothing
				answersWhole(t, small, 3, 8)

				close(h.hold[1])
				answersWhole(t, first, 1, size)
				answersWhole(t, second, 2, size)
			})
		})
	}
}

// A frame larger than the whole budget is served all the same, alone.
func TestFrameAboveTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.ProduceBytes = 100
		c := run(t, cfg, newEcho()).dial()
		defer c.Close()
		send(c, request(ahead, 1, 1000), request(ahead, 2, 1000))
		answersWhole(t, c, 1, 1000)
		answersWhole(t, c, 2, 1000)
	})
}

func TestTooManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.MaxConnections = 2
		r := run(t, cfg, newEcho())
		first, second, third := r.dial(), r.dial(), r.dial()
		defer second.Close()
		if _, err := third.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("one connection too many: %v, want it closed", err)
		}
		if n := testutil.ToFloat64(r.srv.metrics.refused); n != 1 {
			t.Errorf("%v refused connections are counted, want 1", n)
		}
		first.Close()
		synctest.Wait()
		fourth := r.dial()
		defer fourth.Close()
		send(fourth, request(ahead, 4, 8))
		answersWhole(t, fourth, 4, 8)
	})
}

// Clients that do nothing, or stop in the middle, are closed after the time for
// it, and not before.
func TestTimeouts(t *testing.T) {
	cfg := DefaultConfig()
	for name, tc := range map[string]struct {
		sent   []byte
		reason string
		after  time.Duration
	}{
		"silent":       {nil, "idle", cfg.IdleTimeout},
		"half a head":  {request(ahead, 1, 8)[:3], "stalled", cfg.StallTimeout},
		"half a frame": {request(ahead, 1, 100)[:50], "stalled", cfg.StallTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run(t, cfg, newEcho())
				c := r.dial()
				defer c.Close()
				start := time.Now()
				if tc.sent != nil {
					send(c, tc.sent)
				}
				r.closedFor(t, c, tc.reason)
				if got := time.Since(start).Round(time.Second); got != tc.after {
					t.Errorf("closed after %v, want %v", got, tc.after)
				}
			})
		})
	}
}

// A client that waits for a long poll is not idle.
func TestWaitingIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newEcho()
		h.hold[1] = make(chan struct{})
		cfg := DefaultConfig()
		r := run(t, cfg, h)
		c := r.dial()
		defer c.Close()
		send(c, request(single, 1, 8))
		time.AfterFunc(3*cfg.IdleTimeout, func() { close(h.hold[1]) })
		answersWhole(t, c, 1, 8)
		send(c, request(single, 2, 8))
		answersWhole(t, c, 2, 8)
	})
}

// A client that does not take its answer is closed; one that takes it slowly, a
// step at a time, is not.
func TestSlowReaders(t *testing.T) {
	large := make([]byte, 3*writeStep)
	t.Run("stuck", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newEcho()
			h.answers[1] = large
			cfg := DefaultConfig()
			cfg.ProduceBytes = 1000
			r := run(t, cfg, h)
			c, next := r.dial(), r.dial()
			defer c.Close()
			defer next.Close()
			send(c, request(ahead, 1, 1000))
			synctest.Wait()
			send(next, request(ahead, 2, 1000)) // waits for the budget
			start := time.Now()
			answersWhole(t, next, 2, 1000)
			if got := time.Since(start); got != cfg.StallTimeout {
				t.Errorf("the stuck reader's budget came back after %v, want %v", got, cfg.StallTimeout)
			}
			synctest.Wait()
			if n := testutil.ToFloat64(r.srv.metrics.closed.WithLabelValues("stalled")); n != 1 {
				t.Errorf("%v connections closed as stalled, want 1", n)
			}
		})
	})
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newEcho()
			h.answers[1] = large
			cfg := DefaultConfig()
			c := run(t, cfg, h).dial()
			defer c.Close()
			send(c, request(ahead, 1, 8))
			step := make([]byte, writeStep)
			for range 3 {
				time.Sleep(cfg.StallTimeout - time.Second)
				if _, err := io.ReadFull(c, step); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

// When the server stops it reads no more requests, ends long polls at once, lets
// the others finish for some seconds, and then gives up on them.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poll, wait := newEcho(), newEcho()
		poll.leaving = true
		cfg := DefaultConfig()
		poll.hold[1] = make(chan struct{})
		r := run(t, cfg, poll)
		c, idle := r.dial(), r.dial()
		defer c.Close()
		defer idle.Close()
		send(c, request(single, 1, 8))
		synctest.Wait()
		start := time.Now()
		r.stop()
		answersWhole(t, c, 1, 8)
		if got := time.Since(start); got != 0 {
			t.Errorf("the long poll was answered after %v, want at once", got)
		}
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("idle connection: %v, want it closed", err)
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("the idle connection was closed after %v, want at once", got)
		}

		wait.hold[1], wait.hold[2] = make(chan struct{}), make(chan struct{})
		w := run(t, cfg, wait)
		soon, never := w.dial(), w.dial()
		defer soon.Close()
		defer never.Close()
		send(soon, request(ahead, 1, 8))
		send(never, request(ahead, 2, 8))
		synctest.Wait()
		start = time.Now()
		w.stop()
		time.AfterFunc(time.Second, func() { close(wait.hold[1]) })
		answersWhole(t, soon, 1, 8)
		if _, err := never.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a request that never ends: %v, want its connection closed", err)
		}
		if got := time.Since(start); got != cfg.Grace {
			t.Errorf("gave up after %v, want %v", got, cfg.Grace)
		}
	})
}

// When a client goes away, its long poll ends and its other requests are finished.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newEcho()
		h.leaving = true
		h.hold[2] = make(chan struct{})
		r := run(t, DefaultConfig(), h)
		c := r.dial()
		send(c, request(ahead, 1, 8))
		answersWhole(t, c, 1, 8)
		synctest.Wait()
		send(c, request(single, 2, 8))
		synctest.Wait()
		c.Close()
		synctest.Wait()
		h.want(t, "start 1", "finish 1", "release 1", "start 2", "finish 2", "release 2")
		if n := r.srv.metrics.connections.n.Load(); n != 0 {
			t.Errorf("%d connections are open, want 0", n)
		}
	})
}

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		pieces []string
		size   int
		first  string
		rest   string
	}{
		{nil, 4, "[]", "[]"},
		{[]string{"ab", "cd"}, 4, "[ab cd]", "[]"},
		{[]string{"ab", "cd"}, 3, "[ab c]", "[d]"},
		{[]string{"abcdef", "gh"}, 2, "[ab]", "[cdef gh]"},
		{[]string{"", "a"}, 4, "[ a]", "[]"},
	} {
		var pieces [][]byte
		for _, p := range tc.pieces {
			pieces = append(pieces, []byte(p))
		}
		first, rest := split(pieces, tc.size)
		if got := fmt.Sprintf("%s", [][]byte(first)); got != tc.first {
			t.Errorf("%q at %d: first %s, want %s", tc.pieces, tc.size, got, tc.first)
		}
		if got := fmt.Sprintf("%s", rest); got != tc.rest {
			t.Errorf("%q at %d: rest %s, want %s", tc.pieces, tc.size, got, tc.rest)
		}
	}
}

// A server whose listener fails says so, and closes its connections.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		srv := New(DefaultConfig(), p, newEcho(), slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
		done := make(chan error, 1)
		go func() { done <- srv.Run(t.Context()) }()
		c := p.dial()
		defer c.Close()
		start := time.Now()
		p.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("Run returned %v after %v, want net.ErrClosed at once", err, time.Since(start))
		}
	})
}
