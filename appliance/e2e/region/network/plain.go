package network

import (
	"fmt"
	"net"
	"os"
	"time"
)

// plain gives seats loopback addresses, and nothing comes between them: it is for
// measurements.
type plain struct {
	subnet, seats int
}

// Plain makes a network without faults.
func Plain() (Network, error) {
	n := &plain{subnet: 1 + os.Getpid()%250}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.215.%d.1:0", n.subnet))
	if err != nil {
		return nil, fmt.Errorf("no addresses in 127.0.0.0/8 beside 127.0.0.1: %w", err)
	}
	return n, ln.Close()
}

func (n *plain) Join(name string) (*Seat, error) {
	n.seats++
	return &Seat{Name: name, IP: fmt.Sprintf("127.215.%d.%d", n.subnet, 9+n.seats)}, nil
}

func (n *plain) Cut(_, _ *Seat) error             { return ErrCannot }
func (n *plain) Slow(*Seat, int) error            { return ErrCannot }
func (n *plain) Delay(*Seat, time.Duration) error { return ErrCannot }
func (n *plain) Heal() error                      { return nil }
func (n *plain) Close() error                     { return nil }
func (n *plain) Abilities() string                { return "loopback addresses, without faults" }
