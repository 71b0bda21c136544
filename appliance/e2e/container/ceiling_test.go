//go:build interop

package container

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/fleet"
	"github.com/headwater/headwater/appliance/process"
)

// loadFor is how long the crowd stays: HEADWATER_CONTAINER_SECONDS, or half a minute.
func loadFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("HEADWATER_CONTAINER_SECONDS")
	if text == "" {
		return 30 * time.Second
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("HEADWATER_CONTAINER_SECONDS=%q is no number of seconds", text)
	}
	return time.Duration(n) * time.Second
}

// In a cgroup of 64 MiB, with a hundred devices that publish as fast as they are
// answered, four readers, and a health check every second, it is never killed, refuses
// nobody and loses nothing.
func TestMemoryCeiling(t *testing.T) {
	b := run(t, "--memory", "64m", "--memory-swap", "64m", "--env", "HEADWATER_TOPICS_RETENTION_BYTES=-1")
	pid := b.inspect(t, "{{.State.Pid}}")
	d := loadFor(t)
	checks := make(chan error, 1)
	ended := make(chan struct{})
	go func() { checks <- checkHealth(b.name, ended) }()
	crowd := fleet.Crowd{NATS: b.nats, MQTT: b.mqtt, Kafka: b.kafka, Devices: 100, Readers: 4, Payload: 128, Window: 8, For: d}
	result, err := crowd.Run(within(t, d+5*time.Minute))
	close(ended)
	if err := errors.Join(err, <-checks); err != nil {
		t.Error(err)
	}
	if now := b.inspect(t, "{{.State.Pid}} {{.State.OOMKilled}}"); now != pid+" false" {
		t.Fatalf("process %s has become %q", pid, now)
	}
	if killed := b.memory(t, "memory.oom_control", "memory.events"); killed != 0 {
		t.Errorf("%d processes were killed for want of memory", killed)
	}
	if limit := b.memory(t, "memory.limit_in_bytes", "memory.max"); limit != 64<<20 {
		t.Errorf("the ceiling was %d bytes", limit)
	}
	if result.Refused > 0 || result.Acked == 0 || result.Slowest < result.Acked {
		t.Errorf("%+v", result)
	}
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	usage, err := process.UsageOf(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("under 64 MiB with 100 devices and 4 readers: %v", result)
	t.Logf("the process held %.1f MiB at the most, the binary's pages included; the cgroup %.1f MiB at the end, its cache of files included",
		float64(usage.PeakBytes)/(1<<20), float64(b.memory(t, "memory.usage_in_bytes", "memory.current"))/(1<<20))
}

// checkHealth asks as a health check does, inside of the same ceiling.
func checkHealth(name string, ended <-chan struct{}) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-tick.C:
			if text, err := exec.Command("podman", "exec", name, "/headwater", "health", "--timeout=20s").CombinedOutput(); err != nil {
				return errors.Join(errors.New("health: "+string(text)), err)
			}
		}
	}
}
