package zk

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between a client and a server, and does to the bytes what networks do.
type proxy struct {
	target string
	ln     net.Listener

	mu     sync.Mutex // guards all below
	mode   mode
	open   chan struct{} // closed when the mode is not hole
	conns  map[net.Conn]struct{}
	cuts   int
	ending bool
}

type mode int

const (
	pass       mode = iota
	hole            // nothing goes through, and nobody is told
	refuse          // connections are closed at once
	cutAnswers      // the answer to the next write is lost, with its connection
	cutNext         // the write has passed
)

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, ln: ln, conns: map[net.Conn]struct{}{}, open: make(chan struct{})}
	close(p.open)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		p.mu.Lock()
		p.ending = true
		p.mu.Unlock()
		ln.Close()
		p.set(refuse)
		running.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.ln.Addr().String() }

// set changes what happens from now on.
func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.mode
	p.mode = m
	if m == hole && was != hole {
		p.open = make(chan struct{})
	}
	if m != hole && was == hole {
		close(p.open)
	}
	if m == refuse {
		for conn := range p.conns {
			conn.Close()
		}
	}
}

func (p *proxy) cutsSoFar() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// add notes a connection, unless it is not to be.
func (p *proxy) add(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == refuse || p.ending {
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.add(client) {
		return
	}
	p.await()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.add(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, false); server.Close(); client.Close() })
	both.Go(func() { p.copy(client, server, true); server.Close(); client.Close() })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// await waits out a hole.
func (p *proxy) await() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

func (p *proxy) copy(to io.Writer, from io.Reader, answers bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.await()
		if n > 0 && p.cut(buf[:n], answers) {
			return
		}
		if _, writeErr := to.Write(buf[:n]); writeErr != nil || err != nil {
			return
		}
	}
}

// cut reports whether this answer is to be lost. The next is not. A request comes as
// one packet: its length, its number, its operation.
func (p *proxy) cut(packet []byte, answer bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !answer && p.mode == cutAnswers && len(packet) >= 12 && isWrite(packet[11]):
		p.mode = cutNext
	case answer && p.mode == cutNext:
		p.mode = pass
		p.cuts++
		return true
	}
	return false
}

func isWrite(op byte) bool { return op == 1 || op == 2 || op == 5 || op == 14 } // create, delete, setData, multi
