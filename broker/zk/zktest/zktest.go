// Package zktest starts real ZooKeeper servers for tests: one, or an ensemble. It
// uses Debian's jars and a java that are there, and installs nothing; a test that
// finds them missing fails and says what to install.
//
// A Server keeps its ports and its data over a restart. Its methods are one
// goroutine's at a time; Address is any goroutine's. All waiting is on what the
// server answers to "srvr", one of ZooKeeper's four-letter words. When the test ends
// the servers are killed, and their data goes with the test's directory.
package zktest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// jar is ZooKeeper as Debian has it. Its manifest names the jars it needs.
const jar = "/usr/share/java/zookeeper.jar"

// patience bounds every wait: a machine with much else to do starts a java slowly.
const patience = 60 * time.Second

// Config says where servers run. The zero value is for most tests.
type Config struct {
	// Dir is where data is kept; by default a directory of the test.
	Dir string
	// Hosts has a server's own address for each server, "10.0.0.3" say; by default all
	// are on 127.0.0.1.
	Hosts []string
	// ClientPort is the same for all servers whose hosts are given; by default each
	// server gets a free one.
	ClientPort int
	// Tick is ZooKeeper's tickTime, 500 ms by default: sessions last from 2 ticks to
	// 60 s, and end on a tick.
	Tick time.Duration
	// Command makes the command line of the i-th server, from 0, out of that which runs
	// it here: to start it in a network namespace, say. By default it stays.
	Command func(i int, argv []string) []string
}

// Start starts one server and waits until it serves.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, 1, Config{}).Servers[0]
}

// StartEnsemble starts n servers that elect a leader, and waits until all serve.
func StartEnsemble(t testing.TB, n int) *Ensemble {
	t.Helper()
	return StartWith(t, n, Config{})
}

// StartWith starts n servers as cfg says and waits until all serve.
func StartWith(t testing.TB, n int, cfg Config) *Ensemble {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	e, err := Launch(n, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// Launch is StartWith for a program that is no test: cfg says where data is kept, and
// Close is to be called in the end.
func Launch(n int, cfg Config) (_ *Ensemble, err error) {
	java, err := needed()
	if err != nil {
		return nil, err
	}
	if cfg.Tick == 0 {
		cfg.Tick = 500 * time.Millisecond
	}
	if cfg.Hosts != nil && len(cfg.Hosts) != n {
		return nil, fmt.Errorf("%d hosts for %d servers", len(cfg.Hosts), n)
	}
	e := &Ensemble{}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	for i := range n {
		s, err := newServer(java, i, cfg)
		if err != nil {
			return nil, err
		}
		e.Servers = append(e.Servers, s)
	}
	for _, s := range e.Servers {
		if err := s.configure(e.Servers, cfg); err != nil {
			return nil, err
		}
		if err := s.launch(); err != nil {
			return nil, err
		}
	}
	for _, s := range e.Servers {
		if err := s.awaitServing(patience); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// needed returns the java to run, or says what is missing.
func needed() (string, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("no java (Debian: apt-get install default-jre-headless): %w", err)
	}
	if _, err := os.Stat(jar); err != nil {
		return "", fmt.Errorf("no ZooKeeper (Debian: apt-get install libzookeeper-java): %w", err)
	}
	return java, nil
}

// Ensemble is servers that are one ZooKeeper.
type Ensemble struct {
	Servers []*Server
}

// Address is the addresses of all servers, as a connect string has them.
func (e *Ensemble) Address() string {
	var addresses []string
	for _, s := range e.Servers {
		addresses = append(addresses, s.Address())
	}
	return strings.Join(addresses, ",")
}

// Leader waits until a server says that it leads, and returns it.
func (e *Ensemble) Leader() (*Server, error) {
	var leader *Server
	err := within(patience, func() error {
		for _, s := range e.Servers {
			if mode, err := s.Mode(); err == nil && (mode == "leader" || mode == "standalone") {
				leader = s
				return nil
			}
		}
		return fmt.Errorf("none of %d servers leads", len(e.Servers))
	})
	return leader, err
}

// Close kills the servers.
func (e *Ensemble) Close() {
	for _, s := range e.Servers {
		s.Kill()
	}
}
