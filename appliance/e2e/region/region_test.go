//go:build interop

// Package region tests a region from outside: brokers and ZooKeeper servers as processes,
// each on a network that is cut, while clients write and read, and a checker knows what
// all of them were told. The tests run stock Kafka too, which shows that what they find
// in headwater is not theirs.
//
// HEADWATER_REGION_SEED repeats a plan and HEADWATER_REGION_MINUTES makes the seeded tests
// last longer. HEADWATER_REGION_KAFKA has stock Kafka be of another version than 3.9: 2.8.2.
// A test keeps its history and its machines' logs in the directory that
// HEADWATER_REGION_HISTORY names; one that fails keeps them in any case, in that for
// temporary files if no other is named, and with HEADWATER_REGION_KEEP=1 what the machines
// have on disk too.
package region

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
	"github.com/headwater/headwater/appliance/e2e/region/replicas"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
	"github.com/headwater/headwater/appliance/process"
)

// patience is how long a cluster may take for anything before it counts as not happening.
const patience = 2 * time.Minute

var headwater string // the binary that TestMain built

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "headwater-region-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	headwater = filepath.Join(dir, "headwater")
	if err := process.Build(context.Background(), headwater, []string{"CGO_ENABLED=0"}, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// within returns a context of the test's that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// start starts a cluster of so many ZooKeeper servers and these brokers. It is taken down
// when the test ends; of a test that failed, all machines' last words are shown.
func start(t *testing.T, zooKeepers int, brokers ...cluster.BrokerConfig) *cluster.Cluster {
	t.Helper()
	return startConfig(t, cluster.Config{ZooKeepers: zooKeepers, Brokers: brokers})
}

func startConfig(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	cfg.Dir = clusterDir(t)
	for i := range cfg.Brokers {
		cfg.Brokers[i].Rack = fmt.Sprint("r", i+1)
	}
	begin := time.Now()
	c, err := cluster.Start(within(t, patience), cfg)
	t.Cleanup(func() {
		for _, m := range c.Machines() {
			switch {
			case t.Failed():
				t.Logf("%s wrote, all in %s:\n%s", m.Name(), keep(t, m.Name()+".log", m.Log()), lastLines(m.Log(), 40))
			case os.Getenv("HEADWATER_REGION_HISTORY") != "":
				t.Logf("what %s wrote is in %s", m.Name(), keep(t, m.Name()+".log", m.Log()))
			}
			for _, bad := range []string{"panic:", "fatal error:", "DATA RACE"} {
				if strings.Contains(m.Log(), bad) {
					t.Errorf("%s says %q", m.Name(), bad)
				}
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d ZooKeeper servers and %d brokers serve after %v; %s",
		len(c.ZooKeepers), len(c.Brokers), time.Since(begin).Round(time.Millisecond), c.Network.Abilities())
	return c
}

// clusterDir is removed when the test ends, unless it has failed and
// HEADWATER_REGION_KEEP is set.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "headwater-region-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("HEADWATER_REGION_KEEP") != "" {
			t.Logf("what the machines kept is in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// keep writes a text where it outlives the test, and returns where that is.
func keep(t *testing.T, name, text string) string {
	path := outliving(t, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err.Error()
	}
	return path
}

// outliving is the path of a file that outlives the test.
func outliving(t *testing.T, name string) string {
	dir := os.Getenv("HEADWATER_REGION_HISTORY")
	if dir == "" {
		dir = os.TempDir()
	}
	return filepath.Join(dir, fmt.Sprintf("headwater-%s-%d-%s", strings.ReplaceAll(t.Name(), "/", "-"), os.Getpid(), name))
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// stockVersion is Kafka's, if it is not the newest.
var stockVersion = os.Getenv("HEADWATER_REGION_KAFKA")

// stock are n brokers of Kafka's.
func stock(n int, protocol string) (all []cluster.BrokerConfig) {
	for range n {
		all = append(all, cluster.BrokerConfig{Kind: cluster.Stock, Version: stockVersion, Protocol: protocol})
	}
	return all
}

// ours are n brokers of headwater's.
func ours(n int, env ...string) (all []cluster.BrokerConfig) {
	for range n {
		all = append(all, cluster.BrokerConfig{Kind: cluster.Headwater, Binary: headwater, Env: env})
	}
	return all
}

// trial is a cluster under a workload, with a nemesis.
type trial struct {
	rules    checker.Rules
	workload workload.Config // addresses and topic are given to it
	settings map[string]string
	plan     []nemesis.Step
	unsound  bool // the caller judges the report
}

const trialTopic = "readings"

// run lets the workload run while the plan is carried out, then holds what clients were
// told against what there is, and the replicas against each other. The cluster's brokers
// have stopped when it returns. pause is the longest time in which nothing of a
// partition was acked.
func (tr trial) run(t *testing.T, c *cluster.Cluster) (report *checker.Report, pause time.Duration) {
	t.Helper()
	replicasWanted := int16(min(3, len(c.Brokers)))
	topic := cluster.Topic{Name: trialTopic, Partitions: tr.workload.Partitions, Replicas: replicasWanted, Settings: tr.settings}
	if err := cluster.Create(within(t, patience), topic, c.Addresses()...); err != nil {
		t.Fatal(err)
	}
	t.Logf("the plan:\n%s", nemesis.Describe(tr.plan))
	recorder := record(t, tr.rules)
	tr.workload.Addresses, tr.workload.Topic = c.Addresses(), trialTopic
	w := workload.Start(t.Context(), tr.workload, recorder)
	t.Cleanup(w.Close)
	n := nemesis.Nemesis{Cluster: c, Topic: trialTopic, Rate: 256 << 10, Lag: 100 * time.Millisecond, Note: func(text string) {
		t.Logf("%s %s", time.Now().Format("15:04:05.000"), text)
		recorder.Note(text)
	}}
	if err := n.Run(t.Context(), tr.plan); err != nil {
		t.Errorf("the nemesis: %v", err)
	}
	if err := c.Recover(within(t, patience), trialTopic); err != nil {
		t.Fatal(err)
	}
	report, err := w.Finish(within(t, patience))
	for _, p := range recorder.Problems() {
		t.Logf("a client was told: %s", p)
	}
	if err != nil {
		t.Fatal(err)
	}
	acked, pause := recorder.Acked()
	t.Logf("%v\nthe longest time without an ack of a partition: %v", report, pause.Round(time.Millisecond))
	if !report.Sound() && !tr.unsound {
		t.Error("the history is not sound")
	}
	if acked < 100 {
		t.Errorf("%d records were acked: that shows nothing", acked)
	}
	compareReplicas(t, c, trialTopic, tr.workload.Partitions)
	return report, pause
}

// record begins a history, in a file that outlives the test if that fails.
// HEADWATER_REGION_HISTORY keeps it in any case; without it long runs keep none.
func record(t *testing.T, rules checker.Rules) *workload.Recorder {
	t.Helper()
	asked := os.Getenv("HEADWATER_REGION_HISTORY") != ""
	if !asked && os.Getenv("HEADWATER_REGION_MINUTES") != "" {
		return workload.NewRecorder(rules, nil)
	}
	file, err := os.Create(outliving(t, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	t.Cleanup(func() {
		if err := errors.Join(buffered.Flush(), file.Close()); err != nil {
			t.Error(err)
		}
		if asked || t.Failed() {
			t.Logf("the history is in %s", file.Name())
		} else if err := os.Remove(file.Name()); err != nil {
			t.Error(err)
		}
	})
	return workload.NewRecorder(rules, buffered)
}

// compareReplicas stops the brokers and holds their copies of a topic against each other.
// All have to be in the ISR before.
func compareReplicas(t *testing.T, c *cluster.Cluster, topic string, partitions int32) {
	t.Helper()
	compareTopics(t, c, map[string]int32{topic: partitions})
}

// compareTopics is compareReplicas for several topics, by their numbers of partitions.
func compareTopics(t *testing.T, c *cluster.Cluster, topics map[string]int32) {
	t.Helper()
	state, err := c.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StopBrokers(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	dirs := map[int32]fs.FS{}
	ends := map[string]int64{}
	for _, b := range c.Brokers {
		dirs[b.ID] = os.DirFS(b.LogDir)
		marks, err := replicas.HighWatermarks(dirs[b.ID])
		if err != nil {
			t.Fatal(err)
		}
		for partition, mark := range marks {
			ends[partition] = max(ends[partition], mark)
		}
	}
	for topic, partitions := range topics {
		for index := range partitions {
			compareCopies(t, fmt.Sprintf("%s-%d", topic, index), state.Topics[topic][index].Replicas, dirs, ends)
		}
	}
}

// compareCopies holds what brokers have of a partition against each other.
func compareCopies(t *testing.T, name string, ids []int32, dirs map[int32]fs.FS, ends map[string]int64) {
	t.Helper()
	var first *replicas.Log
	for _, id := range ids {
		l, err := replicas.Read(dirs[id], name)
		if err != nil {
			t.Errorf("broker %d: %v", id, err)
			continue
		}
		if first == nil {
			first = l
		}
		if d := replicas.Difference(first, l, ends[name]); d != "" {
			t.Errorf("%s differs at brokers %d and %d: %s", name, ids[0], id, d)
		}
	}
	t.Logf("%s: the replicas at %v are held against each other up to the high watermark, %d", name, ids, ends[name])
}

// seed is the one that is asked for, or def.
func seed(t *testing.T, def uint64) uint64 {
	t.Helper()
	if text := os.Getenv("HEADWATER_REGION_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		def = n
	}
	t.Logf("HEADWATER_REGION_SEED=%d repeats this plan", def)
	return def
}

// duration is how long a seeded test lasts: what is asked for, or def.
func duration(t *testing.T, def time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("HEADWATER_REGION_MINUTES")
	if text == "" {
		return def
	}
	minutes, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(minutes * float64(time.Minute))
}
