package zk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Config is where ZooKeeper is and how to be there.
type Config struct {
	// Connect is "host:port,host:port/chroot"; ports are 2181 where not said.
	Connect string
	// SessionTimeout is asked for; ZooKeeper may shorten or lengthen it.
	SessionTimeout time.Duration
	// ConnectTimeout bounds a connection until its first answer; 0 divides the session's
	// time by the number of servers.
	ConnectTimeout time.Duration
	// TLS is nil for plain connections. Without a ServerName the server's name in
	// Connect is the one to prove.
	TLS *tls.Config
	// Digest is "user:password", or empty.
	Digest string
	// SetACL has new nodes writable by the creator alone, as zookeeper.set.acl does.
	SetACL bool
	// Own says whether a session was an earlier one of this broker, whose registration
	// may be taken over. The Client knows those of its own life; nil knows no others.
	Own func(sessionID int64) bool
	// Dial is nil for the net package's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// DefaultConfig has Kafka's session timeout.
func DefaultConfig() Config { return Config{SessionTimeout: 18 * time.Second} }

const defaultPort = 2181

// ParseConnect splits a connect string into servers, host:port each, and the chroot:
// "" or a path without a slash at its end.
func ParseConnect(connect string) (servers []string, chroot string, err error) {
	list := connect
	if i := strings.IndexByte(connect, '/'); i >= 0 {
		list, chroot = connect[:i], strings.TrimSuffix(connect[i:], "/")
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(chroot, "/"), "/") {
		if err := checkName(name); chroot != "" && err != nil {
			return nil, "", fmt.Errorf("chroot %q: %w", chroot, err)
		}
	}
	for server := range strings.SplitSeq(list, ",") {
		address, err := withPort(strings.TrimSpace(server))
		if err != nil {
			return nil, "", fmt.Errorf("server %q: %w", server, err)
		}
		servers = append(servers, address)
	}
	return servers, chroot, nil
}

func withPort(server string) (string, error) {
	if server == "" {
		return "", errors.New("no host")
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil { // without a port, mostly
		host, port = strings.Trim(server, "[]"), strconv.Itoa(defaultPort)
		if strings.Contains(host, ":") && !strings.HasPrefix(server, "[") {
			return "", errors.New("an IPv6 address stands in brackets")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q", port)
	}
	if host == "" {
		return "", errors.New("no host")
	}
	return net.JoinHostPort(host, port), nil
}

// checkName says whether a name from outside can be one node's.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 1024 {
		return fmt.Errorf("%q %w", name, ErrInvalidName)
	}
	for _, r := range name {
		if r == '/' || r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0 && r <= 0xffff {
			return fmt.Errorf("%q %w", name, ErrInvalidName)
		}
	}
	return nil
}

// Validate reports all that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if _, _, err := ParseConnect(c.Connect); err != nil {
		errs = append(errs, err)
	}
	if c.SessionTimeout < time.Second || c.SessionTimeout > 10*time.Minute {
		errs = append(errs, fmt.Errorf("session timeout: %v is not between 1 s and 10 min", c.SessionTimeout))
	}
	if c.ConnectTimeout < 0 {
		errs = append(errs, fmt.Errorf("connect timeout: %v is negative", c.ConnectTimeout))
	}
	if c.Digest != "" && !strings.Contains(c.Digest, ":") {
		errs = append(errs, errors.New("digest: not of the form user:password"))
	}
	if c.SetACL && c.Digest == "" {
		errs = append(errs, errors.New("ACLs need a digest: nobody could write the nodes else"))
	}
	return errors.Join(errs...)
}
