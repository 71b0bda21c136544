package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
)

func TestSubscriptions(t *testing.T) {
	s := newSubscriptions([]string{"a.>"}, 3)
	add := func(subject string) int {
		t.Helper()
		sid, err := s.add(subject)
		if err != nil {
			t.Fatal(err)
		}
		return sid
	}
	first, second, third := add("b"), add("c.*"), add("b")
	if first != 1 || second != 2 || third != 3 {
		t.Errorf("numbers %d, %d, %d", first, second, third)
	}
	if _, err := s.add("d"); !errors.Is(err, ErrTooManySubscriptions) {
		t.Errorf("a fourth: %v", err)
	}
	if s.remove(0) || s.remove(9) || !s.remove(second) || s.remove(second) {
		t.Error("the wrong ones can be removed")
	}
	for _, subject := range []string{"", "a..b", "a b", "a\r\nPUB x 0", "a.>.b", ".", strings.Repeat("x", maxSubjects+1)} {
		if _, err := s.add(subject); !errors.Is(err, ErrSubject) {
			t.Errorf("%.20q: %v", subject, err)
		}
	}

	// A number is used again only when there are no others, and never twice at once.
	if sid := add("d"); sid != 4 {
		t.Errorf("the next has number %d, want 4", sid)
	}
	s.remove(4)
	s.next = maxSid
	if sid := add("e"); sid != maxSid {
		t.Errorf("the last has number %d", sid)
	}
	s.remove(third)
	if sid := add("f"); sid != 2 {
		t.Errorf("after the last came %d, want 2, which is free", sid)
	}
	want := []string{"SUB a.> 0", "SUB b 1", "SUB f 2", fmt.Sprint("SUB e ", maxSid)}
	if got := s.lines(); !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	if got := s.clear(); !slices.Equal(got, []int{0, 1, 2, maxSid}) {
		t.Errorf("ended %v", got)
	}
	if _, err := s.add("g"); !errors.Is(err, ErrTooManySubscriptions) || len(s.lines()) != 0 {
		t.Errorf("after the end: %v, %q", err, s.lines())
	}
}

// What is subscribed to while there is no connection, while one is made, and while one
// stands is all subscribed to by the next.
func TestSubscribeOutlivesConnections(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		subscribe := func(subject string) int {
			t.Helper()
			sid, err := c.Subscribe(subject)
			if err != nil {
				t.Fatal(err)
			}
			return sid
		}
		p := <-peers
		before := subscribe("before")
		p.send("INFO {}\r\n")
		p.expect(connectLine)
		during := subscribe("during")
		for _, want := range []string{"SUB a.> 0", "SUB b 1", fmt.Sprint("SUB before ", before), "PING", fmt.Sprint("SUB during ", during)} {
			p.expect(want)
		}
		p.send("PONG\r\n")
		<-c.Up()
		after := subscribe("after")
		p.expect(fmt.Sprint("SUB after ", after))
		if err := c.UnsubscribeOne(before); err != nil {
			t.Error(err)
		}
		p.expect(fmt.Sprint("UNSUB ", before))
		if err := errors.Join(c.UnsubscribeOne(before), c.UnsubscribeOne(0)); !errors.Is(err, ErrSubject) {
			t.Errorf("unsubscribing what is not there: %v", err)
		}
		p.send(fmt.Sprintf("MSG after %d 1\r\nv\r\n", after))
		if got, want := h.all(), fmt.Sprintf("%d after  1", after); got[len(got)-2] != want {
			t.Errorf("the handler saw %q, want %q", got, want)
		}
		p.Close()
		p = <-peers
		p.send("INFO {}\r\n")
		for _, want := range []string{connectLine, "SUB a.> 0", "SUB b 1", fmt.Sprint("SUB during ", during), fmt.Sprint("SUB after ", after), "PING"} {
			p.expect(want)
		}
		p.send("PONG\r\n")

		done := make(chan error, 1)
		go func() { done <- c.Unsubscribe(t.Context()) }()
		for _, want := range []string{"UNSUB 0", "UNSUB 1", fmt.Sprint("UNSUB ", during), fmt.Sprint("UNSUB ", after), "PING"} {
			p.expect(want)
		}
		p.send("PONG\r\n")
		if err := <-done; err != nil {
			t.Error(err)
		}
	}, func(cfg *ConnConfig) { cfg.MaxSubscriptions = 4 })
}

// A server that does not read is given up when the changes do not fit any more.
func TestSubscribeToStuckServer(t *testing.T) {
	withPeer(t, func(t *testing.T, c *Conn, h *script, peers <-chan *peer) {
		p := <-peers
		p.hello("a.>", "b")
		first, err := c.session()
		if err != nil {
			t.Fatal(err)
		}
		for range (maxUnwritten + controlMargin) / 1000 * 2 {
			sid, err := c.Subscribe(strings.Repeat("x", 1000))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.UnsubscribeOne(sid); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		select {
		case <-first.out.closed:
			(<-peers).hello("a.>", "b")
		default:
			t.Error("the changes are queued without end")
		}
	}, func(cfg *ConnConfig) { cfg.MaxSubscriptions = 1 })
}

// Two connections of ours beside each other: what one publishes, with a reply and
// headers, the other hears, and itself not.
func TestPublishMsg(t *testing.T) {
	s := listen(t)
	if err := errors.Join(s.Start(), s.Accept()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	heard := map[string]*events{}
	conns := map[string]*Conn{}
	ended := make(chan error, 2)
	for _, name := range []string{"one", "two"} {
		e := &events{make(chan string, 10)}
		c := NewConn(ConnConfig{Name: name, Dial: s.Dial, MaxSubscriptions: 10, MaxPayload: 64 << 10, Handler: e, Log: slog.New(slog.DiscardHandler)})
		go func() { ended <- c.Run(ctx) }()
		<-c.Up()
		if _, err := c.Subscribe("a.*"); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		heard[name], conns[name] = e, c
	}
	nc := connect(t, s)
	sub, err := nc.SubscribeSync("a.b")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []*nats.Msg{
		{Subject: "a.b", Data: []byte("v")},
		{Subject: "a.b", Reply: "r", Data: []byte("v")},
		{Subject: "a.b", Reply: "r", Header: nats.Header{"H": {"1"}}, Data: []byte("v")},
		{Subject: "a.b", Header: nats.Header{"H": {"1"}}},
	} {
		headers := ""
		if tc.Header != nil {
			headers = "NATS/1.0\r\nH: 1\r\n\r\n"
		}
		if err := conns["one"].PublishMsg([]byte(tc.Subject), []byte(tc.Reply), []byte(headers), tc.Data); err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Reply != tc.Reply || m.Header.Get("H") != tc.Header.Get("H") || string(m.Data) != string(tc.Data) {
			t.Errorf("got %+v, want %+v", m, tc)
		}
		if got := <-heard["two"].taken; got != "a.b "+string(tc.Data) {
			t.Errorf("the other connection heard %q", got)
		}
	}
	if err := conns["one"].PublishMsg([]byte("a.b"), nil, make([]byte, 1<<10), make([]byte, 64<<10)); !errors.Is(err, ErrUnsendable) {
		t.Errorf("a message that is too large with its headers: %v", err)
	}
	if err := conns["one"].Flush(t.Context()); err != nil {
		t.Errorf("it cost us the connection: %v", err)
	}
	if n := len(heard["one"].taken); n != 0 {
		t.Errorf("a connection heard %d of its own messages", n)
	}
	cancel()
	if err := errors.Join(<-ended, <-ended); err != nil {
		t.Error(err)
	}
}
