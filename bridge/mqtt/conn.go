package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	connectTimeout = 10 * time.Second // for the first packet, and for TLS before it
	writeTimeout   = 20 * time.Second // for one write: a client that does not read is let go
	goodbyeTimeout = time.Second      // for what is left to write when the server closes
	outBytes       = 64 << 10         // of one connection that wait to be written, before who writes waits
	connectBytes   = 64 << 10         // of the first packet: whoever sends it has not been let in yet
)

var (
	errNotConnect  = errors.New("the first packet is no CONNECT")
	errLongConnect = errors.New("the CONNECT packet is too long")
)

// bounded lets a limited number of connections be open at a time. The others are
// closed at once: there is no packet to say so in before the client's first.
type bounded struct {
	net.Listener
	tls        *tls.Config // nil for none
	limit      int
	writers    *sync.WaitGroup
	turnedAway prometheus.Counter

	mu     sync.Mutex     // guards below
	open   map[*conn]bool // at most limit
	closed bool
}

// Accept takes the next connection that there is room for.
func (l *bounded) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(raw); c != nil {
			return c, nil
		}
		l.turnedAway.Inc()
		raw.Close()
	}
}

// admit makes raw one of the open connections. It returns nil when there is no room.
func (l *bounded) admit(raw net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= l.limit {
		return nil
	}
	raw.SetDeadline(time.Now().Add(connectTimeout))
	if l.tls != nil {
		raw = tls.Server(raw, l.tls)
	}
	c := &conn{Conn: raw}
	c.leave = func() { l.left(c) }
	c.changed.L = &c.mu
	l.open[c] = true
	l.writers.Go(c.writeOut)
	return c
}

func (l *bounded) left(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// Close closes the port, and the connections that mochi does not know yet.
func (l *bounded) Close() error {
	l.mu.Lock()
	l.closed = true
	open := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	return l.Listener.Close()
}

// conn is a device's connection. Writes go by a goroutine of its own: mochi writes under
// a lock that every publish for the client needs, so a write must not wait for a client
// that does not read. Who has much to write waits in hasRoom, before that lock.
type conn struct {
	net.Conn
	leave   func()
	owner   atomic.Pointer[inbound] // once the client has been let in
	opening opening                 // the reader's own

	mu      sync.Mutex // guards below
	changed sync.Cond  // told of all below
	out     []byte     // to be written
	writing int        // bytes that are being written
	muted   bool       // what is written now is swallowed
	closed  bool
}

// Write has b written soon.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if !c.muted {
		c.out = append(c.out, b...)
		c.changed.Broadcast()
	}
	return len(b), nil
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// hasRoom waits until little is left to be written, or the connection is closed.
func (c *conn) hasRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && len(c.out)+c.writing >= outBytes {
		c.changed.Wait()
	}
}

// mute has what is written from now on swallowed, or no longer.
func (c *conn) mute(muted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.muted = muted
}

// writeOut writes until the connection is closed and all of out is written. A write
// that fails closes the connection: a part of a packet may have gone out.
func (c *conn) writeOut() {
	defer c.Conn.Close()
	defer c.leave()
	for {
		c.mu.Lock()
		c.writing = 0
		c.changed.Broadcast()
		for !c.closed && len(c.out) == 0 {
			c.changed.Wait()
		}
		b := c.out
		c.out, c.writing = nil, len(b)
		timeout := writeTimeout
		if c.closed {
			timeout = goodbyeTimeout
		}
		c.mu.Unlock()
		if len(b) == 0 {
			return
		}
		c.Conn.SetWriteDeadline(time.Now().Add(timeout)) // fails only when closed; so does Write then
		if _, err := c.Conn.Write(b); err != nil {
			c.Close()
			return
		}
	}
}

// Read reads what the client sends. mochi makes room for a packet as soon as it knows
// its length, so that of the first is looked at here.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if bad := c.opening.see(b[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// SetDeadline is the reader's: mochi sets it by the client's keep-alive.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed // its reader is to end, whatever its keep-alive
	}
	return c.Conn.SetReadDeadline(t)
}

// Close ends the reader. What was written before goes out, within its time.
func (c *conn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.changed.Broadcast()
	if first {
		c.Conn.SetDeadline(time.Now().Add(goodbyeTimeout)) // fails only when closed
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
	c.mu.Unlock()
	if b := c.owner.Load(); first && b != nil {
		b.leave()
	}
	return nil
}

// state is what TLS knows of the client, nil without TLS.
func (c *conn) state() *tls.ConnectionState {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := secure.ConnectionState()
	return &state
}

// opening looks at the fixed header of a connection's first packet.
type opening struct {
	seen   int // bytes of the header
	length int
	known  bool
}

const (
	connectByte = 0x10 // the first of a CONNECT packet
	lengthBytes = 4    // a length has at most
)

func (o *opening) see(b []byte) error {
	for _, c := range b {
		if o.known {
			break
		}
		switch o.seen++; {
		case o.seen == 1 && c != connectByte:
			return errNotConnect
		case o.seen == 1:
			continue
		}
		o.length |= int(c&0x7f) << (7 * (o.seen - 2))
		o.known = c < 0x80
		if o.length > connectBytes || !o.known && o.seen > lengthBytes {
			return errLongConnect
		}
	}
	return nil
}

// quiet takes what mochi says of single clients and packets down to debug: anybody who
// can connect could fill the log with it.
type quiet struct{ slog.Handler }

// Enabled reports whether debug is.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, lowered(level))
}

// Handle logs r as less than it is.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lowered(r.Level)
	return q.Handler.Handle(ctx, r)
}

// WithAttrs keeps it quiet.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup keeps it quiet.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

func lowered(level slog.Level) slog.Level {
	if level < slog.LevelError {
		return slog.LevelDebug
	}
	return level
}
