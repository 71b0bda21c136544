//go:build interop

package region

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/e2e/region/checker"
	"github.com/headwater/headwater/appliance/e2e/region/cluster"
	"github.com/headwater/headwater/appliance/e2e/region/nemesis"
	"github.com/headwater/headwater/appliance/e2e/region/workload"
)

// failover has kcat, Java's clients and franz-go write and read, each a topic of its own,
// while the broker that leads all three is killed again and again. No error reaches the
// programs, and nothing is lost, repeated or reordered.
func failover(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	const kills = 5
	ids := []int32{c.Brokers[0].ID, c.Brokers[1].ID, c.Brokers[2].ID}
	for _, name := range []string{"kcat", "java", "franz"} {
		topic := cluster.Topic{Name: name, Assignment: map[int32][]int32{0: ids}, Settings: twoOfThree}
		if err := cluster.Create(within(t, patience), topic, c.Addresses()...); err != nil {
			t.Fatal(err)
		}
	}
	bootstrap := strings.Join(c.Addresses(), ",")
	kcat, java := newPeer(t, "kcat"), newPeer(t, "java")
	kcatReads, javaReads := kcat.reader(kcatReader(bootstrap)), java.reader(javaReader(t, bootstrap))
	kcatWrites, javaWrites := startKcatWriter(t, kcat, bootstrap), startJavaWriter(t, java, bootstrap)
	recorder := record(t, checker.Rules{})
	franz := workload.Start(t.Context(), workload.Config{
		Addresses: c.Addresses(), Topic: "franz", Partitions: 1, Producers: 1, Rate: 100, Readers: 1, GroupReaders: 1, Seed: 3,
	}, recorder)
	t.Cleanup(franz.Close)
	awaitAcks(t, recorder, 100)
	java.awaitAcks(100)

	n := nemesis.Nemesis{Cluster: c, Topic: "franz", Note: func(text string) { t.Logf("%s %s", time.Now().Format("15:04:05.000"), text) }}
	if err := n.Run(t.Context(), nemesis.Again(nemesis.Fault{Op: nemesis.Kill, Target: nemesis.Leader}, kills, 3*time.Second, 2*time.Second)); err != nil {
		t.Errorf("the nemesis: %v", err)
	}
	if err := c.Recover(within(t, patience), "franz"); err != nil {
		t.Fatal(err)
	}
	kcatWrites()
	javaWrites()
	report, err := franz.Finish(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("franz-go: %v", report)
	if !report.Sound() || report.Unsure > 0 || len(recorder.Problems()) > 0 {
		t.Errorf("franz-go was told %q", recorder.Problems())
	}
	kcat.finish(c, kcatReads)
	java.finish(c, javaReads)
}

// peer is a client program that writes and one that reads a topic named after it. Its
// values are numbers from 1 on.
type peer struct {
	t     *testing.T
	topic string

	mu      sync.Mutex // guards all below
	checker *checker.Checker
	acked   int
	read    map[int64]bool
	errors  []string
}

// maxPeerValues is more than a peer comes to.
const maxPeerValues = 100_000

func newPeer(t *testing.T, topic string) *peer {
	p := &peer{t: t, topic: topic, checker: checker.New(checker.Rules{}), read: map[int64]bool{}}
	for v := range checker.Value(maxPeerValues) { // a program does not say when it sends
		p.checker.Take(checker.Event{Kind: checker.Send, Value: v + 1})
	}
	return p
}

func (p *peer) take(e checker.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checker.Take(e)
	switch e.Kind {
	case checker.Ack:
		p.acked++
	case checker.Poll:
		p.read[e.Offset] = true
	}
}

func (p *peer) complain(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, text)
}

func (p *peer) awaitAcks(n int) {
	p.t.Helper()
	await(p.t, fmt.Sprintf("%d acks of %s", n, p.topic), func() (bool, string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.acked >= n, fmt.Sprint(p.acked, p.errors)
	})
}

// reader runs a program that reads, whose lines take understands, until stop is called.
func (p *peer) reader(cmd *exec.Cmd, take func(p *peer, line string)) (stop func()) {
	p.t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			take(p, lines.Text())
		}
	}()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		_ = cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("%s's reader wrote to stderr:\n%s", p.topic, lastLines(said.String(), 30))
		}
	})
	p.t.Cleanup(stop)
	return stop
}

// finish waits until the reader has all that is stored, and holds both against what was
// acked.
func (p *peer) finish(c *cluster.Cluster, stopReader func()) {
	p.t.Helper()
	all := records(within(p.t, patience), p.t, c.Addresses()[0], p.topic, 0)
	await(p.t, fmt.Sprintf("%s's reader to have %d records", p.topic, len(all)), func() (bool, string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.read) >= len(all), fmt.Sprint(len(p.read), p.errors)
	})
	stopReader()
	p.take(checker.Event{Kind: checker.Start})
	for _, r := range all {
		p.take(checker.Event{Kind: checker.Stored, Offset: r.Offset, Value: number(string(r.Value))})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	report := p.checker.Finish()
	p.t.Logf("%s: %d acked; %v", p.topic, p.acked, report)
	if !report.Sound() || len(p.errors) > 0 || p.acked < 100 {
		p.t.Errorf("%s: the programs were told %q", p.topic, p.errors)
	}
}

func number(text string) checker.Value {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return checker.Foreign
	}
	return checker.Value(n + 1)
}

func kcatReader(bootstrap string) (*exec.Cmd, func(*peer, string)) {
	cmd := exec.Command("kcat", "-C", "-b", bootstrap, "-t", "kcat", "-p", "0", "-o", "beginning", "-u", "-q", "-f", `%o %s\n`,
		"-X", "reconnect.backoff.max.ms=500", "-X", "topic.metadata.refresh.interval.ms=2000", "-X", "socket.timeout.ms=5000")
	return cmd, func(p *peer, line string) {
		offset, value, _ := strings.Cut(line, " ")
		at, err := strconv.ParseInt(offset, 10, 64)
		if err != nil {
			p.complain(line)
			return
		}
		p.take(checker.Event{Kind: checker.Poll, Client: 1, Offset: at, Value: number(value)})
	}
}

// startKcatWriter gives kcat a line every 10 ms until the returned function is called:
// then it must have delivered all of them.
func startKcatWriter(t *testing.T, p *peer, bootstrap string) (finish func()) {
	t.Helper()
	cmd := exec.Command("kcat", "-P", "-b", bootstrap, "-t", "kcat", "-p", "0", "-X", "enable.idempotence=true", "-X", "acks=all",
		"-X", "message.timeout.ms=120000", "-X", "reconnect.backoff.max.ms=500", "-X", "socket.timeout.ms=5000", "-X", "linger.ms=5")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		n := 0
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil && n < maxPeerValues {
			if _, err := io.WriteString(in, fmt.Sprintln(n)); err != nil {
				break
			}
			n++
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		in.Close()
		written <- n
	}()
	end := sync.OnceValues(func() (int, error) {
		cancel()
		n := <-written
		timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		return n, cmd.Wait()
	})
	t.Cleanup(func() { _, _ = end() })
	return func() {
		t.Helper()
		n, err := end()
		if err != nil || strings.Contains(said.String(), "Delivery failed") {
			p.complain(fmt.Sprintf("kcat's writer: %v: %s", err, lastLines(said.String(), 10)))
			return
		}
		for v := range n {
			p.take(checker.Event{Kind: checker.Ack, Offset: -1, Value: checker.Value(v + 1)})
		}
	}
}

// javaEvent is a line that Kafka's verifiable clients print.
type javaEvent struct {
	Name    string
	Value   string
	Offset  int64
	Message string
	Error   string
}

func javaReader(t *testing.T, bootstrap string) (*exec.Cmd, func(*peer, string)) {
	t.Helper()
	cmd, err := jvm.Kafka(context.WithoutCancel(t.Context()), "org.apache.kafka.tools.VerifiableConsumer", "--bootstrap-server", bootstrap,
		"--topic", "java", "--group-id", "java", "--verbose", "--session-timeout", "10000")
	if err != nil {
		t.Fatal(err)
	}
	return cmd, func(p *peer, line string) {
		var e javaEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			p.complain(line)
			return
		}
		switch e.Name {
		case "partitions_assigned":
			p.take(checker.Event{Kind: checker.Assign, Client: 1})
		case "record_data":
			p.take(checker.Event{Kind: checker.Poll, Client: 1, Offset: e.Offset, Value: number(e.Value)})
		}
	}
}

// startJavaWriter lets Java's producer write until the returned function is called: then
// it must have delivered all that it sent.
func startJavaWriter(t *testing.T, p *peer, bootstrap string) (finish func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "producer.properties")
	config := "enable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=120000\nrequest.timeout.ms=5000\nmetadata.max.age.ms=5000\n"
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd, err := jvm.Kafka(context.WithoutCancel(t.Context()), "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", bootstrap,
		"--topic", "java", "--throughput", "100", "--acks", "-1", "--producer.config", file)
	if err != nil {
		t.Fatal(err)
	}
	return p.reader(cmd, func(p *peer, line string) {
		var e javaEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			p.complain(line)
			return
		}
		switch e.Name {
		case "producer_send_success":
			p.take(checker.Event{Kind: checker.Ack, Offset: e.Offset, Value: number(e.Value)})
		case "producer_send_error":
			p.complain(line)
		}
	})
}
