package network

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// proxy stands before one port of a seat, or all of them.
type proxy struct {
	to     string // the seat's name
	faults *faults
	// who tells the name of the seat that dialled, "" if none did.
	who func(net.Conn) string
	// dial connects to where the dialler meant to go.
	dial func(ctx context.Context, accepted net.Conn) (net.Conn, error)

	listener net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// start serves connections of ln until stop.
func (p *proxy) start(ln net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	p.listener, p.cancel = ln, cancel
	p.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // no more descriptors, say: those that end make room
				select {
				case <-ctx.Done():
					return
				case <-time.After(10 * time.Millisecond):
				}
				continue
			}
			p.running.Go(func() { p.serve(ctx, conn) })
		}
	})
}

// stop ends the proxy and its connections.
func (p *proxy) stop() {
	p.cancel()
	p.listener.Close()
	p.running.Wait()
}

func (p *proxy) serve(ctx context.Context, near net.Conn) {
	defer near.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := p.who(near)
	// A cut either way keeps a connection from coming about.
	for _, d := range []direction{{from, p.to}, {p.to, from}} {
		if _, ok := p.faults.passing(ctx, d, 0); !ok {
			return
		}
	}
	far, err := p.dial(ctx, near)
	if err != nil {
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	var pumps sync.WaitGroup
	pumps.Go(func() { defer cancel(); p.pump(ctx, far, near, direction{from, p.to}) })
	pumps.Go(func() { defer cancel(); p.pump(ctx, near, far, direction{p.to, from}) })
	pumps.Wait()
}

// chunk is what was read at once.
type chunk struct {
	data []byte
	due  time.Time
}

// under way at most, in each direction of a connection: 64 chunks of 16 KiB.
const (
	maxChunks  = 64
	chunkBytes = 16 << 10
)

// pump carries bytes from src to dst. Either end's end is the connection's.
func (p *proxy) pump(ctx context.Context, dst io.Writer, src io.Reader, d direction) {
	chunks := make(chan chunk, maxChunks)
	var reading sync.WaitGroup
	defer reading.Wait() // ends when the connections are closed, or the chunks are not taken
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reading.Go(func() {
		defer close(chunks)
		for {
			buf := make([]byte, chunkBytes)
			n, err := src.Read(buf)
			if n > 0 {
				select {
				case chunks <- chunk{buf[:n], time.Now().Add(p.faults.delayTo(p.to))}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range chunks {
		takes, ok := p.faults.passing(ctx, d, len(c.data))
		if !ok || !sleep(ctx, max(takes, time.Until(c.due))) {
			return
		}
		if _, err := dst.Write(c.data); err != nil {
			return
		}
	}
}

// sleep reports whether d passed before ctx was done.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
