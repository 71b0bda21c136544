package zktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is one ZooKeeper server.
type Server struct {
	host                     string
	client, quorum, election int // ports
	dir                      string
	argv                     []string

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process of cmd is gone
}

func newServer(java string, i int, cfg Config) (*Server, error) {
	s := &Server{host: "127.0.0.1", client: cfg.ClientPort, dir: filepath.Join(cfg.Dir, "zookeeper-"+strconv.Itoa(i+1))}
	if cfg.Hosts != nil {
		s.host = cfg.Hosts[i]
	}
	if cfg.Hosts != nil && s.client != 0 { // an address of its own, in a namespace perhaps: nobody else is there
		s.quorum, s.election = s.client+1, s.client+2
	} else {
		for _, port := range []*int{&s.client, &s.quorum, &s.election} {
			var err error
			if *port, err = freePort(); err != nil {
				return nil, err
			}
		}
	}
	s.argv = []string{
		java, "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Djava.net.preferIPv4Stack=true", "-Dzookeeper.jmx.log4j.disable=true", "-Dzookeeper.admin.enableServer=false",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", jar + ":/usr/share/java/slf4j-simple.jar",
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(s.dir, "zoo.cfg"),
	}
	if cfg.Command != nil {
		s.argv = cfg.Command(i, s.argv)
	}
	return s, nil
}

// configure writes the server's zoo.cfg, and its number if it is one of several.
func (s *Server) configure(all []*Server, cfg Config) error {
	if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o755); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "tickTime=%d\ninitLimit=20\nsyncLimit=4\n", cfg.Tick.Milliseconds())
	fmt.Fprintf(&b, "dataDir=%s\nclientPort=%d\nclientPortAddress=%s\n", filepath.Join(s.dir, "data"), s.client, s.host)
	fmt.Fprintf(&b, "minSessionTimeout=%d\nmaxSessionTimeout=60000\nmaxClientCnxns=0\n", 2*cfg.Tick.Milliseconds())
	b.WriteString("4lw.commands.whitelist=*\nadmin.enableServer=false\n")
	if len(all) > 1 {
		for i, other := range all {
			fmt.Fprintf(&b, "server.%d=%s:%d:%d\n", i+1, other.host, other.quorum, other.election)
			if other == s {
				if err := os.WriteFile(filepath.Join(s.dir, "data", "myid"), []byte(strconv.Itoa(i+1)), 0o644); err != nil {
					return err
				}
			}
		}
	}
	return os.WriteFile(filepath.Join(s.dir, "zoo.cfg"), []byte(b.String()), 0o644)
}

// Address is where clients reach the server, host:port.
func (s *Server) Address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.client)) }

// Start starts a server that was stopped or killed, on the same data and ports, and
// waits until it serves: one of an ensemble does only with a majority.
func (s *Server) Start() error {
	if err := s.StartOnly(); err != nil {
		return err
	}
	return s.awaitServing(patience)
}

// StartOnly is Start without the wait.
func (s *Server) StartOnly() error {
	if s.running() {
		return fmt.Errorf("the server at %s runs", s.Address())
	}
	return s.launch()
}

// launch starts the process. It dies with this one: the thread that starts it is
// kept until it has ended, since the kernel counts the thread as the parent.
func (s *Server) launch() error {
	out, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = notOrphaned()
	ended, started := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, mostly
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start ZooKeeper: %w", err)
	}
	s.cmd, s.ended = cmd, ended
	return nil
}

func (s *Server) running() bool {
	if s.ended == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// Kill ends the server at once, as a power cut would, and waits until it is gone.
func (s *Server) Kill() { _ = s.end(syscall.SIGKILL) }

// Stop asks the server to stop, and waits until it has.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

func (s *Server) end(sig syscall.Signal) error {
	if !s.running() {
		return nil
	}
	if err := s.signal(sig); err != nil {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the server at %s does not end", s.Address())
	}
}

// Freeze stops the server's process where it is; its connections stay.
func (s *Server) Freeze() error { return s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	if !s.running() {
		return fmt.Errorf("the server at %s does not run", s.Address())
	}
	return s.cmd.Process.Signal(sig)
}

// Mode is what the server says it is: "standalone", "leader" or "follower". It is an
// error if the server does not serve.
func (s *Server) Mode() (string, error) {
	answer, err := s.Ask("srvr")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(answer) {
		if mode, ok := strings.CutPrefix(strings.TrimSpace(line), "Mode: "); ok {
			return mode, nil
		}
	}
	return "", fmt.Errorf("the server at %s does not serve: %q", s.Address(), answer)
}

// Ask sends one of the four-letter words and returns the answer: "srvr", "cons",
// "dump" (sessions and ephemeral nodes), "wchs" (watches).
func (s *Server) Ask(word string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Address(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	return string(answer), err
}

// Log is the end of what the server has written to its log.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	const most = 4 << 10
	return string(bytes.TrimSpace(text[max(0, len(text)-most):]))
}

func (s *Server) awaitServing(limit time.Duration) error {
	err := within(limit, func() error {
		if !s.running() {
			return errEnded
		}
		_, err := s.Mode()
		return err
	})
	if err != nil {
		return fmt.Errorf("the server at %s: %w\n%s", s.Address(), err, s.Log())
	}
	return nil
}

var errEnded = errors.New("ended by itself")

// within asks until the answer is nil, at most for the limit.
func within(limit time.Duration, ask func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil || errors.Is(err, errEnded) || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}
