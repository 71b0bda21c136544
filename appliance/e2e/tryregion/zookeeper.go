package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// zooKeeperPort is 100 above the usual one.
const zooKeeperPort = 2281

// jars are ZooKeeper as Debian has it, whose manifest names what it needs, and a logger.
const jars = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar"

// zooKeeper is one server, alone.
type zooKeeper struct {
	process.Program
	dir, address string
	pid, log     string // the files with its process id, and with what it writes
}

func newZooKeeper(dir string, shift int) *zooKeeper {
	z := &zooKeeper{dir: filepath.Join(dir, "zookeeper"), address: loopback(zooKeeperPort + shift)}
	z.pid, z.log = filepath.Join(dir, "zookeeper.pid"), filepath.Join(dir, "zookeeper.log")
	z.Apart = true
	return z
}

// settings are its zoo.cfg.
func (z *zooKeeper) settings() string {
	host, port, _ := net.SplitHostPort(z.address)
	return fmt.Sprintf(`# Written at each start of make region.
dataDir=%s
clientPortAddress=%s
clientPort=%s
# Sessions last from 2 to 20 ticks, in milliseconds.
tickTime=2000
admin.enableServer=false
4lw.commands.whitelist=srvr,stat,cons,dump,mntr,wchs
`, z.dir, host, port)
}

// start starts the server and waits until it serves.
func (z *zooKeeper) start(ctx context.Context) error {
	if err := os.MkdirAll(z.dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(z.dir, "zoo.cfg")
	if err := os.WriteFile(file, []byte(z.settings()), 0o644); err != nil {
		return err
	}
	out, err := os.OpenFile(z.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	z.Tee = out // until this process ends
	err = z.Launch(exec.Command("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true",
		"-Dzookeeper.jmx.log4j.disable=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", jars, "org.apache.zookeeper.server.quorum.QuorumPeerMain", file))
	if err == nil {
		err = notePID(z.pid, &z.Program)
	}
	if err != nil {
		return err
	}
	return z.awaitServing(ctx)
}

// askEvery is how often a server that starts is asked whether it serves.
const askEvery = 50 * time.Millisecond

func (z *zooKeeper) awaitServing(ctx context.Context) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		err := z.serves()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ZooKeeper does not serve: %w\n%s", errors.Join(ctx.Err(), err), lastLines(z.Log()))
		case <-z.Ended():
			return fmt.Errorf("ZooKeeper ended before it served:\n%s", lastLines(z.Log()))
		case <-tick.C:
		}
	}
}

// serves asks by one of ZooKeeper's words of four letters.
func (z *zooKeeper) serves() error {
	conn, err := net.DialTimeout("tcp", z.address, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "srvr"); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 64<<10))
	if err == nil && !strings.Contains(string(answer), "Mode: ") {
		err = fmt.Errorf("it answers %q", answer)
	}
	return err
}

// stop stops the server, if it was started, and waits.
func (z *zooKeeper) stop() error {
	defer os.Remove(z.pid)
	return end(&z.Program, "ZooKeeper")
}
