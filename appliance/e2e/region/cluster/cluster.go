package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/headwater/headwater/appliance/e2e/region/network"
)

// Config says what a cluster is to be.
type Config struct {
	Dir        string // everything is kept below it
	ZooKeepers int
	Brokers    []BrokerConfig  // their ids, if 0, their addresses and directories are given to them
	Network    network.Network // nil: the best that is permitted
	InTurn     bool            // the first broker serves before the second is started: it is the controller, if it may
}

// Cluster is brokers and ZooKeeper servers on a network.
type Cluster struct {
	Network    network.Network
	ZooKeepers []*ZooKeeper
	Brokers    []*Broker
	// Connect is ZooKeeper's connect string.
	Connect string

	stopZooKeeper func()
}

// Start starts a cluster, and returns when all brokers serve. What was started is ended
// again if that fails.
func Start(ctx context.Context, cfg Config) (c *Cluster, err error) {
	c = &Cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.Network = cfg.Network; c.Network == nil {
		if c.Network, err = network.New(); err != nil {
			return c, err
		}
	}
	var seats []*network.Seat
	for i := range cfg.ZooKeepers {
		seat, err := c.Network.Join(fmt.Sprint("z", i+1))
		if err != nil {
			return c, err
		}
		seats = append(seats, seat)
	}
	for i, b := range cfg.Brokers {
		if b.ID == 0 {
			b.ID = int32(i + 1)
		}
		seat, err := c.Network.Join(fmt.Sprint("b", b.ID))
		if err != nil {
			return c, err
		}
		b.Dir = filepath.Join(cfg.Dir, seat.Name)
		cfg.Brokers[i] = b
		seats = append(seats, seat)
	}
	c.ZooKeepers, c.Connect, c.stopZooKeeper, err = ensemble(cfg.Dir, seats[:cfg.ZooKeepers])
	if err != nil {
		return c, err
	}
	for i, b := range cfg.Brokers {
		b.ZooKeeper = c.Connect
		broker, err := NewBroker(seats[cfg.ZooKeepers+i], b)
		if err != nil {
			return c, err
		}
		c.Brokers = append(c.Brokers, broker)
	}
	if cfg.InTurn {
		for _, b := range c.Brokers {
			if err := b.Start(ctx); err != nil {
				return c, err
			}
		}
	}
	if err := c.StartBrokers(ctx); err != nil {
		return c, err
	}
	return c, c.awaitAll(ctx)
}

// awaitAll waits until every broker knows of all: one that lists itself may have heard of
// the others, and not they of it.
func (c *Cluster) awaitAll(ctx context.Context) error {
	return Await(ctx, "all brokers alive", func(s *State) bool { return len(s.Brokers) == len(c.Brokers) }, c.Addresses()...)
}

// StartBrokers starts those that do not run, all at once.
func (c *Cluster) StartBrokers(ctx context.Context) error {
	return c.each(func(b *Broker) error {
		if b.Running() {
			return nil
		}
		return b.Start(ctx)
	})
}

// StopBrokers ends all of them in good order, all at once.
func (c *Cluster) StopBrokers(ctx context.Context) error {
	return c.each(func(b *Broker) error { return b.Stop(ctx) })
}

// each does something to all brokers at once.
func (c *Cluster) each(do func(*Broker) error) error {
	errs := make([]error, len(c.Brokers))
	var all sync.WaitGroup
	for i, b := range c.Brokers {
		all.Go(func() { errs[i] = do(b) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close kills all that runs, and takes the network down. It may be called again.
func (c *Cluster) Close() error {
	var errs []error
	for _, b := range c.Brokers {
		errs = append(errs, b.Kill())
		if b.card != nil {
			errs = append(errs, b.card.Close())
			b.card = nil
		}
	}
	if c.stopZooKeeper != nil {
		c.stopZooKeeper()
	}
	if c.Network != nil {
		errs = append(errs, c.Network.Close())
		c.Network = nil
	}
	return errors.Join(errs...)
}

// Machines are all, the brokers first.
func (c *Cluster) Machines() (all []Machine) {
	for _, b := range c.Brokers {
		all = append(all, b)
	}
	for _, z := range c.ZooKeepers {
		all = append(all, z)
	}
	return all
}

// Addresses are those of the brokers.
func (c *Cluster) Addresses() (addresses []string) {
	for _, b := range c.Brokers {
		addresses = append(addresses, b.Address)
	}
	return addresses
}

// Broker returns the one with an id.
func (c *Cluster) Broker(id int32) *Broker {
	for _, b := range c.Brokers {
		if b.ID == id {
			return b
		}
	}
	return nil
}

// State asks the brokers in turn until one answers.
func (c *Cluster) State(ctx context.Context) (*State, error) {
	var errs []error
	for _, b := range c.Brokers {
		state, err := Ask(ctx, b.Address)
		if err == nil {
			return state, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", b.name, err))
	}
	return nil, errors.Join(errs...)
}

// Revive ends all faults, and starts what does not run.
func (c *Cluster) Revive(ctx context.Context) error {
	errs := []error{c.Network.Heal()}
	for _, m := range c.Machines() {
		errs = append(errs, m.Thaw())
	}
	for _, z := range c.ZooKeepers {
		if !z.Running() {
			errs = append(errs, z.Start(ctx))
		}
	}
	return errors.Join(append(errs, c.StartBrokers(ctx))...)
}

// Recover revives all, and waits until no partition moves and every partition of a topic has all its replicas in
// the ISR, as all brokers say.
func (c *Cluster) Recover(ctx context.Context, topic string) error {
	if err := c.Revive(ctx); err != nil {
		return err
	}
	if err := c.awaitMoved(ctx); err != nil {
		return err
	}
	return Await(ctx, "all replicas of "+topic+" in sync", func(s *State) bool {
		return InSync(s, topic) && len(s.Brokers) == len(c.Brokers)
	}, c.Addresses()...)
}
