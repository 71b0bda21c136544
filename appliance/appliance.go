// Package appliance puts broker, bridge and admin together: it takes the ports,
// opens the data directory, starts the parts and stops them in reverse.
//
// It decides nothing about records. New writes nothing before every port is had;
// Run is called once, and waits for all it started. Settings come checked, from
// package config; sizes are bytes.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/appliance/admin"
	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/bridge"
	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
)

// Appliance is one box: a broker, the bridge to its devices and the admin port.
type Appliance struct {
	log     *slog.Logger
	started time.Time
	parts   []part
	address addresses
}

// addresses are where it can be reached, for the log.
type addresses struct{ kafka, nats, admin string }

// New takes the ports that cfg names, then opens the data directory and recovers
// what is in it. memoryLimit is the ceiling for the whole process, 0 for none.
// What the settings caused, a port in use or a data directory that another
// process holds, is told as config.Problems, and then nothing was written.
func New(cfg config.Config, memoryLimit int64, log *slog.Logger) (*Appliance, error) {
	a := &Appliance{log: log, started: time.Now()}
	p, err := bind(cfg)
	if err != nil {
		return nil, err
	}
	if err := a.assemble(cfg, budgetsUnder(memoryLimit, cfg.Topics.MaxMessageBytes), p); err != nil {
		p.close()
		return nil, err
	}
	return a, nil
}

func (a *Appliance) assemble(cfg config.Config, memory budgets, p *ports) error {
	brokerCfg, err := brokerConfig(cfg, memory, p)
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	broker, err := broker.Open(brokerCfg, p.kafka, a.log, reg)
	if err != nil {
		return dataProblem(cfg.Data.Dir, err)
	}
	a.address.kafka, a.address.admin = p.kafka.Addr().String(), p.admin.Addr().String()
	if a.address.nats, err = p.releaseNATS(cfg.NATS); err != nil {
		return errors.Join(err, closeUnused(broker))
	}
	bridge, err := bridge.New(bridgeConfig(cfg, memory, a.address.nats), broker, a.log, reg)
	if err != nil {
		return errors.Join(err, closeUnused(broker))
	}
	admin, err := admin.New(p.admin, []admin.Part{
		{Name: "broker", Ready: broker.Ready},
		{Name: "bridge", Ready: bridge.Ready},
	}, a.log, reg)
	if err != nil {
		return errors.Join(err, closeUnused(broker))
	}
	// In the order of starting: each stands on those before it.
	a.parts = []part{
		{"admin", admin.Run, func() error { return nil }},
		{"broker", broker.Run, broker.Ready},
		{"bridge", bridge.Run, bridge.Ready},
	}
	return nil
}

// Run serves until ctx is done or a part fails. On the way out the bridge
// finishes what it took, then the broker, which syncs and closes its logs; admin
// ends last, so that one can look on.
func (a *Appliance) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { a.log.Info("stopping") })()
	err := runInOrder(ctx, a.parts, func() {
		a.log.Info("ready", "kafka", a.address.kafka, "nats", a.address.nats, "admin", a.address.admin, "took", time.Since(a.started))
	})
	if err == nil {
		a.log.Info("stopped")
	}
	return err
}

func brokerConfig(cfg config.Config, memory budgets, p *ports) (broker.Config, error) {
	durability, err := commitlog.ParsePolicy(cfg.Data.Durability)
	if err != nil {
		return broker.Config{}, fmt.Errorf("data.durability: %w", err)
	}
	advertise, err := advertised(cfg.Kafka, p.kafka, os.Hostname)
	if err != nil {
		return broker.Config{}, err
	}
	return broker.Config{
		DataDir:           cfg.Data.Dir,
		Durability:        durability,
		SyncInterval:      cfg.Data.SyncInterval,
		BrokerID:          brokerID,
		Advertise:         advertise,
		AutoCreateTopics:  cfg.Kafka.AutoCreateTopics,
		DefaultPartitions: cfg.Kafka.DefaultPartitions,
		MaxPartitions:     cfg.Kafka.MaxPartitions,
		TopicDefaults:     cfg.Topics,
		MaxConnections:    cfg.Kafka.MaxConnections,
		ProduceBytes:      memory.produce,
		FetchBytes:        memory.fetch,
	}, nil
}

// brokerID is that of a box that belongs to no cluster.
const brokerID = 1

func bridgeConfig(cfg config.Config, memory budgets, address string) bridge.Config {
	buffer := cfg.Bridge.Buffer
	if buffer == config.BufferAuto {
		buffer = memory.bridge
	}
	return bridge.Config{
		Listen:      address,
		Rules:       cfg.Bridge.Rules,
		MaxPayload:  int32(cfg.NATS.MaxPayload),
		BufferBytes: buffer,
	}
}

// dataProblem makes a sentence about data.dir of errors that the setting caused.
func dataProblem(dir string, err error) error {
	problem := func(text string) error {
		return config.Problems{{Key: "data.dir", Text: dir + " " + text}}
	}
	switch {
	case errors.Is(err, disk.ErrLocked):
		return problem("is held by another process; allowed is one that no other holds")
	case errors.Is(err, fs.ErrPermission):
		return problem("may not be written by this user; allowed is one that may")
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EROFS):
		return problem("cannot be made; allowed is a directory on a disk that can be written")
	}
	return err
}

// closeUnused closes a broker that was opened and is not going to run: one that
// is told to stop before it starts closes its logs and ends.
func closeUnused(b *broker.Broker) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return b.Run(ctx)
}
