// Package controller is the controller role of a cluster: it decides who leads
// which partition and tells the brokers. One broker of a cluster has the role at a
// time, for a term; what it decides stands in ZooKeeper, reached through the Store,
// before anybody is told.
//
// The rules are plain functions (election.go, reassignment.go, alterpartition.go,
// spread.go, imbalance.go). During a term one goroutine, the one that runs Run,
// owns what the controller knows and does all that it does: changes in the Store,
// requests, brokers' answers and timers come to it one at a time. Beside it there
// is one goroutine for each live broker, which sends it its orders (sender.go).
//
// Whether this broker is the controller is not decided here: Run is called when it
// has been elected. The methods for requests may be called from any goroutine; they
// return cluster.ErrNotController while there is no term.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/cluster"
)

// Config is how a controller works. Kafka's name stands beside what Kafka has.
type Config struct {
	BrokerID int32
	Listener string // inter.broker.listener.name
	Versions Versions

	Unclean          bool          // unclean.leader.election.enable, of topics that do not say
	RefuseDeletion   bool          // the opposite of delete.topic.enable
	BalanceEvery     time.Duration // leader.imbalance.check.interval.seconds; 0: auto.leader.rebalance.enable is false
	ImbalancePercent int           // leader.imbalance.per.broker.percentage
	RetryEvery       time.Duration // deletions that a broker refused
	Metrics          prometheus.Registerer
}

// DefaultConfig has Kafka's values.
func DefaultConfig() Config {
	return Config{
		Listener:         "PLAINTEXT",
		Versions:         Versions28,
		BalanceEvery:     5 * time.Minute,
		ImbalancePercent: 10,
		RetryEvery:       10 * time.Second,
	}
}

// Controller has the role for as long as Run runs.
type Controller struct {
	cfg     Config
	dial    func(cluster.Registration) Caller
	log     *slog.Logger
	metrics *metrics
	term    atomic.Pointer[incoming] // nil: not the controller
}

// incoming is how requests get into a term.
type incoming struct {
	requests chan request
	over     chan struct{} // closed when the term is
}

// New returns a Controller that reaches a broker by what dial returns for it.
func New(cfg Config, dial func(cluster.Registration) Caller, log *slog.Logger) *Controller {
	if cfg.Versions == (Versions{}) {
		cfg.Versions = Versions28
	}
	return &Controller{cfg: cfg, dial: dial, log: log, metrics: newMetrics(cfg.Metrics)}
}

// Active reports whether a term runs.
func (c *Controller) Active() bool { return c.term.Load() != nil }

// Run is one term. It returns nil when ctx is done and an error that wraps
// cluster.ErrFenced when another controller has been elected. When the store fails
// otherwise, everything is read anew, as by the next controller.
func (c *Controller) Run(ctx context.Context, controllerEpoch int32, store Store) error {
	in := &incoming{requests: make(chan request), over: make(chan struct{})}
	c.term.Store(in)
	defer close(in.over)
	defer c.term.Store(nil)
	defer c.metrics.clear()
	log := c.log.With("controllerEpoch", controllerEpoch)
	log.Info("controller's term begins")

	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		started := time.Now()
		err := c.round(ctx, controllerEpoch, store, in, log)
		switch {
		case ctx.Err() != nil:
			log.Info("controller's term is over")
			return nil
		case errors.Is(err, cluster.ErrFenced):
			log.Info("controller's term is over: another has been elected")
			return fmt.Errorf("controller epoch %d: %w", controllerEpoch, err)
		}
		log.Error("controller reads everything anew", "err", err)
		if time.Since(started) > lastRetry {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// round works until an error. Nothing is kept from one round to the next but what
// stands in the store.
func (c *Controller) round(ctx context.Context, epoch int32, store Store, in *incoming, log *slog.Logger) error {
	var senders sync.WaitGroup
	defer senders.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	t := &term{
		Controller: c, Store: store, epoch: epoch, log: log,
		answers: make(chan answer),
		brokers: map[int32]*broker{},
		topics:  map[string]*topicInfo{},
		legacy:  map[cluster.TopicPartition]bool{},
		outbox:  map[int32]*orders{},
	}
	t.spawn = func(s *sender) {
		var running context.Context
		running, s.stop = context.WithCancel(ctx)
		senders.Go(func() { s.run(running) })
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	return t.loop(ctx, in.requests)
}

// loop does what there is to do, one thing at a time.
func (t *term) loop(ctx context.Context, requests <-chan request) error {
	balance := ticker(t.cfg.BalanceEvery)
	defer balance.Stop()
	retry := ticker(t.cfg.RetryEvery)
	defer retry.Stop()
	census := time.NewTimer(time.Hour)
	defer census.Stop()
	counting := false // a census is due
	for {
		var err error
		answer := func(error) {}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case change := <-t.Changes():
			err = t.changed(ctx, change)
		case r := <-requests:
			err, answer = r.do(ctx, t), r.answer
		case a := <-t.answers:
			err = t.answered(ctx, a)
		case <-balance.C:
			err = t.balance(ctx)
		case <-retry.C:
			err = t.again(ctx)
		case <-census.C:
			t.metrics.set(t.count())
			counting = false
			continue
		}
		t.flush()
		answer(err)
		if err != nil {
			return err
		}
		if !counting { // at most once a second, however much happens
			counting = true
			census.Reset(time.Second)
		}
	}
}

// again does what has waited for brokers that did not do their part.
func (t *term) again(ctx context.Context) error {
	if err := t.hurryMoves(ctx); err != nil {
		return err
	}
	t.hurryDeletions()
	return t.advanceDeletions(ctx)
}

// ticker is one that never ticks when every is 0.
func ticker(every time.Duration) *time.Ticker {
	if every > 0 {
		return time.NewTicker(every)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}
