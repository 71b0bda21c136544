package zk

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// Session is one session with ZooKeeper, over as many connections as it takes. It
// ends once and for all.
type Session struct {
	cfg     Config
	servers []string
	chroot  string
	log     *slog.Logger
	metrics *metrics
	own     func(sessionID int64) bool // was it one of ours?
	lived   func(sessionID int64) bool // in this process

	conn    *zk.Conn
	events  <-chan zk.Event // of the library; closed when all of it has ended
	ctx     context.Context // done when the session is over
	end     context.CancelCauseFunc
	calls   chan struct{} // a token for each call that is with the library
	watches watches
	running sync.WaitGroup // what the session has started itself
	dialing dialing

	mu        sync.Mutex // guards all below
	id        int64      // 0 until ZooKeeper has granted the session
	timeout   time.Duration
	heardFrom time.Time // ZooKeeper has answered what was sent then
	connected bool
	rearming  bool // connected soon: when the library has asked for its watches again
	link      *link
	closed    bool          // nothing is started any more
	changed   chan struct{} // closed, and replaced, when something above changes but heardFrom
}

// ZooKeeper takes requests of up to a MiB unless told otherwise, and closes the
// connection of who sends more. What it sends it does not bound.
const (
	maxNodeBytes    = 1000 << 10
	maxRequestBytes = 1 << 20
	maxAnswerBytes  = 8 << 20 // the names of more topics than any cluster has
)

// newSession prepares a session that has nothing to do with the network yet.
func (c *Client) newSession() *Session {
	ctx, end := context.WithCancelCause(context.Background()) // outlives what it serves, to say goodbye
	return &Session{
		cfg: c.cfg, servers: c.servers, chroot: c.chroot, log: c.log, metrics: c.metrics, own: c.own, lived: c.lived,
		ctx: ctx, end: end, calls: make(chan struct{}, maxCalls), changed: make(chan struct{}),
	}
}

// open asks for a session. It returns at once; awaitGranted waits for it.
func (c *Client) open() (*Session, error) {
	s := c.newSession()
	provider := newHosts(c.servers)
	attached := make(chan struct{}) // the library's loop may call before Connect returns
	var err error
	s.conn, s.events, err = zk.Connect(c.servers, c.cfg.SessionTimeout,
		zk.WithHostProvider(provider),
		zk.WithDialer(func(network, address string, _ time.Duration) (net.Conn, error) {
			<-attached
			return s.dial(network, address)
		}),
		zk.WithEventCallback(s.event),
		zk.WithLogger(libraryLog{c.log}),
		zk.WithLogInfo(false),
		zk.WithMaxBufferSize(maxAnswerBytes),
		zk.WithMaxConnBufferSize(maxRequestBytes),
	)
	close(attached)
	if err != nil {
		s.end(errClosed)
		return nil, fmt.Errorf("zookeeper: %w", err)
	}
	s.spawn(s.keep)
	return s, nil
}

// ID is the session's number in ZooKeeper, 0 before it has one.
func (s *Session) ID() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Timeout is how long the session outlives its last contact, as ZooKeeper granted it.
func (s *Session) Timeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timeout
}

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Err is nil while the session lasts, and then wraps ErrOver and says why it ended.
func (s *Session) Err() error {
	if s.ctx.Err() == nil {
		return nil
	}
	return s.over()
}

// at is a path of the contract as ZooKeeper knows it.
func (s *Session) at(path string) string {
	if path == "/" && s.chroot != "" {
		return s.chroot
	}
	return s.chroot + path
}

// event takes what the library tells, from its goroutines, and must not block.
func (s *Session) event(e zk.Event) {
	switch {
	case e.Type == zk.EventNotWatching: // the session is over, which tells enough
	case e.Type != zk.EventSession:
		s.watches.fire(e.Type, e.Path)
	case e.State == zk.StateHasSession:
		s.gained()
	case e.State == zk.StateDisconnected:
		s.lost()
	case e.State == zk.StateExpired:
		s.endNow(errExpired)
	}
}

// gained: the library has a connection, and the session. If something is watched, the
// library asks for that again, with the number of the last change it has heard of. A
// change between that and a read of ours would be missed if our answer moved the
// number first; so nothing is read before the library has asked.
func (s *Session) gained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected, s.rearming = false, s.watches.any()
	if !s.rearming {
		s.connected = true
	}
	s.tellChanged()
}

// rearmed: the library has asked for its watches. What they may have missed before is
// read by whoever watches.
func (s *Session) rearmed() {
	s.mu.Lock()
	was := s.rearming
	if was {
		s.connected, s.rearming = true, false
		s.tellChanged()
	}
	s.mu.Unlock()
	if was {
		s.watches.tellAll()
	}
}

func (s *Session) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connected || s.rearming {
		s.metrics.disconnects.Inc()
	}
	s.connected, s.rearming = false, false
	s.tellChanged()
}

// granted: a server has said that the session is alive, asked at sentAt.
func (s *Session) granted(id int64, timeout time.Duration, sentAt time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.timeout = id, timeout
	if sentAt.After(s.heardFrom) {
		s.heardFrom = sentAt
	}
	s.tellChanged()
}

func (s *Session) heard(sentAt time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sentAt.After(s.heardFrom) {
		s.heardFrom = sentAt
	}
}

// tellChanged wakes those who wait. It is called with mu held.
func (s *Session) tellChanged() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// left is how long the session is sure to last, and more than 0 before it begins.
// ZooKeeper counts from when it heard of us last, which was later than heardFrom.
// It is called with mu held.
func (s *Session) left() time.Duration {
	if s.id == 0 {
		return s.cfg.SessionTimeout
	}
	return s.timeout - time.Since(s.heardFrom)
}

// awaitConnected waits until something can be sent that the session is sure to
// outlive.
func (s *Session) awaitConnected(ctx context.Context) error {
	for {
		s.mu.Lock()
		ready, changed := s.connected && s.left() > 0, s.changed
		s.mu.Unlock()
		if err := s.ctx.Err(); err != nil {
			return s.over()
		}
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrAway, context.Cause(ctx))
		case <-s.ctx.Done():
			return s.over()
		}
	}
}

// keep ends the session when its time is over by our clock, and logs how it goes.
func (s *Session) keep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var logged status
	for {
		s.mu.Lock()
		left, changed := s.left(), s.changed
		now := status{id: s.id, connected: s.connected, timeout: s.timeout}
		s.mu.Unlock()
		logged.log(s.log, now)
		s.metrics.state.Set(now.value())
		logged = now
		if left <= 0 {
			s.endNow(errSilent)
		}
		timer.Reset(max(left, time.Millisecond))
		select {
		case <-changed:
		case <-timer.C:
		case <-s.ctx.Done():
			s.metrics.state.Set(stateNone)
			return
		}
	}
}

// status is what is logged of a session when it changes.
type status struct {
	id        int64
	connected bool
	timeout   time.Duration
}

func (was status) log(log *slog.Logger, now status) {
	switch {
	case was.id == 0 && now.connected:
		log.Info("zookeeper session begun", "session", now.id, "timeout", now.timeout)
	case was.connected && !now.connected:
		log.Warn("zookeeper connection lost", "session", now.id)
	case !was.connected && now.connected:
		log.Info("zookeeper connection back", "session", now.id)
	}
}

func (now status) value() float64 {
	switch {
	case now.connected:
		return stateConnected
	case now.id != 0:
		return stateDisconnected
	default:
		return stateNone
	}
}

// endNow ends the session for a reason that is not ours. The connection is cut, so
// that nothing that waits to be sent is.
func (s *Session) endNow(cause error) {
	s.end(cause)
	s.cut()
}

func (s *Session) cut() {
	s.mu.Lock()
	l := s.link
	s.link = nil
	s.mu.Unlock()
	if l != nil {
		l.Close()
	}
}

// close ends the session and waits for all that it started. Where there is a
// connection, ZooKeeper is told, and what the session held is gone at once.
func (s *Session) close() {
	s.end(errClosed)
	s.conn.Close()
	s.cut()
	for range s.events {
		// The library closes it last.
	}
	for range maxCalls {
		s.calls <- struct{}{}
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
}

// spawn starts what ends with the session, unless that is closed.
func (s *Session) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Go(f)
	}
}

// awaitGranted waits until there is a session and a connection.
func (s *Session) awaitGranted(ctx context.Context) error {
	err := s.awaitConnected(ctx)
	if err != nil {
		return err
	}
	if s.cfg.Digest != "" {
		_, err = submit(ctx, s, "authenticate", func(c *zk.Conn) (struct{}, error) {
			return struct{}{}, c.AddAuth("digest", []byte(s.cfg.Digest))
		})
	}
	if err == nil && s.chroot != "" {
		err = s.ensureChroot(ctx)
	}
	return err
}

// libraryLog takes what the library logs: nobody acts upon it, since what matters is
// logged here once.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(format string, args ...any) {
	l.log.Debug("zookeeper library", "says", fmt.Sprintf(format, args...))
}
