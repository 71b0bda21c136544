package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater/headwater/appliance/process"
)

// side is a server that is measured.
type side struct {
	name       string
	nats, mqtt string // where clients dial, host:port; "" for not at all
	stream     string // that has what is published on telemetry.>
	start      func(ctx context.Context) error
	stop       func() error
	pid        func() int
	syncs      func(ctx context.Context) (float64, error) // nil where the side does not tell
}

const (
	headwaterName = "headwater"
	alwaysName    = "JetStream, sync_interval: always"
	defaultName   = "JetStream, its default"
	mosquittoName = "mosquitto, persistence on"
)

// binaries are the programs of the sides, and where their data goes.
type binaries struct{ headwater, nats, dir string }

func headwaterSide(b binaries) *side {
	s := &side{name: headwaterName, stream: "telemetry-0"}
	p, err := process.New(b.headwater, filepath.Join(b.dir, "headwater"))
	if err != nil {
		s.start, s.stop = func(context.Context) error { return err }, func() error { return nil }
		return s
	}
	p.Env = []string{"HEADWATER_LOG_LEVEL=error"}
	s.nats, s.mqtt = p.NATS, p.MQTT
	s.start, s.stop, s.pid = p.Start, p.Kill, p.PID
	s.syncs = func(ctx context.Context) (float64, error) { return p.Metric(ctx, "headwater_commit_syncs_total") }
	return s
}

func alwaysSide(b binaries) *side {
	return jetStreamSide(alwaysName, b, filepath.Join(b.dir, "always"), "sync_interval: always")
}

func defaultSide(b binaries) *side {
	return jetStreamSide(defaultName, b, filepath.Join(b.dir, "default"), "")
}

// jetStreamSide is a nats-server with one stream.
func jetStreamSide(name string, b binaries, dir, sync string) *side {
	return peer(name, dir, func(s *side, address string) (*exec.Cmd, error) {
		s.nats, s.stream = address, "telemetry"
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		conf := fmt.Sprintf("host: %s\nport: %s\njetstream {\n store_dir: %q\n %s\n}\n", host, port, dir, sync)
		file := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
			return nil, err
		}
		return exec.Command(b.nats, "-c", file), nil
	}, func(ctx context.Context, s *side) error {
		nc, err := nats.Connect("nats://" + s.nats)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: s.stream, Subjects: []string{"telemetry.>"}, Storage: jetstream.FileStorage, MaxBytes: 1 << 30, Discard: jetstream.DiscardOld,
		})
		return err
	})
}

func mosquittoSide(b binaries) *side {
	dir := filepath.Join(b.dir, "mosquitto")
	return peer(mosquittoName, dir, func(s *side, address string) (*exec.Cmd, error) {
		s.mqtt = address
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		conf := fmt.Sprintf("listener %s %s\nallow_anonymous true\nuser root\npersistence true\npersistence_location %s/\nmax_queued_messages 0\n", port, host, dir)
		file := filepath.Join(dir, "mosquitto.conf")
		if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
			return nil, err
		}
		return exec.Command("mosquitto", "-c", file), nil
	}, func(context.Context, *side) error { return nil })
}

// peer is a side that is somebody else's program: command makes it, and prepare is
// called once it listens.
func peer(name, dir string, command func(s *side, address string) (*exec.Cmd, error), prepare func(ctx context.Context, s *side) error) *side {
	s := &side{name: name}
	var cmd *exec.Cmd
	s.start = func(ctx context.Context) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		address, err := process.FreeAddress()
		if err != nil {
			return err
		}
		if cmd, err = command(s, address); err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			cmd = nil
			return err
		}
		return errors.Join(listening(ctx, address), prepare(ctx, s))
	}
	s.pid = func() int { return cmd.Process.Pid }
	s.stop = func() error {
		if cmd == nil {
			return nil
		}
		err := cmd.Process.Kill()
		cmd.Wait() // it was killed, which is an error
		return err
	}
	return s
}

// listening waits until somebody listens on address.
func listening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", address, err)
		case <-tick.C:
		}
	}
}
