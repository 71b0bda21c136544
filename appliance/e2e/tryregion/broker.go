package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// broker is a hub or the gateway. One goroutine at a time starts and stops it.
type broker struct {
	process.Process
	name     string
	pid, log string // the files with its process id, and with what it writes
}

// newBrokers makes two hubs and a gateway. Their ports are the usual ones and 100, 200
// and 300, so that they do not meet those of a broker that is started by itself.
func newBrokers(dir string, o options) []*broker {
	region := []string{
		"HEADWATER_REGION_ZOOKEEPER=" + loopback(zooKeeperPort+o.shift) + "/headwater",
		"HEADWATER_REGION_REPLICATION_FACTOR=2", "HEADWATER_REGION_OFFSETS_REPLICAS=2", // as many as there are hubs
	}
	brokers := []*broker{
		newBroker(dir, "hub1", 100, o, "HEADWATER_REGION_BROKER_ID=1", "HEADWATER_REGION_RACK=rack-1"),
		newBroker(dir, "hub2", 200, o, "HEADWATER_REGION_BROKER_ID=2", "HEADWATER_REGION_RACK=rack-2"),
		newBroker(dir, "gateway", 300, o),
	}
	for _, b := range brokers {
		b.Env = append(b.Env, region...)
	}
	for _, hub := range brokers[:2] {
		hub.MQTT = "" // none, as its file says
		// What follows when one fails is to be seen soon; and kcat cannot create topics.
		hub.Env = append(hub.Env, "HEADWATER_REGION_SESSION_TIMEOUT=6s",
			"HEADWATER_KAFKA_AUTO_CREATE_TOPICS=true", "HEADWATER_KAFKA_DEFAULT_PARTITIONS=2")
	}
	return brokers
}

func newBroker(dir, name string, above int, o options, env ...string) *broker {
	above += o.shift
	b := &broker{name: name, pid: filepath.Join(dir, name+".pid"), log: filepath.Join(dir, name+".log")}
	b.Process = process.Process{
		Binary: o.binary, DataDir: filepath.Join(dir, name), Args: []string{"--config", filepath.Join(o.configs, strings.TrimRight(name, "12")+".yaml")},
		Kafka: loopback(9092 + above), NATS: loopback(4222 + above), MQTT: loopback(1883 + above), Admin: loopback(8080 + above),
	}
	b.Env = append(env, "HEADWATER_KAFKA_ADVERTISE="+b.Kafka)
	b.Apart = true
	return b
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// start starts the broker and does not wait until it is ready.
func (b *broker) start() error {
	if b.Tee == nil {
		out, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		b.Tee = out // until this process ends
	}
	if err := b.StartOnly(); err != nil {
		return err
	}
	return notePID(b.pid, &b.Program)
}

func notePID(file string, p *process.Program) error {
	return os.WriteFile(file, []byte(strconv.Itoa(p.PID())+"\n"), 0o644)
}

// againAfter is how long a broker is gone that was killed: time to see how the others
// do without it.
const againAfter = 30 * time.Second

// keep starts the broker again when it was killed or stopped in good order, until ctx is
// done. It is an error if it ends with one.
func (b *broker) keep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.Ended():
		}
		code, err := b.Wait(ctx)
		if err != nil {
			return nil // ctx is done
		}
		if code > 0 {
			return fmt.Errorf("%s has ended with exit code %d:\n%s", b.name, code, lastLines(b.Log()))
		}
		fmt.Printf("%s has ended; it is started again in %v\n", b.name, againAfter)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(againAfter):
		}
		if err := b.start(); err != nil {
			return err
		}
		if err := b.AwaitReady(ctx); err != nil {
			continue // told in the next round
		}
		fmt.Printf("%s is there again\n", b.name)
	}
}

// stopWithin bounds a stop in good order.
const stopWithin = time.Minute

// stop stops the broker, if it was started, and waits.
func (b *broker) stop() error {
	defer os.Remove(b.pid)
	return end(&b.Program, b.name)
}

// end stops a program in good order, or else by force. What was killed before is no
// error.
func end(p *process.Program, name string) error {
	if !p.Started() {
		return nil
	}
	select {
	case <-p.Ended():
		return nil
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if _, err := p.Wait(ctx); err != nil {
		return errors.Join(fmt.Errorf("%s does not stop: %w", name, err), p.Kill())
	}
	return nil
}

// lastLines are the end of a log.
func lastLines(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
