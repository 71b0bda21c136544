package e2e

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/appliance/process"
)

// On a file system that is full to the last byte the process goes on: producers
// on Kafka and on NATS are told why they are refused, readers read, a restart
// succeeds, a topic can be deleted; and once there is room, all is as before.
func TestFullFileSystem(t *testing.T) {
	dir := smallFileSystem(t, 24<<20)
	p := startOn(t, dir, "HEADWATER_TOPICS_FULL=reject", "HEADWATER_DATA_BUDGET=none", "HEADWATER_DATA_RESERVE=1MiB", "HEADWATER_TOPICS_SEGMENT_BYTES=2MiB")
	createTopic(t, p.Kafka, "telemetry", 1)
	createTopic(t, p.Kafka, "bulk", 1)
	createTopic(t, p.Kafka, "kept", 1)
	publishOne(t, p, true)

	acked := fill(t, p, "bulk")
	foreign := filepath.Join(dir, "foreign")
	fillRest(t, foreign)
	if err := produceOne(t, p, "kept", 64<<10); !errors.Is(err, kerr.PolicyViolation) {
		t.Errorf("a Kafka producer on the full disk: %v, want %v", err, kerr.PolicyViolation)
	}
	publishOne(t, p, false)
	if got := len(readAll(t, p.Kafka, "bulk")); got != acked {
		t.Errorf("%d records can be read on the full disk, %d were acked", got, acked)
	}
	kill(t, p)
	restart(t, p)
	if got := len(readAll(t, p.Kafka, "bulk")); got != acked {
		t.Errorf("%d records after a restart on the full disk, %d were acked", got, acked)
	}

	deleteTopic(t, p.Kafka, "bulk") // for which something must be written
	publishOne(t, p, true)
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	if err := produceOne(t, p, "kept", 64<<10); err != nil {
		t.Errorf("with room again: %v", err)
	}
	publishOne(t, p, true)
}

// smallFileSystem mounts a file system in memory that holds so many bytes. To mount
// takes root.
func smallFileSystem(t *testing.T, bytes int64) string {
	t.Helper()
	if os.Getenv(noRoot) == "1" {
		t.Skipf("%s=1: nothing is mounted, so a full file system is not tested here", noRoot)
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.FormatInt(bytes, 10)); err != nil {
		t.Fatalf("this test mounts a small file system, for which it must run as root where mounting is allowed: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// startOn is start on a data directory in dir, with more of an environment.
func startOn(t *testing.T, dir string, env ...string) *process.Process {
	t.Helper()
	p := prepare(t, filepath.Join(dir, "data"), env...)
	restart(t, p)
	return p
}

// produceOne produces one record and returns what it was answered.
func produceOne(t *testing.T, p *process.Process, topic string, valueBytes int) error {
	t.Helper()
	cl := client(t, p.Kafka)
	defer cl.Close()
	value := make([]byte, valueBytes)
	rand.NewChaCha8([32]byte{}).Read(value)
	return cl.ProduceSync(within(t, patience), &kgo.Record{Topic: topic, Value: value}).FirstErr()
}

// fill produces to topic until it is refused, and returns how many were acked.
func fill(t *testing.T, p *process.Process, topic string) (acked int) {
	t.Helper()
	for {
		err := produceOne(t, p, topic, 64<<10)
		if errors.Is(err, kerr.PolicyViolation) {
			return acked
		}
		if err != nil {
			t.Fatalf("after %d records: %v", acked, err)
		}
		acked++
	}
}

// fillRest takes what is left of the file system, to the last byte.
func fillRest(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := 64 << 10; n > 0; {
		if _, err := f.Write(make([]byte, n)); errors.Is(err, syscall.ENOSPC) {
			n /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// publishOne publishes on NATS and checks whether it is stored, or refused as
// JetStream tells of storage that is full.
func publishOne(t *testing.T, p *process.Process, stored bool) {
	t.Helper()
	pub := newPublisher(p.NATS, 1)
	one := []message{{subject: "telemetry.press.temp", value: strings.Repeat("x", 32<<10), wantAck: true}}
	err := pub.publish(within(t, patience), func() (m message, ok bool) {
		if len(one) == 0 {
			return m, false
		}
		m, one = one[0], nil
		return m, true
	})
	acked, refused := pub.answers()
	if err != nil || (len(acked) == 1) != stored || !stored && !strings.Contains(refused[0], "insufficient storage resources available") {
		t.Errorf("publish: %v, acked %v, refused %v; want stored %v", err, acked, refused, stored)
	}
}

func deleteTopic(t *testing.T, address, topic string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.TimeoutMillis = []string{topic}, 10_000
	ask := kmsg.NewDeleteTopicsRequestTopic()
	ask.Topic = &topic
	req.Topics = append(req.Topics, ask)
	resp, err := req.RequestWith(within(t, patience), client(t, address))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		t.Fatalf("delete topic %s: %v", topic, err)
	}
}
