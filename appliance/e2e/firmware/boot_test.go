//go:build interop

package firmware

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
)

// The image boots; devices publish by NATS and MQTT through the machine's network, and
// kcat reads what they published, also after the power was cut. No server of the time
// answers the machine, and the records say so.
func TestBoots(t *testing.T) {
	t.Parallel()
	m := newMachine(t, t.TempDir(), 1<<30)
	powerOn(t, m)

	publisher := dial(t, m)
	answer, err := publisher.Request("telemetry.press3.temp", []byte("21.5"), 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("NATS was answered: %s", answer.Data)
	publishMQTT(t, m, "telemetry/press4/temp", "22.5")

	want := []string{"21.5", "22.5"}
	if got := values(t, m, "telemetry"); !slices.Equal(got, want) {
		t.Errorf("kcat read %q, want %q", got, want)
	}
	for line := range strings.Lines(kcat(t, m, "telemetry", "%s %h\n")) {
		if !strings.Contains(line, "hw-clock=unsynchronized") {
			t.Errorf("kcat read %q, want it marked: the machine's clock is not known to be right", line)
		}
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if entries, err := m.Entries(t.Context()); err != nil || !slices.Equal(entries, []string{"hw-a.conf"}) {
		t.Errorf("boot entries are %q (%v), want the one good one", entries, err)
	}
	checkGrown(t, m)
	powerOn(t, m)
	if got := values(t, m, "telemetry"); !slices.Equal(got, want) {
		t.Errorf("after a power cut kcat read %q, want %q", got, want)
	}
}

// checkGrown says whether the data partition reaches to the end of the disk, and its
// file system to the end of the partition. m is off.
func checkGrown(t *testing.T, m *machine.Machine) {
	t.Helper()
	part := onCard(t, m, dataAtMiB)
	info, err := os.Stat(part)
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), "dumpe2fs", "-h", part).Output()
	if err != nil {
		t.Fatal(err)
	}
	var blocks int64
	for line := range strings.Lines(string(said)) {
		if text, ok := strings.CutPrefix(line, "Block count:"); ok {
			blocks, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		}
	}
	if err != nil || blocks*4096 < info.Size()-2<<20 {
		t.Errorf("the data partition has %d blocks of 4 KiB (%v), and the disk room for %d bytes", blocks, err, info.Size())
	}
}

func dial(t *testing.T, m *machine.Machine) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(m.NATS, nats.Timeout(30*time.Second), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// publishMQTT publishes at QoS 1, and waits until it is acknowledged.
func publishMQTT(t *testing.T, m *machine.Machine, topic, payload string) {
	t.Helper()
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + m.MQTT).SetClientID("press4").SetAutoReconnect(false))
	defer client.Disconnect(0)
	await(t, "connect", client.Connect())
	await(t, "publish", client.Publish(topic, 1, false, payload))
}

func await(t *testing.T, what string, token mqtt.Token) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, fmt.Errorf("MQTT %s was not answered", what))
	defer cancel()
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			t.Fatalf("MQTT %s: %v", what, err)
		}
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	}
}
