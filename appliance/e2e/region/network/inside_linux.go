package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// inside runs f on a thread that is in the namespace. The sockets that f makes stay
// there, whoever uses them. A thread that cannot come back ends with its goroutine.
func inside(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		away, err := os.Open("/run/netns/" + ns)
		if err != nil {
			done <- err
			return
		}
		defer away.Close()
		if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter namespace %s: %w", ns, err)
			return
		}
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func listenIn(ns, address string) (ln net.Listener, err error) {
	err = inside(ns, func() error {
		ln, err = net.Listen("tcp4", address)
		return err
	})
	return ln, err
}

// dialOriginal connects, in the namespace, to where a redirected connection was bound.
func dialOriginal(ns string) func(context.Context, net.Conn) (net.Conn, error) {
	return func(ctx context.Context, accepted net.Conn) (conn net.Conn, err error) {
		address, err := original(accepted.(*net.TCPConn))
		if err != nil {
			return nil, err
		}
		err = inside(ns, func() error {
			var d net.Dialer
			conn, err = d.DialContext(ctx, "tcp4", address)
			return err
		})
		return conn, err
	}
}

// original is the address that a redirected connection was dialled with.
func original(conn *net.TCPConn) (address string, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", err
	}
	const soOriginalDst = 80 // of netfilter; a sockaddr_in, read into what is large enough
	ctrlErr := raw.Control(func(fd uintptr) {
		var m *unix.IPv6Mreq
		if m, err = unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, soOriginalDst); err == nil {
			b := m.Multiaddr
			port := int(b[2])<<8 | int(b[3])
			address = net.JoinHostPort(net.IP(b[4:8]).String(), strconv.Itoa(port))
		}
	})
	if ctrlErr != nil {
		return "", ctrlErr
	}
	return address, err
}

// who finds the seat that dials from an address.
func (n *namespaces) who(conn net.Conn) string {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	for _, s := range n.seats {
		if s.IP == host {
			return s.Name
		}
	}
	return ""
}
