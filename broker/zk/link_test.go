package zk

import (
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-zookeeper/zk"
)

func handshakeAnswer(session int64, timeout int32) []byte {
	b := binary.BigEndian.AppendUint32(nil, 4+4+8+4+16+1)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(timeout))
	b = binary.BigEndian.AppendUint64(b, uint64(session))
	b = binary.BigEndian.AppendUint32(b, 16)
	return append(b, make([]byte, 17)...)
}

func packet(xid int32, body int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+body))
	b = binary.BigEndian.AppendUint32(b, uint32(xid))
	return append(b, make([]byte, body)...)
}

// Wherever the network splits the stream, the link hears the same: the session, and
// when each request was sent that is answered. What comes unasked says nothing.
func TestLinkHears(t *testing.T) {
	stream := slices.Concat(handshakeAnswer(42, 6000), packet(xidWatch, 20), packet(1, 12), packet(xidPing, 12), packet(3, 500), packet(99, 12))
	for split := 1; split < len(stream); split += 7 {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			var heard []time.Duration
			var session int64
			l := newLink(discard{}, time.Time{}, linkEvents{
				granted: func(id int64, timeout time.Duration, at time.Time) {
					session = id
					heard = append(heard, timeout, at.Sub(begin))
				},
				heard:   func(at time.Time) { heard = append(heard, at.Sub(begin)) },
				rearmed: func() {},
			})
			send(t, l, make([]byte, 44)) // the handshake
			tail := stream
			feed := func(n int) {
				for n > 0 && len(tail) > 0 {
					k := min(split, n, len(tail))
					if err := l.feed(tail[:k]); err != nil {
						t.Fatal(err)
					}
					tail, n = tail[k:], n-k
				}
			}
			feed(len(handshakeAnswer(0, 0)))
			for _, xid := range []int32{1, 2, xidPing, 3} { // 2 is never answered
				time.Sleep(time.Second)
				send(t, l, packet(xid, 8))
			}
			feed(len(stream))
			want := []time.Duration{6 * time.Second, 0, 1 * time.Second, 3 * time.Second, 4 * time.Second}
			if session != 42 || !slices.Equal(heard, want) {
				t.Fatalf("split at %d: session %d, heard %v; want %v", split, session, heard, want)
			}
			if len(l.sent) != 0 {
				t.Errorf("%d requests are remembered", len(l.sent))
			}
		})
	}
}

// discard is a network that takes everything.
type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func send(t *testing.T, l *link, packet []byte) {
	t.Helper()
	if _, err := l.Write(packet); err != nil {
		t.Fatal(err)
	}
}

// What is not ZooKeeper's is noticed before its lengths are believed.
func TestLinkRefuses(t *testing.T) {
	for name, stream := range map[string][]byte{
		"longHandshake":  slices.Concat([]byte{0xff, 0, 0, 0}, make([]byte, 40)),
		"shortHandshake": slices.Concat([]byte{0, 0, 0, 15}, make([]byte, 40)),
		"emptyPacket":    slices.Concat(handshakeAnswer(1, 1), []byte{0, 0, 0, 0}),
	} {
		l := newLink(discard{}, time.Time{}, linkEvents{granted: func(int64, time.Duration, time.Time) {}})
		if err := l.feed(stream); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A handshake ends in time whatever the library allows it; after it, the library's
// deadlines count.
func TestLinkBoundsHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		defer ours.Close()
		begin := time.Now()
		l := newLink(ours, begin.Add(3*time.Second), linkEvents{granted: func(int64, time.Duration, time.Time) {}})
		for _, deadline := range []time.Time{begin.Add(time.Hour), {}} {
			if err := l.SetReadDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Read(make([]byte, 4)); !os.IsTimeout(err) || time.Since(begin) != 3*time.Second {
				t.Errorf("%v after %v, want a timeout after 3s", err, time.Since(begin))
			}
		}
		if err := l.feed(handshakeAnswer(1, 1)); err != nil {
			t.Fatal(err)
		}
		if err := l.SetReadDeadline(begin.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Read(make([]byte, 4)); !os.IsTimeout(err) || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v, want a timeout after a minute", err, time.Since(begin))
		}
	})
}

// A session lasts as long as was granted from when the last request was sent that was
// answered, whatever the library says, and no longer.
func TestSessionEndsByOurClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession()
		begin := time.Now()
		s.spawn(s.keep)
		s.granted(1, 6*time.Second, begin)
		s.event(zk.Event{Type: zk.EventSession, State: zk.StateHasSession})
		time.Sleep(5 * time.Second)
		s.heard(begin.Add(4 * time.Second))
		s.heard(begin.Add(2 * time.Second)) // late, and nothing new
		s.event(zk.Event{Type: zk.EventSession, State: zk.StateDisconnected})
		s.event(zk.Event{Type: zk.EventSession, State: zk.StateConnecting})
		<-s.Done()
		if lasted := time.Since(begin); lasted != 10*time.Second {
			t.Errorf("it lasted %v, want 10s", lasted)
		}
		wantError(t, s.Err(), errSilent)
		s.running.Wait()
	})
}

// Nothing is sent between a reconnect and the library's asking for its watches again.
func TestGateWaitsForWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession()
		s.granted(1, time.Hour, time.Now())
		s.event(zk.Event{Type: zk.EventSession, State: zk.StateHasSession})
		w, changed := NewWatch()
		_, asked := s.watches.join(watchKey{"/x", false}, w)
		asked(true)
		s.event(zk.Event{Type: zk.EventSession, State: zk.StateDisconnected})
		s.event(zk.Event{Type: zk.EventSession, State: zk.StateHasSession})
		through := make(chan error, 1)
		go func() { through <- s.awaitConnected(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-through:
			t.Fatalf("let through before, %v", err)
		case <-changed:
			t.Fatal("told before")
		default:
		}
		s.rearmed()
		synctest.Wait()
		select {
		case err := <-through:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("not let through")
		}
		select {
		case <-changed:
		default:
			t.Error("not told that the connection was away")
		}
	})
}

func newTestSession() *Session {
	c := &Client{cfg: DefaultConfig(), log: slog.New(slog.DiscardHandler), metrics: newMetrics(nil)}
	return c.newSession()
}
