package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/wire"
)

// A frame that was given back is overwritten at once, in all tests of this room:
// who still looks at it is found out.
func TestMain(m *testing.M) {
	buffer.Poison(true)
	os.Exit(m.Run())
}

// keeper answers at once, or when it is told to, and keeps what it was given.
type keeper struct {
	mu     sync.Mutex // guards all below
	frames [][]byte
	later  map[int32]chan struct{} // requests that are not ready
	unsure bool                    // each third does not say that it is ready
	events []string
}

func (k *keeper) Terms(key, _ int16) (Terms, error) {
	return Terms{Name: "Kept", MaxBytes: 1 << 20, Pipelined: key == ahead}, nil
}

func (k *keeper) Start(_ context.Context, frame []byte, _ Conn) (Request, error) {
	h, err := wire.Peek(frame)
	if err != nil {
		return nil, err
	}
	for i, c := range frame[8:] {
		if want := byte(int(h.CorrelationID) + i); c != want {
			return nil, fmt.Errorf("request %d has %d at %d, want %d", h.CorrelationID, c, i, want)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frames = append(k.frames, frame)
	return &kept{k, h.CorrelationID, k.later[h.CorrelationID]}, nil
}

func (k *keeper) note(what string, id int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, fmt.Sprint(what, " ", id))
}

type kept struct {
	*keeper
	id    int32
	later chan struct{}
}

func (r *kept) Ready() bool {
	if r.unsure && r.id%3 == 0 {
		return false
	}
	select {
	case <-r.later:
		return true
	default:
		return r.later == nil
	}
}

func (r *kept) Finish(ctx context.Context) (Answer, error) {
	if r.later != nil {
		select {
		case <-r.later:
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
	r.note("finish", r.id)
	return Answer{Pieces: [][]byte{request(ahead, r.id, 8)[4:]}}, nil
}

func (r *kept) Abandon() { r.note("abandon", r.id) }

// numbered is a request whose bytes tell which one it is.
func numbered(key int16, id int32, size int) []byte {
	b := request(key, id, size)
	for i := range b[12:] {
		b[12+i] = byte(int(id) + i)
	}
	return b
}

// The frame of a pipelined request is the handler's until Start returns, whatever
// other connections do, and is lent to the next one then. Other frames stay.
func TestFramesAreLent(t *testing.T) {
	k := &keeper{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := New(DefaultConfig(), ln, k, slog.New(slog.DiscardHandler), nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			const requests = 200
			go func() {
				for id := range int32(requests) {
					c.Write(numbered(ahead, id, 8+int(id)*(client+1)*7))
				}
				c.Write(numbered(single, requests, 5000))
			}()
			for id := range int32(requests + 1) {
				answersWhole(t, c, id, 8)
			}
		})
	}
	clients.Wait()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	poisoned, whole := 0, 0
	for _, frame := range k.frames {
		h, _ := wire.Peek(frame)
		switch {
		case h.Key == single:
			whole++
		case bytes.Equal(frame, bytes.Repeat(frame[:1], len(frame))):
			poisoned++
		}
	}
	if poisoned != 800 || whole != 4 {
		t.Errorf("%d frames were given back and %d were not, want 800 and 4", poisoned, whole)
	}
	if n := srv.ahead.Load(); n != 0 {
		t.Errorf("%d connections hold what they read ahead, want none", n)
	}
}

// Answers that are ready do not overtake one that is not, and come in the order of
// their requests.
func TestReadyOnesWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{later: map[int32]chan struct{}{3: make(chan struct{}), 6: make(chan struct{})}}
		c := run(t, DefaultConfig(), k).dial()
		defer c.Close()
		var frames [][]byte
		for id := range int32(8) {
			frames = append(frames, numbered(ahead, id, 40))
		}
		send(c, frames...)
		for id := range int32(3) { // though more requests follow in what was read
			answersWhole(t, c, id, 8)
		}
		synctest.Wait()
		if n := len(k.frames); n != 8 {
			t.Errorf("%d requests are started, want 8", n)
		}
		close(k.later[3])
		for id := int32(3); id < 6; id++ {
			answersWhole(t, c, id, 8)
		}
		synctest.Wait()
		close(k.later[6])
		answersWhole(t, c, 6, 8)
		answersWhole(t, c, 7, 8)

		k.unsure = true // nobody knows which is ready: some are answered by the reader, some by the writer
		for round := range int32(100) {
			frames = frames[:0]
			for id := range int32(8) {
				frames = append(frames, numbered(ahead, 100+8*round+id, 40))
			}
			send(c, frames...)
			for id := range int32(8) {
				answersWhole(t, c, 100+8*round+id, 8)
			}
		}
	})
}

// A connection that breaks has its started requests abandoned, but for the one that
// was being finished, and gives back what they weigh.
func TestBrokenConnectionAbandons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{later: map[int32]chan struct{}{0: make(chan struct{})}}
		cfg := DefaultConfig()
		r := run(t, cfg, k)
		c := r.dial()
		send(c, numbered(ahead, 0, 40), numbered(ahead, 1, 40), numbered(ahead, 2, 40))
		synctest.Wait()
		c.Close()
		close(k.later[0]) // its answer cannot be sent
		synctest.Wait()
		if got := fmt.Sprint(k.events); got != "[finish 0 finish 1 finish 2]" && got != "[finish 0 abandon 1 abandon 2]" {
			t.Errorf("events %v", got)
		}
		if !r.srv.produceBytes.TryAcquire(cfg.ProduceBytes) {
			t.Error("some of the budget was not given back")
		}
		r.srv.produceBytes.Release(cfg.ProduceBytes)

		k.later, k.events = map[int32]chan struct{}{5: make(chan struct{})}, nil
		c = r.dial()
		send(c, numbered(ahead, 5, 40), numbered(ahead, 6, 40))
		synctest.Wait()
		r.stop()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes and %v, want a connection cut when the grace is over", n, err)
		}
		synctest.Wait()
		if got := fmt.Sprint(k.events); got != "[abandon 6]" {
			t.Errorf("events %v, want request 6 abandoned", got)
		}
	})
}

// counting counts the calls of a connection that a server reads from.
type counting struct {
	net.Conn
	reads, writes *atomic.Int64
}

func (c counting) Read(b []byte) (int, error)  { c.reads.Add(1); return c.Conn.Read(b) }
func (c counting) Write(b []byte) (int, error) { c.writes.Add(1); return c.Conn.Write(b) }

// Small frames that come together are read together; those read ahead hold memory
// only as long as they are not taken.
func TestReadsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tc := range map[string]struct {
			size, most int
		}{
			"small": {100, 2 + 3}, // the first head and what follows; then what does not fit
			"large": {20_000, 2 * 50},
		} {
			r := run(t, DefaultConfig(), &keeper{})
			client, server := net.Pipe()
			var reads, writes atomic.Int64
			r.conns <- counting{server, &reads, &writes}
			var frames [][]byte
			for id := range int32(50) {
				frames = append(frames, numbered(ahead, id, tc.size))
			}
			send(client, frames...)
			for id := range int32(50) {
				answersWhole(t, client, id, 8)
			}
			synctest.Wait()
			if got := int(reads.Load()); got > tc.most+1 { // and one that waits
				t.Errorf("%s: %d reads for 50 frames, want at most %d", name, got, tc.most+1)
			}
			if n := r.srv.ahead.Load(); n != 0 {
				t.Errorf("%s: %d connections hold what they read ahead, want none", name, n)
			}
			client.Close()
		}
	})
}

// When as many connections as may have read ahead, the next one is served frame by
// frame.
func TestReadingAheadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{later: map[int32]chan struct{}{}}
		r := run(t, DefaultConfig(), k)
		for range maxAhead + 5 { // each with the beginning of a second frame
			c := r.dial()
			defer c.Close()
			send(c, numbered(ahead, 1, 100), numbered(ahead, 2, 100)[:50])
			answersWhole(t, c, 1, 8)
		}
		synctest.Wait()
		if n := r.srv.ahead.Load(); n > maxAhead {
			t.Errorf("%d connections have read ahead, want at most %d", n, maxAhead)
		}
		c := r.dial()
		defer c.Close()
		send(c, numbered(ahead, 3, 100), numbered(ahead, 4, 100))
		answersWhole(t, c, 3, 8)
		answersWhole(t, c, 4, 8)
	})
}

// Answers that are ready together are sent together, as many as are gathered.
func TestAnswersAreGathered(t *testing.T) {
	var writes atomic.Int64
	nc := counting{writes: &writes, Conn: sink{}}
	o := outgoing{conn: &conn{srv: &Server{}, nc: nc}}
	k := &keeper{}
	for id := range int32(2*gatherAnswers + 1) {
		if err := o.finish(t.Context(), &kept{keeper: k, id: id}, weight{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.done) != 1 {
		t.Errorf("%d answers wait, want 1", len(o.done))
	}
	if n := writes.Load(); n != 2*gatherAnswers { // this connection writes piece by piece; a real one does not
		t.Errorf("%d pieces were written, want %d", n, 2*gatherAnswers)
	}
	if err := o.flush(); err != nil || len(o.done) != 0 || len(o.pieces) != 0 {
		t.Errorf("flushed: %v, %d answers wait", err, len(o.done))
	}
	o.conn.nc = counting{writes: &writes, Conn: sink{err: errors.New("gone")}}
	if err := errors.Join(o.finish(t.Context(), &kept{keeper: k}, weight{}), o.flush()); !errors.Is(err, errGone) || len(o.done) != 0 {
		t.Errorf("flushed to nobody: %v, %d answers wait", err, len(o.done))
	}
}

// sink takes what is written, or fails.
type sink struct {
	net.Conn
	err error
}

func (s sink) Write(b []byte) (int, error)    { return len(b), s.err }
func (sink) SetWriteDeadline(time.Time) error { return nil }
