package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/process/processtest"
)

// Killed again and again while idempotent producers, of franz-go and librdkafka,
// and a plain one are at work, the process loses nothing that it acked, and has
// what the idempotent ones sent once, in the order in which they sent it.
func TestKill(t *testing.T) {
	p := start(t)
	createTopic(t, p.Kafka, "readings", killPartitions)
	createTopic(t, p.Kafka, "once", killPartitions)
	createTopic(t, p.Kafka, "kcat", 1)
	plain := startProducer(t, p.Kafka)
	idempotent := startOnce(t, p.Kafka)
	piped := startKcat(t, p.Kafka)
	watchers := map[string]*watcher{"once": watch(t, p.Kafka, "once"), "kcat": watch(t, p.Kafka, "kcat")}

	rng := rand.New(rand.NewPCG(3, 4))
	for range rounds(t, "HEADWATER_KILL_ROUNDS", 5) {
		plain.acks.awaitMore(t, p, 20+rng.Int64N(200), "acks without idempotence")
		idempotent.acks.awaitMore(t, p, 20+rng.Int64N(500), "acks with idempotence")
		watchers["kcat"].sights.awaitMore(t, p, 20+rng.Int64N(500), "records of kcat")
		kill(t, p)
		restart(t, p)
	}
	plain.stop(t)
	idempotent.stop(t)
	lines := piped.stop(t)

	plain.check(t, readAll(t, p.Kafka, "readings"))
	once := readAll(t, p.Kafka, "once")
	idempotent.check(t, once)
	fromKcat := readAll(t, p.Kafka, "kcat")
	inOrder(t, "kcat", fromKcat, 1, lines)
	watchers["once"].check(t, p, once)
	watchers["kcat"].check(t, p, fromKcat)
	if names, err := filepath.Glob(filepath.Join(p.DataDir, "*", "*.snapshot")); err != nil || len(names) < 3 {
		t.Errorf("snapshots of producers: %v, %v; want one for each of 3 partitions at least", names, err)
	}
}

// A transactional producer is told at once, in words, that there are no
// transactions.
func TestTransactionalIsRefused(t *testing.T) {
	p := start(t)
	createTopic(t, p.Kafka, "readings", 1)
	cmd := exec.CommandContext(within(t, patience), "kcat", "-b", p.Kafka, "-P", "-t", "readings", "-X", "transactional.id=writer")
	cmd.Stdin = strings.NewReader("21.5\n")
	said, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() < 0 || !strings.Contains(string(said), "transactions are not supported") {
		t.Errorf("kcat: %v\n%s", err, said)
	}
}

// inOrder holds that records are the numbers from 0 up to sent, dealt out over
// the partitions, each once.
func inOrder(t *testing.T, what string, records []stored, partitions, sent int) {
	t.Helper()
	next, wrong := map[int32]int{}, 0
	for _, r := range records {
		if want := int(r.partition) + partitions*next[r.partition]; r.value != strconv.Itoa(want) && wrong < 10 {
			t.Errorf("%s: %v holds %q, want %d", what, r.place, r.value, want)
			wrong++
		}
		next[r.partition]++
	}
	if len(records) != sent {
		t.Errorf("%s: %d records are stored, %d were sent", what, len(records), sent)
	}
	t.Logf("%s: %d records", what, len(records))
}

// once is a franz-go producer as it is by default: idempotent, acks=all, many
// records in flight.
type once struct {
	cl     *kgo.Client
	cancel context.CancelFunc
	ended  chan struct{}
	acks   *progress
	sent   int // the goroutine's until ended is closed

	mu       sync.Mutex // guards failures
	failures []string
}

func startOnce(t *testing.T, address string) *once {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AlwaysRetryEOF(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(200), kgo.RetryBackoffFn(shortly))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := &once{cl: cl, cancel: cancel, ended: make(chan struct{}), acks: newProgress()}
	t.Cleanup(func() { cancel(); cl.Close(); <-o.ended })
	go func() {
		defer close(o.ended)
		for ; ctx.Err() == nil; o.sent++ {
			r := &kgo.Record{Topic: "once", Partition: int32(o.sent % killPartitions), Value: fmt.Append(nil, o.sent)}
			cl.Produce(context.WithoutCancel(ctx), r, o.done) // waits while too many are in flight
		}
	}()
	return o
}

func (o *once) done(r *kgo.Record, err error) {
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.failures = append(o.failures, fmt.Sprintf("record %q was given up: %v", r.Value, err))
		return
	}
	o.acks.add(1)
}

// stop waits until all that was produced is answered.
func (o *once) stop(t *testing.T) {
	t.Helper()
	o.cancel()
	wait(t, o.ended, "the idempotent producer does not end")
	if err := o.cl.Flush(within(t, patience)); err != nil {
		t.Fatal(err)
	}
}

func (o *once) check(t *testing.T, records []stored) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, failure := range o.failures {
		t.Error(failure)
	}
	inOrder(t, "franz-go", records, killPartitions, o.sent)
}

// piped is a kcat that produces the lines it is fed, one number each.
type piped struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	ended  chan struct{}
	stdin  io.WriteCloser
	lines  int // the goroutine's until ended is closed

	exited chan struct{}
	stderr bytes.Buffer // kcat's until exited is closed, and err too
	err    error
}

func startKcat(t *testing.T, address string) *piped {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	k := &piped{cancel: cancel, ended: make(chan struct{}), exited: make(chan struct{})}
	k.cmd = exec.Command("kcat", "-b", address, "-P", "-t", "kcat", "-p", "0", "-E",
		"-X", "enable.idempotence=true", "-X", "queue.buffering.max.messages=200", "-X", "linger.ms=1",
		"-X", "reconnect.backoff.ms=20", "-X", "reconnect.backoff.max.ms=50", "-X", "retry.backoff.ms=20")
	k.cmd.Stderr = &k.stderr
	var err error
	if k.stdin, err = k.cmd.StdinPipe(); err == nil {
		err = k.cmd.Start()
	}
	if err != nil {
		t.Fatalf("kcat: %v; it must be installed (Debian: apt-get install kcat)", err)
	}
	t.Cleanup(func() { cancel(); k.cmd.Process.Kill(); <-k.ended; <-k.exited })
	go func() {
		defer close(k.exited)
		k.err = k.cmd.Wait()
	}()
	go func() {
		defer close(k.ended)
		for ; ctx.Err() == nil; k.lines++ {
			if _, err := fmt.Fprintln(k.stdin, k.lines); err != nil { // waits while kcat's queue is full
				return
			}
		}
	}()
	return k
}

// stop lets kcat come to its end, which it does when all is answered, and returns
// how many lines it was fed.
func (k *piped) stop(t *testing.T) int {
	t.Helper()
	k.cancel()
	wait(t, k.ended, "kcat does not take its lines")
	k.stdin.Close()
	wait(t, k.exited, "kcat does not end")
	if said := k.stderr.String(); k.err != nil || strings.Contains(said, "Delivery failed") {
		t.Fatalf("kcat: %v\n%s", k.err, processtest.LastLines(said, 20))
	}
	return k.lines
}
