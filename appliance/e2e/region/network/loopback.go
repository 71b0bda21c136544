package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// loopback gives seats addresses in 127.0.0.0/8, with proxies before their ports.
type loopback struct {
	because error // why there are no namespaces
	subnet  int
	faults  *faults
	seats   []*Seat
	pids    map[string]int // of who has a seat; guarded by faults.mu
	proxies map[string]*proxy
}

// Loopback makes a network that needs no permission. because says why it is not a better
// one.
func Loopback(because error) (Network, error) {
	n := &loopback{
		because: because, subnet: 1 + os.Getpid()%250, faults: newFaults(),
		pids: map[string]int{}, proxies: map[string]*proxy{},
	}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.213.%d.1:0", n.subnet))
	if err != nil {
		return nil, fmt.Errorf("no addresses in 127.0.0.0/8 beside 127.0.0.1: %w", err)
	}
	return n, ln.Close()
}

func (n *loopback) Join(name string) (*Seat, error) {
	s := &Seat{Name: name, index: len(n.seats)}
	s.IP = fmt.Sprintf("127.213.%d.%d", n.subnet, 10+s.index)
	s.advertise = func(port int) (string, error) { return n.advertise(s, port) }
	s.started = func(pid int) {
		n.faults.mu.Lock()
		defer n.faults.mu.Unlock()
		n.pids[name] = pid
	}
	n.seats = append(n.seats, s)
	return s, nil
}

// advertise returns where a proxy listens for a port of a seat, and sees to it that it
// does.
func (n *loopback) advertise(s *Seat, port int) (string, error) {
	address := fmt.Sprintf("127.214.%d.%d:%d", n.subnet, 10+s.index, port)
	if n.proxies[address] != nil {
		return address, nil
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	p := &proxy{to: s.Name, faults: n.faults, who: n.who, dial: func(ctx context.Context, _ net.Conn) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.Listen(port))
	}}
	p.start(ln)
	n.proxies[address] = p
	return address, nil
}

// who finds the process that has the other end of a connection.
func (n *loopback) who(conn net.Conn) string {
	inode := socketInode(conn.RemoteAddr(), conn.LocalAddr())
	if inode == "" {
		return ""
	}
	n.faults.mu.Lock()
	defer n.faults.mu.Unlock()
	for name, pid := range n.pids {
		if hasSocket(pid, inode) {
			return name
		}
	}
	return ""
}

func (n *loopback) Cut(from, to *Seat) error {
	n.faults.setCut(from.Name, to.Name)
	return nil
}

func (n *loopback) Slow(s *Seat, bytesPerSecond int) error {
	n.faults.setRate(s.Name, bytesPerSecond)
	return nil
}

func (n *loopback) Delay(to *Seat, d time.Duration) error {
	n.faults.setDelay(to.Name, d)
	return nil
}

func (n *loopback) Heal() error {
	n.faults.clear()
	return nil
}

func (n *loopback) Close() error {
	for _, p := range n.proxies {
		p.stop()
	}
	return nil
}

func (n *loopback) Abilities() string {
	can := "loopback addresses behind proxies: cuts, rates and delays of bytes, where the advertised address was dialled"
	if n.because != nil {
		can += fmt.Sprintf("; no namespaces: %v", n.because)
	}
	return can
}

// socketInode finds the socket with these addresses in /proc.
func socketInode(local, remote net.Addr) string {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && endsIn(f[1], local) && endsIn(f[2], remote) {
				return f[9]
			}
		}
	}
	return ""
}

// endsIn compares an address as /proc has it, which is the IPv4 address alone or mapped
// to IPv6 in 32-bit words of this machine's order, and the port.
func endsIn(hex string, addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	ip := tcp.IP.To4()
	return ok && ip != nil && strings.HasSuffix(hex, fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], tcp.Port))
}

func hasSocket(pid int, inode string) bool {
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, f := range files {
		if to, err := os.Readlink(dir + f.Name()); err == nil && to == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}
