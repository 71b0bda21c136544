package natsd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// script is a Handler that writes down what it is called with.
type script struct {
	mu     sync.Mutex
	events []string
}

func (h *script) Take(m *Message) {
	event := fmt.Sprintf("%d %s %s %d", m.Rule, m.Subject, m.Reply, len(m.Payload))
	h.note(event)
}
func (h *script) Idle() { h.note("idle") }

func (h *script) note(event string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
}

func (h *script) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// peer plays the server's part over a pipe, in a bubble.
type peer struct {
	net.Conn
	t     *testing.T
	lines *bufio.Reader
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatalf("send %.40q: %v", text, err)
	}
	synctest.Wait()
}

func (p *peer) expect(want string) {
	p.t.Helper()
	got, err := p.lines.ReadString('\n')
	if err != nil || strings.TrimSuffix(got, "\r\n") != want {
		p.t.Fatalf("the bridge sent %q (%v), want %q", got, err, want)
	}
}

// hello is the server's side of the start.
func (p *peer) hello(subjects ...string) {
	p.t.Helper()
	p.send("INFO {\"client_id\":17}\r\n")
	p.expect(connectLine)
	for i, s := range subjects {
		p.expect(fmt.Sprintf("SUB %s %d", s, i))
	}
	p.expect("PING")
	p.send("PONG\r\n")
}

// withPeer runs test against a Conn whose every connection comes out of peers.
func withPeer(t *testing.T, test func(t *testing.T, c *Conn, h *script, peers <-chan *peer), change ...func(*ConnConfig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &script{}
		peers := make(chan *peer, 10)
		cfg := ConnConfig{
			Dial: func() (net.Conn, error) {
				ours, theirs := net.Pipe()
				peers <- &peer{theirs, t, bufio.NewReader(theirs)}
				return ours, nil
			},
			Subjects:   []string{"a.>", "b"},
			MaxPayload: 1 << 20,
			Handler:    h,
			Log:        slog.New(slog.DiscardHandler),
		}
		for _, f := range change {
			f(&cfg)
		}
		c := NewConn(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		test(t, c, h, peers)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestConnSubscribesAndReads(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		if err := c.Ready(); !errors.Is(err, ErrNotConnected) {
			t.Errorf("ready before the server said anything: %v", err)
		}
		p.hello("a.>", "b")
		<-c.Up()
		if err := c.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		p.send("MSG a.x 0 1\r\nv\r\nMSG b 1 inbox.1 2\r\nvv\r\nMSG a.y 0 3\r\nv")
		p.send("vv\r\n")
		p.send("PING\r\n")
		p.expect("PONG")
		want := []string{"idle", "0 a.x  1", "1 b inbox.1 2", "idle", "0 a.y  3", "idle", "idle"}
		if got := h.all(); !slices.Equal(got, want) {
			t.Errorf("the handler saw %q\nwant %q", got, want)
		}
		if err := c.Publish([]byte("inbox.1"), []byte("{}")); err != nil {
			t.Errorf("publish: %v", err)
		}
		p.expect("PUB inbox.1 2")
		p.expect("{}")
	})
}

// The buffer grows for a message that does not fit, to its size and no further.
func TestConnReadsLargeMessages(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		for _, size := range []int{1 << 20, 10, 100_000} {
			p.send(fmt.Sprintf("MSG a.x 0 %d\r\n%s\r\n", size, strings.Repeat("v", size)))
		}
		got := slices.DeleteFunc(h.all(), func(e string) bool { return e == "idle" })
		if want := []string{"0 a.x  1048576", "0 a.x  10", "0 a.x  100000"}; !slices.Equal(got, want) {
			t.Errorf("the handler saw %q, want %q", got, want)
		}
		s, err := c.session()
		if err != nil {
			t.Fatal(err)
		}
		if got := len(s.buf); got > 1<<20+maxLine {
			t.Errorf("the buffer has %d bytes", got)
		}
	})
}

// A server that does not read keeps neither the reader from reading nor Publish
// from returning; the connection ends, and the next one works.
func TestStuckServer(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		published := make(chan error, 1)
		start := time.Now()
		go func() {
			for {
				if err := c.Publish([]byte("inbox"), make([]byte, 1000)); err != nil {
					published <- err
					return
				}
			}
		}()
		synctest.Wait()
		p.send("MSG a.x 0 1\r\nv\r\nPING\r\n")
		if got := h.all(); got[len(got)-2] != "0 a.x  1" {
			t.Errorf("the handler saw %q while the writer was stuck", got)
		}
		s, err := c.session()
		if err != nil {
			t.Fatal(err)
		}
		s.out.mu.Lock()
		if n := len(s.out.out); n > maxUnwritten+controlMargin {
			t.Errorf("%d bytes wait to be written, the limit is %d", n, maxUnwritten)
		}
		s.out.mu.Unlock()
		if err := <-published; !errors.Is(err, ErrNotConnected) {
			t.Errorf("publish: %v", err)
		}
		if took := time.Since(start); took != writeTimeout {
			t.Errorf("it took %v to notice, want %v", took, writeTimeout)
		}
		(<-peers).hello("a.>", "b")
		if err := c.Ready(); err != nil {
			t.Errorf("after the new connection: %v", err)
		}
	})
}

func TestReconnects(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"closed":      func(p *peer) { p.Close() },
		"error":       func(p *peer) { p.send("-ERR 'Slow Consumer'\r\n") },
		"nonsense":    func(p *peer) { p.send("nonsense\r\n") },
		"badLength":   func(p *peer) { p.send("MSG a 0 2000000000\r\n") },
		"endsMessage": func(p *peer) { p.send("MSG a 0 5\r\nhel"); p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
				p := <-peers
				p.hello("a.>", "b")
				end(p)
				synctest.Wait()
				if err := c.Publish([]byte("x"), nil); !errors.Is(err, ErrNotConnected) {
					t.Errorf("publish without a connection: %v", err)
				}
				if err := c.Ready(); !errors.Is(err, ErrNotConnected) {
					t.Errorf("ready without a connection: %v", err)
				}
				p = <-peers
				p.hello("a.>", "b")
				if err := c.Ready(); err != nil {
					t.Errorf("after the new connection: %v", err)
				}
				p.send("MSG b 1 1\r\nv\r\n")
				if got := h.all(); got[len(got)-2] != "1 b  1" {
					t.Errorf("the handler saw %q", got)
				}
			})
		})
	}
}

// What the server had for a connection that was cut, and that never came, is
// counted, by rule.
func TestLostMessagesAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	var asked atomic.Int32
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		p.send("MSG b 1 0\r\n\r\nMSG a.x 0 0\r\n\r\nMSG b 1 0\r\n\r\nMSG b 1 0\r\n")
		p.Close()
		(<-peers).hello("a.>", "b")
		time.Sleep(lookEvery / 2) // of the bubble's: the figures are late
		if got, want := lost(t, reg), map[string]float64{"a.>": 39, "b": 48, "": 10}; !maps.Equal(got, want) {
			t.Errorf("counted %v as lost, want %v", got, want)
		}
	}, func(cfg *ConnConfig) {
		cfg.Registerer = reg
		cfg.Delivered = func(client uint64) (Delivered, bool) {
			if client != 17 {
				t.Errorf("asked for client %d, want 17", client)
			}
			n := asked.Add(1)
			if n < 5 { // not the last figures yet
				return Delivered{Messages: 10, BySubscription: map[int]int64{0: 4, 1: 6}}, n >= 3
			}
			return Delivered{Messages: 100, BySubscription: map[int]int64{0: 40, 1: 50}, Ended: true}, true
		}
	})
}

// lost is what is counted as lost, by rule.
func lost(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "headwater_bridge_lost_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "rule" {
					got[label.GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
	}
	return got
}

// What the server lets go while the connection stands is counted a second later, once,
// and what is only on its way is not.
func TestMessagesLetGoAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	var d atomic.Pointer[Delivered]
	d.Store(&Delivered{})
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		expect := func(want map[string]float64) {
			t.Helper()
			synctest.Wait()
			if got := lost(t, reg); !maps.Equal(got, want) {
				t.Errorf("counted %v as lost, want %v", got, want)
			}
		}
		p.send("MSG b 1 0\r\n\r\n")
		d.Store(&Delivered{Messages: 1, BySubscription: map[int]int64{0: 0, 1: 1}})
		time.Sleep(lookEvery)
		expect(map[string]float64{"a.>": 0, "b": 0, "": 0})

		d.Store(&Delivered{Messages: 12, BySubscription: map[int]int64{0: 3, 1: 9}})
		p.expect("PING") // it looks
		p.send("MSG b 1 0\r\n\r\nMSG a.x 0 0\r\n\r\nPONG\r\n")
		expect(map[string]float64{"a.>": 2, "b": 7, "": 0})
		p.expect("PING") // once more, to tell that it is over
		p.send("PONG\r\n")
		time.Sleep(3 * lookEvery)
		expect(map[string]float64{"a.>": 2, "b": 7, "": 0})

		// The last ones are found when the subscriptions are gone.
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- c.Unsubscribe(t.Context()) }()
		p.expect("UNSUB 0")
		p.expect("UNSUB 1")
		p.expect("PING")
		d.Store(&Delivered{Messages: 20})
		p.send("PONG\r\n")
		p.expect("PING")
		p.send("MSG b 1 0\r\n\r\nPONG\r\n")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the last look came %v after the end", waited)
		}
		expect(map[string]float64{"a.>": 2, "b": 7, "": 7})
	}, func(cfg *ConnConfig) {
		cfg.Registerer = reg
		cfg.Delivered = func(uint64) (Delivered, bool) { return *d.Load(), true }
	})
}

// A complaint about one message is no reason to part.
func TestPermissionViolationIsNotTheEnd(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		p.send("-ERR 'Permissions Violation for Publish to \"x\"'\r\n")
		if err := c.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// A server that says nothing, or not what it should, is tried again, ever less
// often.
func TestHandshakeFails(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		start := time.Now()
		<-peers // silent
		(<-peers).send("PING\r\n")
		p := <-peers
		p.send("INFO {}\r\n")
		p.expect(connectLine)
		p.Close()
		p = <-peers
		if passed, want := time.Since(start), handshakeTimeout+7*firstRetry; passed != want {
			t.Errorf("the fourth attempt came after %v, want %v", passed, want)
		}
		p.hello("a.>", "b")
		<-c.Up()
	})
}

func TestFlush(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		flushed := make(chan error, 1)
		go func() { flushed <- c.Flush(t.Context()) }()
		p.expect("PING")
		synctest.Wait()
		select {
		case err := <-flushed:
			t.Fatalf("flushed before the PONG: %v", err)
		default:
		}
		p.send("MSG b 1 1\r\nv\r\nPONG\r\n")
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		if got := h.all(); got[len(got)-2] != "1 b  1" {
			t.Errorf("the handler saw %q before the flush ended", got)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go io.Copy(io.Discard, p.lines)
		if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a PONG: %v", err)
		}
		for range 2 * maxFlushes {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			c.Flush(ctx)
		}
		s, err := c.session()
		if err != nil {
			t.Fatal(err)
		}
		if got := len(s.pongs); got != maxFlushes {
			t.Errorf("%d PINGs wait, the limit is %d", got, maxFlushes)
		}
		go func() { flushed <- c.Flush(t.Context()) }()
		p.Close()
		if err := <-flushed; !errors.Is(err, ErrNotConnected) {
			t.Errorf("when the connection ended: %v", err)
		}
		(<-peers).hello("a.>", "b")
	})
}

// After Unsubscribe a connection that is made anew asks for nothing.
func TestUnsubscribe(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		done := make(chan error, 1)
		go func() { done <- c.Unsubscribe(t.Context()) }()
		p.expect("UNSUB 0")
		p.expect("UNSUB 1")
		p.expect("PING")
		p.send("PONG\r\n")
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.Close()
		(<-peers).hello()
	})
}

// Run ends when there is no server to connect to any more.
func TestServerGone(t *testing.T) {
	c := NewConn(ConnConfig{Dial: func() (net.Conn, error) { return nil, errors.New("no server") }, Log: slog.New(slog.DiscardHandler)})
	if err := c.Run(t.Context()); !errors.Is(err, errNoServer) {
		t.Errorf("Run: %v", err)
	}
}

// Whatever the server sends, the reader ends in order, and its buffer stays within
// a line and the largest message.
func FuzzSession(f *testing.F) {
	f.Add([]byte("INFO {}\r\nPONG\r\nMSG a 0 5\r\nhello\r\nPING\r\n"))
	f.Add([]byte("INFO {}\r\n-ERR 'x'\r\n"))
	f.Add([]byte("PING\r\n"))
	f.Add([]byte("INFO {}\r\nMSG a 0 999999999\r\nhello\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		ours, theirs := net.Pipe()
		s := newSession(ours, parser{maxPayload: 1000, subscriptions: 1}, &script{}, slog.New(slog.DiscardHandler))
		go io.Copy(io.Discard, theirs)
		go func() {
			io.Copy(theirs, bytes.NewReader(input))
			theirs.Close()
		}()
		if err := s.run(t.Context(), func() error { return s.out.control(connectLine) }, func() {}); err == nil {
			t.Fatal("no error at the end of the connection")
		}
		if len(s.buf) > readBufferBytes+maxLine {
			t.Fatalf("the buffer has %d bytes", len(s.buf))
		}
	})
}
