package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/e2e/region/card"
	"github.com/headwater/headwater/appliance/e2e/region/network"
	"github.com/headwater/headwater/appliance/process"
)

// Kind is whose a broker is.
type Kind string

// The kinds of brokers.
const (
	Stock     Kind = "kafka"
	Headwater Kind = "headwater"
)

// BrokerConfig says what a broker is to be.
type BrokerConfig struct {
	Kind      Kind
	ID        int32
	ZooKeeper string // the connect string
	Dir       string
	// Rack is where the broker stands; a reader that says the same reads there.
	Rack string
	// Version is a stock broker's; "" is the newest that has a ZooKeeper mode.
	Version string
	// Protocol is a stock broker's inter.broker.protocol.version; "" is the newest.
	Protocol string
	// CardBytes is the size of a file system of the broker's own, whose power can be cut;
	// 0: it has none.
	CardBytes int64
	// Settings are a stock broker's, as in server.properties.
	Settings map[string]string
	// Binary is headwater's, and Env its settings: "HEADWATER_...=...".
	Binary string
	Env    []string
	// HeapMiB is a stock broker's; 0 is the least that will do.
	HeapMiB int
}

// Broker is one broker of a cluster.
type Broker struct {
	life
	Kind    Kind
	ID      int32
	Address string // for clients
	LogDir  string // has the partitions' directories

	card   *card.Card                                                                // nil: none
	metric func(ctx context.Context, name string, labels ...string) (float64, error) // nil: not headwater's
	launch func(ctx context.Context) error
}

// kafkaPort is the same at all seats.
const kafkaPort = 9092

// NewBroker prepares a broker at a seat. Nothing is started.
func NewBroker(seat *network.Seat, cfg BrokerConfig) (*Broker, error) {
	address, err := seat.Advertise(kafkaPort)
	if err != nil {
		return nil, err
	}
	b := &Broker{life: life{name: seat.Name, seat: seat}, Kind: cfg.Kind, ID: cfg.ID, Address: address}
	if cfg.CardBytes > 0 {
		if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
			return nil, err
		}
		if b.card, err = card.New(cfg.Dir, cfg.CardBytes); err != nil {
			return nil, err
		}
		cfg.Dir = b.card.Dir
	}
	switch cfg.Kind {
	case Stock:
		b.stock(cfg)
	case Headwater:
		b.ours(cfg)
	default:
		return nil, fmt.Errorf("no such kind of broker: %q", cfg.Kind)
	}
	return b, nil
}

func (b *Broker) stock(cfg BrokerConfig) {
	k := &jvm.Broker{
		ID: cfg.ID, Listen: b.seat.Listen(kafkaPort), Advertise: b.Address, ZooKeeper: cfg.ZooKeeper, Dir: cfg.Dir,
		Protocol: cfg.Protocol, Settings: maps.Clone(cfg.Settings), Prefix: b.seat.Prefix(), HeapMiB: cfg.HeapMiB, Version: cfg.Version,
	}
	if cfg.Rack != "" {
		if k.Settings == nil {
			k.Settings = map[string]string{}
		}
		k.Settings["broker.rack"] = cfg.Rack
		k.Settings["replica.selector.class"] = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
	}
	b.program, b.launch, b.LogDir = k, k.Start, k.LogDir()
}

// oursUnlessSet has a cluster of ours notice as soon as a stock one here what fails:
// with the defaults nothing that lasts seconds would end a session.
var oursUnlessSet = map[string]string{
	"HEADWATER_REGION_ROLE":             "hub",
	"HEADWATER_REGION_SESSION_TIMEOUT":  "4s",
	"HEADWATER_REGION_REPLICA_LAG_TIME": "4s",
}

func (b *Broker) ours(cfg BrokerConfig) {
	p := &process.Process{
		Binary: cfg.Binary, DataDir: filepath.Join(cfg.Dir, "data"), Prefix: b.seat.Prefix(),
		Kafka: b.seat.Listen(kafkaPort), NATS: b.seat.Listen(4222), MQTT: b.seat.Listen(1883), Admin: b.seat.Listen(8080),
		Env: append(slices.Clone(cfg.Env), "HEADWATER_REGION_ZOOKEEPER="+cfg.ZooKeeper,
			fmt.Sprint("HEADWATER_REGION_BROKER_ID=", cfg.ID), "HEADWATER_KAFKA_ADVERTISE="+b.Address),
	}
	for name, value := range oursUnlessSet {
		if !slices.ContainsFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			p.Env = append(p.Env, name+"="+value)
		}
	}
	if cfg.Rack != "" {
		p.Env = append(p.Env, "HEADWATER_REGION_RACK="+cfg.Rack)
	}
	b.program, b.LogDir = p, p.DataDir
	b.launch = func(context.Context) error { return p.StartOnly() }
	b.metric = p.Metric
}

// ErrNoMetrics is returned for a broker that is not headwater's.
var ErrNoMetrics = errors.New("has no metrics that are read here")

// Metric returns a metric of headwater's, as process.Process has it.
func (b *Broker) Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	if b.metric == nil {
		return 0, fmt.Errorf("%s %w", b.name, ErrNoMetrics)
	}
	return b.metric(ctx, name, labels...)
}

// ErrNoCard is returned for a broker that has none.
var ErrNoCard = errors.New("has no card whose power could be cut")

// CutPower ends brokers as a power cut that meets all of them at once does: what they had
// not synced is gone. Each must have a card.
func CutPower(brokers ...*Broker) error {
	var errs []error
	for _, b := range brokers {
		if b.card == nil {
			return fmt.Errorf("%s %w", b.name, ErrNoCard)
		}
		errs = append(errs, b.card.Cut())
	}
	for _, b := range brokers {
		errs = append(errs, b.Kill(), b.card.Restore())
	}
	return errors.Join(errs...)
}

// errEnded is returned for a broker that ends where it should serve.
var errEnded = errors.New("ended before it served")

// Start starts the broker, and returns when it lists itself among the live ones. A stock
// broker that finds its own earlier registration ends: it is started until that has
// expired.
func (b *Broker) Start(ctx context.Context) error {
	for {
		before := len(b.Log())
		if err := b.launch(ctx); err != nil {
			return err
		}
		b.begun = true
		b.seat.Started(b.PID())
		err := b.awaitServing(ctx)
		log := b.Log()
		again := errors.Is(err, errEnded) && b.Kind == Stock && strings.Contains(log[min(before, len(log)):], "NodeExists")
		if err == nil || !again {
			return err
		}
	}
}

// askEvery is how often a cluster is asked that is waited for.
const askEvery = 50 * time.Millisecond

func (b *Broker) awaitServing(ctx context.Context) error {
	for {
		if state, err := Ask(ctx, b.Address); err == nil && state.Brokers[b.ID] != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w\n%s", b.name, ctx.Err(), tail(b.Log()))
		case <-b.Ended():
			return fmt.Errorf("%s: %w\n%s", b.name, errEnded, tail(b.Log()))
		case <-time.After(askEvery):
		}
	}
}

// tail are the last lines of a log.
func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}
