// Package network puts programs of a test on a network of their own, and comes between
// them: it cuts, slows and delays what one of them sends to another.
//
// Where it may, that is as root on Linux with ip, nft and tc, each program has a network
// namespace with an address on a bridge: a cut drops its packets, as a cable would. Else
// each has a loopback address of its own that only a proxy connects to, which tells who
// dials by whose socket it is: a cut holds the bytes back, and nobody's packets are lost.
// What a network can do is asked of it (Abilities), and said in the tests' output.
//
// A fault comes between two seats and in one direction. The test itself, which has no
// seat, reaches all of them always. A Network is one goroutine's, but for Heal and
// Close; the proxies' goroutines end with Close.
package network

import (
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// ErrCannot is returned for a fault that this network cannot make.
var ErrCannot = errors.New("this network cannot do that")

// Network has seats, and the faults between them.
type Network interface {
	// Join makes a seat. Its name is short, of letters and digits.
	Join(name string) (*Seat, error)
	// Cut lets nothing from one seat arrive at the other.
	Cut(from, to *Seat) error
	// Slow bounds what a seat sends, and what is sent to it, in bytes a second.
	Slow(s *Seat, bytesPerSecond int) error
	// Delay adds to the time that bytes take on connections to a seat that others dial,
	// each way. Connections that stand may end.
	Delay(to *Seat, d time.Duration) error
	// Heal ends all faults.
	Heal() error
	// Close heals, and takes the network down. What runs on it should have ended.
	Close() error
	// Abilities says what kind of network it is, and what it can do.
	Abilities() string
}

// Seat is one program's place on the network.
type Seat struct {
	Name string
	// IP is where the program listens.
	IP string

	prefix    []string                       // of commands that run there
	advertise func(port int) (string, error) // nil: it is where it listens
	started   func(pid int)                  // nil: nobody has to know
	index     int
}

// Listen is the address that the program itself takes.
func (s *Seat) Listen(port int) string { return fmt.Sprintf("%s:%d", s.IP, port) }

// Advertise is the address that others, and the test, dial.
func (s *Seat) Advertise(port int) (string, error) {
	if s.advertise == nil {
		return s.Listen(port), nil
	}
	return s.advertise(port)
}

// Prefix are the words before a command that make it run at the seat.
func (s *Seat) Prefix() []string { return s.prefix }

// Started says which process has the seat now.
func (s *Seat) Started(pid int) {
	if s.started != nil {
		s.started(pid)
	}
}

// New makes the best network that is permitted here.
func New() (Network, error) {
	n, err := Namespaces()
	if err == nil {
		return n, nil
	}
	n2, err2 := Loopback(err)
	if err2 != nil {
		return nil, errors.Join(err, err2)
	}
	return n2, nil
}

// run runs a command of the system, with text as its input.
func run(text string, words ...string) error {
	cmd := exec.Command(words[0], words[1:]...)
	if text != "" {
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			defer in.Close()
			fmt.Fprint(in, text)
		}()
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", words, err, out)
	}
	return nil
}
