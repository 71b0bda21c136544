package zk

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// dialing is the library's loop's alone.
type dialing struct {
	failures int // since the last that had a connection
	told     bool
}

// maxPause is what is waited at most before a server is tried again, so that a
// thousand boxes do not come at the same moment.
const maxPause = time.Second

// dial connects to a server. It bounds the handshake too, which the library leaves to
// ten times the session's time. A session that is over gets no connection: what waits
// in the library for the next one would be done under a session of its own.
func (s *Session) dial(network, address string) (net.Conn, error) {
	s.pause()
	if s.ctx.Err() != nil {
		return nil, s.over()
	}
	handshake := time.Now().Add(s.connectTimeout())
	ctx, cancel := context.WithDeadline(s.ctx, handshake)
	defer cancel()
	conn, err := s.dialPlain(ctx, network, address)
	if err == nil && s.cfg.TLS != nil {
		conn, err = s.secure(ctx, conn, address)
	}
	if err != nil {
		s.dialing.failures++
		s.tellUnreached(address, err)
		return nil, err
	}
	s.dialing = dialing{}
	return s.attach(conn, handshake)
}

// attach makes the connection the session's, unless it has ended meanwhile.
func (s *Session) attach(conn net.Conn, handshake time.Time) (net.Conn, error) {
	l := newLink(conn, handshake, linkEvents{granted: s.granted, heard: s.heard, rearmed: s.rearmed})
	s.mu.Lock()
	s.link = l
	s.mu.Unlock()
	if s.ctx.Err() != nil { // or it ends after this, and cuts the link
		s.cut()
		return nil, s.over()
	}
	return l, nil
}

func (s *Session) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	if s.cfg.Dial != nil {
		return s.cfg.Dial(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// secure does the handshake of TLS. The server has to prove the name it was called by.
func (s *Session) secure(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	cfg := s.cfg.TLS.Clone()
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			conn.Close()
			return nil, err
		}
		cfg.ServerName = host
	}
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return secured, nil
}

// connectTimeout leaves time for all servers within a session's.
func (s *Session) connectTimeout() time.Duration {
	if s.cfg.ConnectTimeout > 0 {
		return s.cfg.ConnectTimeout
	}
	return max(s.cfg.SessionTimeout/time.Duration(len(s.servers)), 250*time.Millisecond)
}

// pause waits a little after a failure. The library waits a second too when all
// servers were tried.
func (s *Session) pause() {
	if s.dialing.failures == 0 {
		return
	}
	most := min(time.Duration(s.dialing.failures)*50*time.Millisecond, maxPause)
	select {
	case <-time.After(rand.N(most)):
	case <-s.ctx.Done():
	}
}

// tellUnreached logs the first failure of an outage.
func (s *Session) tellUnreached(address string, err error) {
	if s.dialing.told || s.ctx.Err() != nil {
		return
	}
	s.dialing.told = true
	s.log.Warn("zookeeper not reached", "server", address, "err", err)
}
