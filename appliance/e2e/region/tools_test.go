//go:build interop

package region

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
)

// Kafka's own tools say of a cluster, and do to it, what they should: this is what an
// operator has. The cluster has three brokers; partition n's preferred leader is the n-th.
func tour(t *testing.T, c *cluster.Cluster) {
	bootstrap := c.Addresses()[0]
	ids := []int32{c.Brokers[0].ID, c.Brokers[1].ID, c.Brokers[2].ID}
	assignment := map[int32][]int32{0: {ids[0], ids[1], ids[2]}, 1: {ids[1], ids[2], ids[0]}, 2: {ids[2], ids[0], ids[1]}}
	tool(t, jvm.Topics, "--bootstrap-server", bootstrap, "--create", "--topic", "toured",
		"--replica-assignment", assigned(assignment), "--config", "min.insync.replicas=2")
	for partition, replicas := range assignment {
		awaitDescribed(t, bootstrap, "toured", partition, described{replicas[0], replicas, replicas})
	}
	// Each broker answers the same, and every one of them accepts writes for all.
	for _, b := range c.Brokers {
		write(t, b.Address, "toured", 3, 30)
	}

	t.Run("kill", func(t *testing.T) { tourKill(t, c, assignment) })
	t.Run("election", func(t *testing.T) { tourElection(t, c, assignment) })
	t.Run("reassign", func(t *testing.T) { tourReassign(t, c, ids) })
	t.Run("configs", func(t *testing.T) { tourConfigs(t, bootstrap) })
	t.Run("partitions", func(t *testing.T) { tourPartitions(t, bootstrap) })
	t.Run("delete", func(t *testing.T) { tourDelete(t, c) })
	t.Run("dump", func(t *testing.T) { tourDump(t, c) })
}

// Each broker is killed and comes back: others lead what it led, and its copies catch up.
func tourKill(t *testing.T, c *cluster.Cluster, assignment map[int32][]int32) {
	for i, b := range c.Brokers {
		other := c.Brokers[(i+1)%3]
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		err := cluster.Await(within(t, patience), fmt.Sprintf("others lead what broker %d led", b.ID), func(s *cluster.State) bool {
			return cluster.Led(s, "toured", 3) && len(cluster.LedBy(s, "toured", b.ID)) == 0
		}, other.Address)
		if err != nil {
			t.Fatal(err)
		}
		write(t, other.Address, "toured", 3, 30)
		if err := b.Start(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		if err := c.Recover(within(t, patience), "toured"); err != nil {
			t.Fatal(err)
		}
		for partition, replicas := range assignment {
			d := describe(t, other.Address, "toured", partition)
			if !slices.Equal(d.replicas, replicas) || len(d.isr) != 3 {
				t.Errorf("with broker %d back, partition %d has %+v", b.ID, partition, d)
			}
		}
	}
}

// The preferred leaders lead again when an operator says so.
func tourElection(t *testing.T, c *cluster.Cluster, assignment map[int32][]int32) {
	bootstrap := c.Addresses()[0]
	tool(t, jvm.LeaderElection, "--bootstrap-server", bootstrap, "--election-type", "PREFERRED", "--all-topic-partitions")
	for partition, replicas := range assignment {
		d := awaitDescribed(t, bootstrap, "toured", partition, described{replicas[0], replicas, replicas})
		if d.leader != replicas[0] {
			t.Errorf("partition %d is led by %d, its preferred leader is %d", partition, d.leader, replicas[0])
		}
	}
}

// A partition moves from a broker and to it, with what it holds.
func tourReassign(t *testing.T, c *cluster.Cluster, ids []int32) {
	bootstrap := c.Addresses()[1]
	tool(t, jvm.Topics, "--bootstrap-server", bootstrap, "--create", "--topic", "moved", "--replica-assignment", assigned(map[int32][]int32{0: {ids[0], ids[1]}}))
	awaitDescribed(t, bootstrap, "moved", 0, described{ids[0], []int32{ids[0], ids[1]}, []int32{ids[0], ids[1]}})
	write(t, bootstrap, "moved", 1, 1000)
	for _, to := range [][]int32{{ids[1], ids[2]}, {ids[2], ids[0]}, {ids[0], ids[1]}, {ids[1], ids[2], ids[0]}} {
		file := filepath.Join(t.TempDir(), "plan.json")
		plan := fmt.Sprintf(`{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[%s]}]}`, numbers(to, ","))
		if err := os.WriteFile(file, []byte(plan), 0o644); err != nil {
			t.Fatal(err)
		}
		tool(t, jvm.ReassignPartitions, "--bootstrap-server", bootstrap, "--reassignment-json-file", file, "--execute")
		await(t, "the move to "+numbers(to, ","), func() (bool, string) {
			out := tool(t, jvm.ReassignPartitions, "--bootstrap-server", bootstrap, "--reassignment-json-file", file, "--verify")
			return strings.Contains(out, "Reassignment of partition moved-0 is completed"), out
		})
		d := awaitDescribed(t, bootstrap, "moved", 0, described{-1, to, to})
		if !slices.Contains(to, d.leader) {
			t.Errorf("moved to %v, led by %d", to, d.leader)
		}
		if got := count(t, bootstrap, "moved", 0); got != 1000 {
			t.Errorf("moved to %v, %d records are there, want 1000", to, got)
		}
	}
}

func tourConfigs(t *testing.T, bootstrap string) {
	tool(t, jvm.Configs, "--bootstrap-server", bootstrap, "--alter", "--entity-type", "topics", "--entity-name", "toured", "--add-config", "retention.ms=86400000")
	await(t, "the changed setting", func() (bool, string) {
		out := tool(t, jvm.Configs, "--bootstrap-server", bootstrap, "--describe", "--entity-type", "topics", "--entity-name", "toured")
		return strings.Contains(out, "retention.ms=86400000"), out
	})
}

func tourPartitions(t *testing.T, bootstrap string) {
	tool(t, jvm.Topics, "--bootstrap-server", bootstrap, "--alter", "--topic", "toured", "--partitions", "4")
	await(t, "the fourth partition", func() (bool, string) {
		out := tool(t, jvm.Topics, "--bootstrap-server", bootstrap, "--describe", "--topic", "toured")
		d, ok := parseDescribed(out, 3)
		return ok && d.leader >= 0 && len(d.isr) == 3, out
	})
}

// A deleted topic is gone at all brokers, from their disks too.
func tourDelete(t *testing.T, c *cluster.Cluster) {
	tool(t, jvm.Topics, "--bootstrap-server", c.Addresses()[2], "--delete", "--topic", "moved")
	err := cluster.Await(within(t, patience), "no topic moved", func(s *cluster.State) bool { return s.Topics["moved"] == nil }, c.Addresses()...)
	if err != nil {
		t.Error(err)
	}
	for _, b := range c.Brokers {
		await(t, "no directory of it at "+b.Name(), func() (bool, string) {
			_, err := os.Stat(filepath.Join(b.LogDir, "moved-0"))
			return os.IsNotExist(err), fmt.Sprint(err)
		})
	}
}

// Kafka's tool reads every copy, and finds as many records in each.
func tourDump(t *testing.T, c *cluster.Cluster) {
	want := count(t, c.Addresses()[0], "toured", 0)
	compareReplicas(t, c, "toured", 4)
	for _, b := range c.Brokers {
		out := tool(t, jvm.DumpLogSegments, "--deep-iteration", "--files", filepath.Join(b.LogDir, "toured-0", "00000000000000000000.log"))
		if strings.Contains(out, "isvalid: false") || strings.Count(out, "| offset: ") != want {
			t.Errorf("%s: %d records dumped, want %d:\n%s", b.Name(), strings.Count(out, "| offset: "), want, lastLines(out, 10))
		}
	}
}

// tool runs one of Kafka's tools, which must not fail.
func tool(t *testing.T, class string, args ...string) string {
	t.Helper()
	out, err := jvm.Run(within(t, patience), class, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// await asks until it holds.
func await(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	ctx := within(t, patience)
	for {
		ok, said := holds()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %v for %s:\n%s", patience, what, said)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// described is a partition as kafka-topics tells it.
type described struct {
	leader        int32 // -1 stands for any where one is waited for
	replicas, isr []int32
}

func describe(t *testing.T, bootstrap, topic string, partition int32) described {
	t.Helper()
	out := tool(t, jvm.Topics, "--bootstrap-server", bootstrap, "--describe", "--topic", topic)
	d, ok := parseDescribed(out, partition)
	if !ok {
		t.Fatalf("kafka-topics says nothing of %s-%d:\n%s", topic, partition, out)
	}
	return d
}

// awaitDescribed waits until a partition is described so; the ISR's order is its own.
func awaitDescribed(t *testing.T, bootstrap, topic string, partition int32, want described) (got described) {
	t.Helper()
	await(t, fmt.Sprintf("%s-%d as %+v", topic, partition, want), func() (bool, string) {
		out := tool(t, jvm.Topics, "--bootstrap-server", bootstrap, "--describe", "--topic", topic)
		var ok bool
		got, ok = parseDescribed(out, partition)
		return ok && (want.leader < 0 || got.leader == want.leader) && slices.Equal(got.replicas, want.replicas) &&
			slices.Equal(slices.Sorted(slices.Values(got.isr)), slices.Sorted(slices.Values(want.isr))), out
	})
	return got
}

// parseDescribed reads the line "Topic: t Partition: 0 Leader: 1 Replicas: 1,2 Isr: 1,2".
func parseDescribed(out string, partition int32) (d described, ok bool) {
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		value := func(name string) string {
			if i := slices.Index(fields, name+":"); i >= 0 && i+1 < len(fields) {
				return fields[i+1]
			}
			return ""
		}
		if value("Partition") != strconv.Itoa(int(partition)) {
			continue
		}
		leader, err := strconv.Atoi(value("Leader"))
		if err != nil {
			leader = -1
		}
		return described{int32(leader), list(value("Replicas")), list(value("Isr"))}, true
	}
	return d, false
}

func list(text string) (ids []int32) {
	for part := range strings.SplitSeq(text, ",") {
		if n, err := strconv.Atoi(part); err == nil {
			ids = append(ids, int32(n))
		}
	}
	return ids
}

// assigned is an assignment as kafka-topics takes it: 1:2,2:1.
func assigned(assignment map[int32][]int32) string {
	var partitions []string
	for partition := range int32(len(assignment)) {
		partitions = append(partitions, numbers(assignment[partition], ":"))
	}
	return strings.Join(partitions, ",")
}

func numbers(ids []int32, separator string) string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, strconv.Itoa(int(id)))
	}
	return strings.Join(texts, separator)
}

// write writes n records with acks=all, spread over the partitions of a topic.
func write(t *testing.T, address, topic string, partitions int32, n int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Value: fmt.Append(nil, "record ", i)})
	}
	if err := cl.ProduceSync(within(t, patience), records...).FirstErr(); err != nil {
		t.Fatalf("write to %s at %s: %v", topic, address, err)
	}
}

// count reads a partition from the beginning to its end.
func count(t *testing.T, address, topic string, partition int32) (n int) {
	t.Helper()
	for range records(within(t, patience), t, address, topic, partition) {
		n++
	}
	return n
}

// records reads a partition from the beginning to its end.
func records(ctx context.Context, t *testing.T, address, topic string, partition int32) (all []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := workload.Offsets(ctx, cl, topic, partition+1, -1)
	if err != nil {
		t.Fatal(err)
	}
	end := ends[partition]
	for next := int64(0); next < end; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s-%d at %s, %d of %d: %v", topic, partition, address, next, end, err)
		}
		for r := range fetches.RecordsAll() {
			all = append(all, r)
			next = r.Offset + 1
		}
	}
	return all
}
