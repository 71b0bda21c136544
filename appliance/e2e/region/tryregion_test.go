//go:build interop

package region

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/process"
)

// What `make region` starts takes a record at one hub, on both, and gives it at the other;
// it has it again after it was stopped; and it leaves nothing that runs, whether it is
// told to stop or one of its parts fails.
func TestTryRegion(t *testing.T) {
	ctx := within(t, 2*patience)
	root, err := process.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "tryregion")
	if err := process.BuildPackage(ctx, "./appliance/e2e/tryregion", program, nil, nil); err != nil {
		t.Fatal(err)
	}
	const shift, hub1, hub2 = 4000, "127.0.0.1:13192", "127.0.0.1:13292"
	data := filepath.Join(dir, "data")
	p := &process.Program{}
	t.Cleanup(func() { p.Kill() })
	launch := func() {
		before := len(p.Log())
		err := p.Launch(exec.Command(program, "-binary", headwater, "-configs", filepath.Join(root, "configs"), "-dir", data, "-shift", strconv.Itoa(shift)))
		if err != nil {
			t.Fatal(err)
		}
		awaitWord(t, ctx, p, before, "Ctrl-C")
	}

	launch()
	all := pids(t, data)
	produceAll(t, ctx, hub1, "notes", "hello")
	if got := readOne(t, ctx, hub2, "notes"); got != "hello" {
		t.Errorf("the other hub has %q, want hello", got)
	}
	if err := p.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(ctx); err != nil || code != 0 {
		t.Errorf("told to stop: exit code %d, %v; want 0\n%s", code, err, p.Log())
	}
	noneRuns(t, all)

	launch()
	all = pids(t, data)
	if got := readOne(t, ctx, hub1, "notes"); got != "hello" {
		t.Errorf("after a start %q, want hello", got)
	}
	if err := syscall.Kill(all["zookeeper"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(ctx); err != nil || code != 1 || !strings.Contains(p.Log(), "ZooKeeper has ended") {
		t.Errorf("without ZooKeeper: exit code %d, %v; want 1 and a sentence\n%s", code, err, p.Log())
	}
	noneRuns(t, all)
}

// awaitWord waits until the program has written word, behind what it wrote before.
func awaitWord(t *testing.T, ctx context.Context, p *process.Program, before int, word string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.Log()[before:], word) {
		select {
		case <-ctx.Done():
			t.Fatalf("no %q: %v\n%s", word, ctx.Err(), p.Log())
		case <-p.Ended():
			t.Fatalf("ended before it said %q\n%s", word, p.Log())
		case <-tick.C:
		}
	}
}

// pids are the processes of all parts, by their names.
func pids(t *testing.T, data string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "*.pid"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(file), ".pid")] = pid
	}
	for _, name := range []string{"zookeeper", "hub1", "hub2", "gateway"} {
		if found[name] == 0 {
			t.Fatalf("%s has no process among %v", name, found)
		}
	}
	return found
}

func noneRuns(t *testing.T, all map[string]int) {
	t.Helper()
	for name, pid := range all {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s still runs, as %d: %v", name, pid, err)
		}
	}
}

// produceAll sends one record, and waits until all in-sync replicas have it.
func produceAll(t *testing.T, ctx context.Context, address, topic, value string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatalf("produce at %s: %v", address, err)
	}
}

// readOne returns the first record of a topic.
func readOne(t *testing.T, ctx context.Context, address, topic string) string {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read at %s: %v", address, errors.Join(ctx.Err(), fetches.Err()))
		}
		if records := fetches.Records(); len(records) > 0 {
			return string(slices.MinFunc(records, func(a, b *kgo.Record) int { return int(a.Offset - b.Offset) }).Value)
		}
	}
}
