package zk

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Client keeps one session after another.
type Client struct {
	cfg     Config
	servers []string
	chroot  string
	log     *slog.Logger
	metrics *metrics

	mu       sync.Mutex // guards all below
	current  *Session   // nil while there is none
	previous []int64    // sessions we had, the latest last
}

// maxPrevious sessions are remembered: ZooKeeper has forgotten older ones.
const maxPrevious = 32

// NewClient prepares a client; Run starts it. reg may be nil.
func NewClient(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	servers, chroot, err := ParseConnect(cfg.Connect)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, servers: servers, chroot: chroot, log: log, metrics: newMetrics(reg)}, nil
}

// Session is the current session, or nil while there is none.
func (c *Client) Session() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Run calls use with one session after another, until ctx is done. The context that
// use gets is done when ctx is, and when the session is over; the session itself stays
// until use returns, so that it can take its leave. When use returns sooner, its
// session is closed, and another is asked for after a pause; an error that wraps
// ErrGiveUp ends Run instead.
func (c *Client) Run(ctx context.Context, use func(ctx context.Context, s *Session) error) error {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := c.one(ctx, use)
		switch {
		case errors.Is(err, ErrGiveUp):
			return err
		case ctx.Err() != nil:
			return nil
		case time.Since(began) > c.cfg.SessionTimeout:
			failures = 0 // it went well for a while
		}
		failures++
		c.log.Warn("zookeeper session ended", "err", err)
		pause(ctx, failures)
	}
	return nil
}

// pause waits longer after each failure, up to five seconds, and not as long as others
// do.
func pause(ctx context.Context, failures int) {
	most := min(100*time.Millisecond<<min(failures, 6), 5*time.Second)
	select {
	case <-time.After(most/2 + rand.N(most/2)):
	case <-ctx.Done():
	}
}

// one has one session from its beginning to its end. It returns why it ended.
func (c *Client) one(ctx context.Context, use func(ctx context.Context, s *Session) error) error {
	s, err := c.open()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.awaitGranted(ctx); err != nil {
		return err
	}
	c.began(s)
	defer c.ended(s)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(s.over()) })()
	err = use(ctx, s)
	if s.ctx.Err() != nil && !errors.Is(err, ErrGiveUp) {
		return s.over()
	}
	if err == nil {
		return errClosed
	}
	return err
}

func (c *Client) began(s *Session) {
	c.metrics.sessions.Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = s
	c.previous = append(c.previous, s.ID())
	if extra := len(c.previous) - maxPrevious; extra > 0 {
		c.previous = slices.Delete(c.previous, 0, extra)
	}
}

func (c *Client) ended(s *Session) {
	if s.ctx.Err() != nil {
		c.metrics.expirations.Inc()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = nil
}

// own reports whether a session was one of ours.
func (c *Client) own(sessionID int64) bool {
	return c.lived(sessionID) || c.cfg.Own != nil && c.cfg.Own(sessionID)
}

// lived reports whether a session was one of this client's.
func (c *Client) lived(sessionID int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.previous, sessionID)
}
