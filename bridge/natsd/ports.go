package natsd

import (
	"errors"
	"fmt"
	"net"
)

// The listeners of a Server, as PortErrors name them.
const (
	Clients   = "listen"
	WebSocket = "websocket.listen"
	LeafNodes = "leafnodes.listen"
)

// PortError tells which listener cannot have its port.
type PortError struct {
	Listener string // Clients, WebSocket or LeafNodes
	Address  string
	Err      error
}

func (e *PortError) Error() string { return fmt.Sprintf("%s: %v", e.Listener, e.Err) }
func (e *PortError) Unwrap() error { return e.Err }

// port is one that is held until nats-server takes it. The zero port is of a listener
// that is off.
type port struct {
	held net.Listener
	addr *net.TCPAddr
}

// hold takes hold of address, if it is not empty.
func hold(listener, address string) (port, error) {
	if address == "" {
		return port{}, nil
	}
	held, err := net.Listen("tcp", address)
	if err != nil {
		return port{}, &PortError{listener, address, err}
	}
	return port{held, held.Addr().(*net.TCPAddr)}, nil
}

// release lets go of the port.
func (p port) release() {
	if p.held != nil {
		p.held.Close()
	}
}

func (p port) on() bool     { return p.addr != nil }
func (p port) host() string { return p.addr.IP.String() }
func (p port) number() int  { return p.addr.Port }

func (p port) address() net.Addr {
	if !p.on() {
		return nil
	}
	return p.addr
}

// hold takes all ports or none, and tells of each that cannot be had.
func (s *Server) hold() error {
	var clients port
	var errs [3]error
	clients, errs[0] = hold(Clients, s.cfg.Listen)
	s.webSocket, errs[1] = hold(WebSocket, s.cfg.WebSocket)
	s.leafNodes, errs[2] = hold(LeafNodes, s.cfg.LeafNodes)
	s.held, s.addr = clients.held, clients.addr
	err := errors.Join(errs[:]...)
	if err != nil {
		s.releaseAll()
	}
	return err
}

func (s *Server) releaseAll() {
	port{held: s.held}.release()
	s.webSocket.release()
	s.leafNodes.release()
}
