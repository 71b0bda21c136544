// Command tryregion runs a region on this machine for who wants to see one: a real
// ZooKeeper, two hubs and a gateway, each a process of its own on loopback ports. It
// prints what to type, and runs until it is told to stop or a part fails. `make region`
// is how it is started.
//
// The brokers' settings are those of configs/hub.yaml and configs/gateway.yaml, but for
// addresses and what two hubs on one machine need otherwise. A broker that is killed, or
// stopped in good order, is started again after a while, as a supervisor would; one that
// ends with an error ends all, and so does ZooKeeper. Data is kept, and the next start
// goes on with it. It needs Linux, and ZooKeeper as Debian has it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater/headwater/appliance/e2e/region/cluster"
)

// options are the command's flags.
type options struct {
	binary, configs, dir string
	shift                int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var o options
	flag.StringVar(&o.binary, "binary", "bin/headwater", "headwater's program")
	flag.StringVar(&o.configs, "configs", "configs", "directory of hub.yaml and gateway.yaml")
	flag.StringVar(&o.dir, "dir", "data/region", "where data and logs are kept")
	flag.IntVar(&o.shift, "shift", 0, "added to every port")
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "region:", err)
		os.Exit(1)
	}
}

// startWithin bounds the start of all, on a slow machine.
const startWithin = 2 * time.Minute

// run starts all, and ends it when ctx is done or a part fails.
func run(ctx context.Context, o options) (err error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	z, brokers := newZooKeeper(dir, o.shift), newBrokers(dir, o)
	if err := portsFree(z, brokers); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopAll(z, brokers)) }()
	if err := startAll(ctx, z, brokers); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop
		}
		return err
	}
	fmt.Print(guide(o.dir, z, brokers))
	return watch(ctx, z, brokers)
}

// startAll returns when each broker knows all of them.
func startAll(ctx context.Context, z *zooKeeper, brokers []*broker) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	fmt.Println("starting ZooKeeper, two hubs and a gateway")
	if err := z.start(ctx); err != nil {
		return err
	}
	var addresses []string
	for _, b := range brokers {
		if err := b.start(); err != nil {
			return err
		}
		addresses = append(addresses, b.Kafka)
	}
	for _, b := range brokers {
		if err := b.AwaitReady(ctx); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return cluster.Await(ctx, "all brokers", func(s *cluster.State) bool {
		return len(s.Brokers) == len(brokers) && s.Controller >= 0
	}, addresses...)
}

// watch returns when ctx is done, or a part has failed.
func watch(ctx context.Context, z *zooKeeper, brokers []*broker) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, b := range brokers {
		g.Go(func() error { return b.keep(ctx) })
	}
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-z.Ended():
			return fmt.Errorf("ZooKeeper has ended:\n%s", lastLines(z.Log()))
		}
	})
	return g.Wait()
}

// stopAll stops the gateway first, and ZooKeeper when nobody needs it any more.
func stopAll(z *zooKeeper, brokers []*broker) error {
	fmt.Println("stopping")
	var errs []error
	for i := range brokers {
		errs = append(errs, brokers[len(brokers)-1-i].stop())
	}
	errs = append(errs, z.stop())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Println("all is stopped; the data stays")
	return nil
}
