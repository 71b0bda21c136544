package mqtt

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	connectTimeout = 10 * time.Second // for the first packet
	writeTimeout   = 20 * time.Second // for one write: a client that does not read is let go
)

// bounded lets a limited number of connections be open at a time. The others are
// closed at once: there is no packet to say so in before the client's first.
type bounded struct {
	net.Listener
	room       chan struct{}
	turnedAway prometheus.Counter
}

// Accept takes the next connection that there is room for.
func (l *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			conn.SetReadDeadline(time.Now().Add(connectTimeout))
			return &timed{Conn: conn, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			l.turnedAway.Inc()
			conn.Close()
		}
	}
}

// timed is a connection whose writes have a time limit each.
type timed struct {
	net.Conn
	leave func()
}

// Write writes b, within its time.
func (c *timed) Write(b []byte) (int, error) {
	c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only when closed; so does Write then
	return c.Conn.Write(b)
}

// SetDeadline is the reader's: mochi sets it by the client's keep-alive.
func (c *timed) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// Close closes the connection, and makes room for another.
func (c *timed) Close() error {
	c.leave()
	return c.Conn.Close()
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
