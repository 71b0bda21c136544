package bridge

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/disk"
)

// clockThat is this machine's clock some time later, but for what the kernel says of it.
type clockThat struct {
	*disk.MachineClock
	later        time.Duration
	synchronized bool
}

func (c clockThat) Wall() time.Time         { return c.MachineClock.Wall().Add(c.later) }
func (c clockThat) Boottime() time.Duration { return c.MachineClock.Boottime() + c.later }
func (c clockThat) Synchronized() bool      { return c.synchronized }

// What devices publish by NATS and by MQTT is marked on a box that never heard the
// time, though it has been up for hours and nobody set its clock, and is not on one whose clock is kept right. What a Kafka client writes never
// is.
func TestClockIsMarked(t *testing.T) {
	for name, tc := range map[string]struct {
		synchronized bool
		want         []string // what is stored, with its mark
	}{
		"synchronized":   {true, []string{"NATS", "MQTT", "Kafka"}},
		"unsynchronized": {false, []string{"NATS unsynchronized", "MQTT unsynchronized", "Kafka"}},
	} {
		t.Run(name, func(t *testing.T) {
			of := brokertest.Config(t.TempDir())
			of.Clock = clockThat{disk.NewMachineClock(), 0, false}
			brokertest.Start(t, of).Stop(t) // when the boot is first seen
			of.Clock = clockThat{disk.NewMachineClock(), 2 * time.Hour, tc.synchronized}
			s := serveSiteOn(t, mqttConfig(), of)
			if _, err := s.connect(t).Request("telemetry.press3.temp", []byte("NATS"), patience); err != nil {
				t.Fatal(err)
			}
			d := s.mqttDevice(t, "press4")
			awaitToken(t, d.Publish("telemetry/press4/temp", 1, false, "MQTT"))
			s.produce(t, "telemetry", "Kafka")
			var got []string
			for _, r := range s.stored(t, "telemetry", 3) {
				mark := string(r.Value)
				for _, h := range r.Headers {
					if h.Key == "hw-clock" {
						mark += " " + string(h.Value)
					}
				}
				got = append(got, mark)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("stored %q, want %q", got, tc.want)
			}
		})
	}
}

// produce writes a record as a Kafka client does.
func (s *site) produce(t testing.TB, topic, value string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.box.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
