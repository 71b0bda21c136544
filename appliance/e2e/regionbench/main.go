// Command regionbench measures a region of headwater beside one of stock Kafka 3.9 in
// ZooKeeper mode: three brokers, three replicas, acks=all, Kafka's own perf tool for both.
// It prints throughput, latency, CPU seconds and memory of the brokers, and how long
// after a leader's SIGKILL the first write is acknowledged by another. The tables are
// Markdown.
//
// Sides take turns, round by round, each on a cluster of its own that is made anew; each
// figure is the median of the rounds. Clients, brokers and ZooKeeper share the machine, so
// that CPU seconds say more than rates. Neither side's log is synced by default at Kafka,
// always at headwater: a side of each has the other's way. It is for `make bench`, and holds
// no figure against its aim.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/process"
)

// options are the command's flags.
type options struct {
	rounds  int
	records float64 // times what is set
	session time.Duration
	only    *regexp.Regexp
	env     []string
	binary  string
	dir     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each side")
	flag.Float64Var(&o.records, "records", 1, "how many records are sent, times what is set")
	flag.DurationVar(&o.session, "session", 6*time.Second, "Kafka's session with ZooKeeper; headwater's is set with -env")
	flag.StringVar(&o.dir, "dir", ".", "where temporary data is written; it should be on the disk that is meant")
	flag.StringVar(&o.binary, "binary", "", "headwater's program; built if none is named")
	only := flag.String("only", "", "regular expression: the sides to run")
	env := flag.String("env", "", "headwater's further settings: HEADWATER_...=...,HEADWATER_...=...")
	flag.Parse()
	if *env != "" {
		o.env = strings.Split(*env, ",")
	}
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		err = measure(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "regionbench:", err)
		os.Exit(1)
	}
}

// side is a kind of cluster.
type side struct {
	name     string
	broker   cluster.BrokerConfig
	settings map[string]string // of its topics
}

func sides(o options) (all []side) {
	kafka := cluster.BrokerConfig{Kind: cluster.Stock, HeapMiB: 512, Settings: map[string]string{
		"zookeeper.session.timeout.ms": fmt.Sprint(o.session.Milliseconds()), "num.network.threads": "3", "num.io.threads": "8",
		"replica.lag.time.max.ms": "30000",
	}}
	ours := func(env ...string) cluster.BrokerConfig {
		return cluster.BrokerConfig{Kind: cluster.Headwater, Binary: o.binary, Env: append(env, o.env...)}
	}
	for _, s := range []side{
		{name: "Kafka", broker: kafka},
		{name: "headwater, not synced", broker: ours("HEADWATER_DATA_DURABILITY=os")},
		{name: "headwater", broker: ours()},
		{name: "Kafka, each batch synced", broker: kafka, settings: map[string]string{"flush.messages": "1"}},
	} {
		if o.only.MatchString(s.name) {
			all = append(all, s)
		}
	}
	return all
}

func measure(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "headwater-regionbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if o.binary == "" {
		o.binary = filepath.Join(dir, "headwater")
		if err := process.Build(ctx, o.binary, []string{"CGO_ENABLED=0"}, []string{"-trimpath", "-ldflags", "-s -w"}); err != nil {
			return err
		}
	}
	found := newTable()
	for round := range o.rounds {
		for _, s := range sides(o) {
			at := filepath.Join(dir, fmt.Sprintf("%d-%s", round, regexp.MustCompile(`\W+`).ReplaceAllString(s.name, "-")))
			if err := oneRound(ctx, o, s, at, found); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s is done\n", round+1, o.rounds, s.name)
		}
	}
	found.print(os.Stdout)
	return nil
}
