package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/network"
	"github.com/headwater/headwater/appliance/process"
)

// load is one run of the perf tool.
type load struct {
	name        string
	records     int
	recordBytes int
	perSecond   int // -1: as fast as it goes
}

var loads = []load{
	{"1 KiB, as fast as it goes", 300_000, 1024, -1},
	{"100 B, as fast as it goes", 1_000_000, 100, -1},
	{"1 KiB, 2,000 a second", 30_000, 1024, 2000},
}

const (
	topic      = "bench"
	partitions = 6
	brokers    = 3
	serveLimit = 2 * time.Minute
)

// oneRound starts a side's cluster in dir, measures it and takes it down.
func oneRound(ctx context.Context, o options, s side, dir string, found *table) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	n, err := network.Plain()
	if err != nil {
		return err
	}
	cfg := cluster.Config{Dir: dir, ZooKeepers: 1, Network: n}
	for range brokers {
		cfg.Brokers = append(cfg.Brokers, s.broker)
	}
	starting, cancel := context.WithTimeout(ctx, serveLimit)
	defer cancel()
	c, err := cluster.Start(starting, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	settings := map[string]string{"min.insync.replicas": "2"}
	for key, value := range s.settings {
		settings[key] = value
	}
	if err := cluster.Create(starting, cluster.Topic{Name: topic, Partitions: partitions, Replicas: brokers, Settings: settings}, c.Addresses()...); err != nil {
		return err
	}
	if _, err := produce(ctx, c, load{"warming up", int(200_000 * o.records), 512, -1}); err != nil {
		return err
	}
	for _, l := range loads {
		l.records = int(float64(l.records) * o.records)
		figures, err := produce(ctx, c, l)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		found.add(l.name, s.name, figures)
	}
	took, err := failover(ctx, c)
	if err != nil {
		return err
	}
	found.add(failoverName, s.name, figures{{"first ack after SIGKILL, s", took.Seconds()}})
	return nil
}

const failoverName = "a leader is killed"

// produce runs the perf tool, and holds the brokers' usage before against that after.
func produce(ctx context.Context, c *cluster.Cluster, l load) (figures, error) {
	before, _, err := usage(c)
	if err != nil {
		return nil, err
	}
	out, err := jvm.Run(ctx, jvm.ProducerPerformance, "--topic", topic, "--num-records", fmt.Sprint(l.records),
		"--record-size", fmt.Sprint(l.recordBytes), "--throughput", fmt.Sprint(l.perSecond), "--producer-props",
		"bootstrap.servers="+strings.Join(c.Addresses(), ","), "acks=all", "batch.size=65536", "linger.ms=5", "buffer.memory=67108864")
	if err != nil {
		return nil, err
	}
	after, peak, err := usage(c)
	if err != nil {
		return nil, err
	}
	told, err := parsePerf(out)
	if err != nil {
		return nil, err
	}
	gigabytes := float64(l.records) * float64(l.recordBytes) / 1e9
	return append(told, figure{"CPU s/GB, all brokers", (after - before).Seconds() / gigabytes}, figure{"peak RSS MB, largest broker", float64(peak) / 1e6}), nil
}

// usage is what all brokers have used of the CPU, and the most memory that one has had.
func usage(c *cluster.Cluster) (cpu time.Duration, peakBytes int64, err error) {
	for _, b := range c.Brokers {
		u, err := process.UsageOf(b.PID())
		if err != nil {
			return 0, 0, err
		}
		cpu += u.CPU
		peakBytes = max(peakBytes, u.PeakBytes)
	}
	return cpu, peakBytes, nil
}

var perfLine = regexp.MustCompile(`(\d+) records sent, ([\d.]+) records/sec \(([\d.]+) MB/sec\), ([\d.]+) ms avg latency, ([\d.]+) ms max latency, (\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th, (\d+) ms 99.9th`)

// parsePerf reads the perf tool's last line.
func parsePerf(out string) (figures, error) {
	m := perfLine.FindStringSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("the perf tool says no figures:\n%s", out)
	}
	number := func(i int) float64 {
		v, _ := strconv.ParseFloat(m[i], 64) // the expression lets nothing else through
		return v
	}
	return figures{{"records/s", number(2)}, {"MB/s", number(3)}, {"p50 ms", number(6)}, {"p99 ms", number(8)}, {"p99.9 ms", number(9)}}, nil
}

// failover kills the leader of a partition, to which records are written one by one, and
// returns the time until the first of them is acknowledged that was sent after that.
func failover(ctx context.Context, c *cluster.Cluster) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, serveLimit)
	defer cancel()
	state, err := c.State(ctx)
	if err != nil {
		return 0, err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	write := func() error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("failover")}).FirstErr()
	}
	for range 100 {
		if err := write(); err != nil {
			return 0, err
		}
	}
	leader := c.Broker(state.Topics[topic][0].Leader)
	if leader == nil {
		return 0, fmt.Errorf("nobody leads %s-0: %+v", topic, state)
	}
	if err := leader.Kill(); err != nil {
		return 0, err
	}
	killed := time.Now()
	err = write()
	return time.Since(killed), err
}
