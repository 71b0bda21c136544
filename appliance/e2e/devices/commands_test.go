//go:build interop

package devices

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What the centre writes into a topic of commands gets to a device that listens, and to
// one that was away, also over a restart of the box: each command once, in order.
func TestCommands(t *testing.T) {
	p := start(t, `HEADWATER_BRIDGE_COMMANDS=[{topic: commands, subject: "commands.{key}"}]`)
	away := func(args ...string) []string {
		return mosquittoArgs(t, "mosquitto_sub", p, "5", append([]string{"-i", "press5", "-c", "-x", "600", "-q", "1", "-t", "commands/press5"}, args...)...)
	}
	command(t, "", away("-E")...) // leaves once it has subscribed
	d := launch(t, python, order{Do: "subscribe", Server: p.MQTT, Filter: "commands/+", QoS: 1, Count: 3})
	d.ready()
	heard := subscribe(t, p, "*.press5")
	client, err := kgo.NewClient(kgo.SeedBrokers(p.Kafka), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("commands"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	values := []string{"start", "faster", "stop"}
	for _, value := range values {
		if err := client.ProduceSync(within(t, patience), &kgo.Record{Key: []byte("press5"), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range values {
		if e := d.next(); e.Value != want || e.Topic != "commands/press5" {
			t.Fatalf("the MQTT device hears %+v, want %s", e, want)
		}
		if got := heard(); got != want {
			t.Fatalf("the NATS device hears %q, want %s", got, want)
		}
	}
	restart(t, p)
	if got, want := command(t, "", away("-C", "3")...), strings.Join(values, "\n")+"\n"; got != want {
		t.Errorf("who was away gets %q, want %q", got, want)
	}
}
