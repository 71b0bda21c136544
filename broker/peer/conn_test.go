package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// network is a broker that is reached by pipes. serve gets the broker's end of each
// connection, by number from 1.
type network struct {
	dialled atomic.Int32
	serve   func(n int, nc net.Conn)
}

func (n *network) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	number := int(n.dialled.Add(1))
	go func() {
		defer theirs.Close()
		n.serve(number, theirs)
	}()
	return ours, nil
}

// open returns a Conn to n.
func (n *network) open(t *testing.T) *Conn {
	t.Helper()
	cfg := DefaultConfig("headwater-broker-7", "test")
	cfg.Dial = n.dial
	c := New("broker:9092", cfg)
	t.Cleanup(c.Close)
	return c
}

// next reads one request off nc; ok is false when there is none.
func next(nc net.Conn) (h wire.Header, body []byte, ok bool) {
	var length [4]byte
	if _, err := io.ReadFull(nc, length[:]); err != nil {
		return h, nil, false
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(nc, frame); err != nil {
		return h, nil, false
	}
	h, body, err := wire.ParseHeader(frame)
	return h, body, err == nil
}

// answer answers everything that comes.
func answer(_ int, nc net.Conn) {
	for {
		h, _, ok := next(nc)
		if !ok {
			return
		}
		nc.Write(respond(h))
	}
}

func respond(h wire.Header) []byte {
	req := kmsg.RequestForKey(h.Key)
	req.SetVersion(h.Version)
	resp := req.ResponseKind()
	if v, ok := resp.(*kmsg.ApiVersionsResponse); ok {
		v.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: wire.Fetch, MaxVersion: 12}, {ApiKey: wire.AllocateProducerIDs, MaxVersion: 99}}
	}
	return wire.AppendResponse(nil, h.CorrelationID, resp)
}

func allocate() kmsg.Request { return kmsg.NewPtrAllocateProducerIDsRequest() }

// Requests share a connection, and say who sends them.
func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clientID string
		n := &network{serve: func(_ int, nc net.Conn) {
			for {
				h, _, ok := next(nc)
				if !ok {
					return
				}
				clientID = h.ClientID
				nc.Write(respond(h))
			}
		}}
		c := n.open(t)
		for range 3 {
			if _, err := c.Call(t.Context(), allocate()); err != nil {
				t.Fatal(err)
			}
		}
		if got := n.dialled.Load(); got != 1 || clientID != "headwater-broker-7" {
			t.Errorf("%d connections for three calls, client id %q", got, clientID)
		}
	})
}

// What the broker offers is asked for once a connection, and never more than is
// known here.
func TestMaxVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		n := &network{serve: func(number int, nc net.Conn) {
			for {
				h, _, ok := next(nc)
				if !ok || number == 1 && h.Key != wire.APIVersions {
					return // hangs up
				}
				if h.Key == wire.APIVersions {
					asked++
				}
				nc.Write(respond(h))
			}
		}}
		c := n.open(t)
		for range 2 {
			for key, want := range map[int16]int16{wire.Fetch: 12, wire.AllocateProducerIDs: 0, wire.Metadata: -1} {
				if got, err := c.MaxVersion(t.Context(), key); err != nil || got != want {
					t.Errorf("version of key %d: %d, %v; want %d", key, got, err, want)
				}
			}
			c.Call(t.Context(), allocate()) // the first time, the broker hangs up
		}
		if asked != 2 || n.dialled.Load() != 2 {
			t.Errorf("asked %d times over %d connections, want once on each of two", asked, n.dialled.Load())
		}
	})
}

// A connection on which something went wrong is not used again, whatever it was;
// the next call has its answer over another.
func TestBrokenConnection(t *testing.T) {
	for name, misbehave := range map[string]func(nc net.Conn, h wire.Header){
		"hangsUp":     func(nc net.Conn, _ wire.Header) { nc.Close() },
		"wrongAnswer": func(nc net.Conn, h wire.Header) { h.CorrelationID++; nc.Write(respond(h)) },
		"tooLong":     func(nc net.Conn, _ wire.Header) { nc.Write([]byte{0x7f, 0xff, 0xff, 0xff}) },
		"tooShort":    func(nc net.Conn, _ wire.Header) { nc.Write([]byte{0, 0, 0, 3}) },
		"negative":    func(nc net.Conn, _ wire.Header) { nc.Write([]byte{0xff, 0xff, 0xff, 0xff}) },
		"cutOff":      func(nc net.Conn, h wire.Header) { nc.Write(respond(h)[:7]); nc.Close() },
		"garbage":     func(nc net.Conn, h wire.Header) { nc.Write(append([]byte{0, 0, 0, 5}, respond(h)[4:9]...)) },
		"silent":      func(net.Conn, wire.Header) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{serve: func(number int, nc net.Conn) {
					if number > 1 {
						answer(number, nc)
						return
					}
					if h, _, ok := next(nc); ok {
						misbehave(nc, h)
					}
					next(nc) // whatever comes now, nobody answers
				}}
				c := n.open(t)
				start := time.Now()
				if _, err := c.Call(t.Context(), allocate()); err == nil {
					t.Error("the first call has an answer")
				}
				if took := time.Since(start); took > 30*time.Second {
					t.Errorf("it took %v to give up", took)
				}
				if _, err := c.Call(t.Context(), allocate()); err != nil || n.dialled.Load() != 2 {
					t.Errorf("the second call: %v, over connection %d", err, n.dialled.Load())
				}
			})
		})
	}
}

// A caller that leaves takes the connection with it: the answer that was on its way
// is never taken for the next request's. Nor is the broker blamed.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{serve: func(_ int, nc net.Conn) {
			for {
				h, _, ok := next(nc)
				if !ok {
					return
				}
				time.Sleep(time.Second)
				nc.Write(respond(h))
			}
		}}
		c := n.open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := c.Call(ctx, allocate()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("left after %v", took)
		}
		start = time.Now()
		if _, err := c.Call(t.Context(), allocate()); err != nil || n.dialled.Load() != 2 {
			t.Errorf("the next call: %v, over connection %d", err, n.dialled.Load())
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("the next call took %v, want no pause before it", took)
		}
	})
}

// A broker that is away is dialled less and less often, up to once in maxPause, by a
// caller that never pauses. Once it is back it is reached at once again.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := true
		n := &network{serve: answer}
		cfg := DefaultConfig("x", "test")
		dials := 0
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			if away {
				return nil, os.ErrDeadlineExceeded
			}
			return n.dial(ctx, network, address)
		}
		c := New("broker:9092", cfg)
		defer c.Close()
		for start := time.Now(); time.Since(start) < time.Minute; {
			if _, err := c.Call(t.Context(), allocate()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if dials < 60 || dials > 130 {
			t.Errorf("dialled %d times in a minute, want once in 0.5 to 1 s", dials)
		}
		away = false
		if _, err := c.Call(t.Context(), allocate()); err != nil || c.failures != 0 {
			t.Errorf("back: %v, %d failures", err, c.failures)
		}
	})
}

// An answer may take long when it is long and the line is slow; one that stops in the
// middle, or never ends, is given up.
func TestSlowAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		every time.Duration // a byte of it
		stop  int           // it stops after so many bytes
		took  time.Duration // 0: it is taken
	}{
		"slow":    {20 * time.Second, 1 << 20, 0},
		"silent":  {time.Second, 0, 30 * time.Second},
		"stops":   {20 * time.Second, 7, 7*20*time.Second + 30*time.Second},
		"endless": {29 * time.Second, 1 << 20, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := (&network{serve: func(_ int, nc net.Conn) {
					h, _, _ := next(nc)
					for i, b := range respond(h) {
						if i == tc.stop {
							break
						}
						time.Sleep(tc.every)
						if _, err := nc.Write([]byte{b}); err != nil {
							return
						}
					}
					io.Copy(io.Discard, nc)
				}}).open(t)
				start := time.Now()
				_, err := c.Call(t.Context(), allocate())
				switch {
				case tc.took == 0 && err != nil:
					t.Error(err)
				case tc.took != 0 && (!errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != tc.took):
					t.Errorf("%v after %v, want to wait %v", err, time.Since(start), tc.took)
				}
				c.Close()
				time.Sleep(tc.every) // the broker notices
			})
		})
	}
}

// Whoever waits for a pause, a dial or a turn is let go when its context ends.
func TestWaitsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig("x", "test")
		cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		c := New("broker:9092", cfg)
		defer c.Close()
		start := time.Now()
		done := make(chan error, 2)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go func() {
				_, err := c.Call(ctx, allocate())
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
		if _, err := c.Call(t.Context(), allocate()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 11*time.Second {
			t.Errorf("a dial that never ends: %v after %v, want DialTimeout", err, time.Since(start))
		}
	})
}

// Close ends the call that waits for its answer, and no call after it dials.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{serve: func(_ int, nc net.Conn) { next(nc); next(nc) }}
		c := n.open(t)
		done := make(chan error, 1)
		go func() {
			_, err := c.Call(t.Context(), allocate())
			done <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the call that waited: %v", err)
		}
		if _, err := c.Call(t.Context(), allocate()); !errors.Is(err, net.ErrClosed) || n.dialled.Load() != 1 {
			t.Errorf("a later call: %v, %d connections", err, n.dialled.Load())
		}
	})
}
