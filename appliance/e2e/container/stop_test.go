//go:build interop

package container

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/fleet"
)

// grace is what docker and podman give a container between SIGTERM and SIGKILL.
const grace = 10 * time.Second

// Stopped under full load, it ends by itself within the grace that engines give when
// nobody says otherwise, and every message that was acked is there at the next start.
func TestStopUnderLoad(t *testing.T) {
	b := run(t, "--env", "HEADWATER_TOPICS_RETENTION_BYTES=-1")
	publish(t, b.nats, "press1", "the first, which makes the topic")
	crowd := fleet.Crowd{NATS: b.nats, MQTT: b.mqtt, Kafka: b.kafka, Devices: 100, Payload: 128, Window: 8, For: patience}
	left := make(chan fleet.Result, 1)
	go func() {
		result, _ := crowd.Run(within(t, 2*patience)) // devices say that the box has gone
		left <- result
	}()
	b.awaitRecords(t, 10_000)
	begin := time.Now()
	command(t, "", "podman", "stop", "--time", "60", b.name)
	took := time.Since(begin)
	if code := b.inspect(t, "{{.State.ExitCode}}"); code != "0" || took > grace {
		t.Errorf("SIGTERM ended it with %s after %v, want 0 within %v", code, took, grace)
	}
	result := <-left
	ready := b.start(t)
	out := command(t, "", "kcat", "-C", "-b", b.kafka, "-t", fleet.Topic, "-o", "beginning", "-e", "-q", "-f", `%o\n`)
	if got := int64(strings.Count(out, "\n")); got <= result.Acked || result.Acked == 0 {
		t.Errorf("%d records, and 1 and %d messages were acked", got, result.Acked)
	}
	t.Logf("stopped in %v under load, %d messages acked; ready again after %v", took.Round(time.Millisecond), result.Acked, ready.Round(time.Millisecond))
}

// awaitRecords waits until the crowd's topic has so many.
func (b *box) awaitRecords(t *testing.T, n int) {
	t.Helper()
	// kcat waits for the first of them, and ends with the last.
	command(t, "", "kcat", "-C", "-b", b.kafka, "-t", fleet.Topic, "-p", "0", "-o", "beginning", "-c", strconv.Itoa(n), "-q", "-f", "")
}

// Removed and run again on the same volume, as an engine does that scales to nothing and
// back, it is a start like any other.
func TestScaleToZero(t *testing.T) {
	b := run(t)
	id := b.inspect(t, "{{.Id}}")
	publish(t, b.nats, "press1", "before")
	command(t, "", "podman", "stop", "--time", "60", b.name)
	command(t, "", "podman", "rm", b.name) // and not its volume
	command(t, "", b.words("--detach", "--volume", b.name+":/data", image)...)
	took := b.awaitReady(t)
	if again := b.inspect(t, "{{.Id}}"); again == id {
		t.Fatal("it is the same container")
	}
	publish(t, b.nats, "press1", "after")
	if got, want := read(t, b.kafka), []string{"before", "after"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if took > soon {
		t.Errorf("ready after %v, want %v or less", took, soon)
	}
}
