package bridge

import (
	"fmt"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/bridge/subject"
)

// mqttDevice is an MQTT client, and what it hears.
type mqttDevice struct {
	paho.Client
	heard chan paho.Message
}

func (s *site) mqttDevice(t testing.TB, id string, filters ...string) *mqttDevice {
	t.Helper()
	d := &mqttDevice{heard: make(chan paho.Message, 100)}
	d.Client = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + s.MQTTAddr()).SetClientID(id).SetConnectRetry(true).
		SetConnectRetryInterval(time.Millisecond).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { d.heard <- m }))
	awaitToken(t, d.Connect())
	t.Cleanup(func() { d.Disconnect(0) })
	for _, filter := range filters {
		awaitToken(t, d.Subscribe(filter, 1, nil))
	}
	return d
}

func awaitToken(t testing.TB, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

func (d *mqttDevice) hears(t testing.TB, topic, value string) {
	t.Helper()
	select {
	case m := <-d.heard:
		if m.Topic() != topic || string(m.Payload()) != value {
			t.Fatalf("heard %q on %s, want %q on %s", m.Payload(), m.Topic(), value, topic)
		}
	case <-time.After(patience):
		t.Fatalf("%q on %s is not heard", value, topic)
	}
}

func mqttConfig() Config {
	cfg := testConfig()
	cfg.MQTT = "127.0.0.1:0"
	return cfg
}

// NATS and MQTT devices hear each other, and each message is stored once.
func TestNATSAndMQTT(t *testing.T) {
	s := serveSite(t, mqttConfig())
	nc := s.connect(t)
	heard, err := nc.SubscribeSync("telemetry.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	d := s.mqttDevice(t, "press3", "telemetry/#", "telemetry/+/temp")
	awaitToken(t, d.Publish("telemetry/press3/temp", 1, false, "1"))
	d.hears(t, "telemetry/press3/temp", "1")
	m, err := heard.NextMsg(patience)
	if err != nil || m.Subject != "telemetry.press3.temp" || string(m.Data) != "1" {
		t.Fatalf("NATS heard %+v, %v", m, err)
	}
	if _, err := nc.Request("telemetry.press4.temp", []byte("2"), patience); err != nil {
		t.Fatal(err)
	}
	d.hears(t, "telemetry/press4/temp", "2")
	awaitToken(t, d.Publish("telemetry/press3/temp", 2, false, "3"))
	d.hears(t, "telemetry/press3/temp", "3")
	got := s.stored(t, "telemetry", 3)
	for i, r := range got {
		if string(r.Value) != fmt.Sprint(i+1) {
			t.Errorf("record %d is %q on %s", i, r.Value, r.Headers[0].Value)
		}
	}
	awaitToken(t, d.Publish("telemetry/press3/temp", 1, false, "last"))
	if got := s.stored(t, "telemetry", 4); string(got[3].Value) != "last" {
		t.Errorf("behind three messages stands %q", got[3].Value)
	}
}

// stored reads count records of a topic's partition 0.
func (s *site) stored(t testing.TB, topic string, count int) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.box.Addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for len(records) < count {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// What a Kafka client writes into a command topic gets to devices that speak NATS and to
// those that speak MQTT.
func TestCommandsToDevices(t *testing.T) {
	cfg := mqttConfig()
	cfg.Commands = []subject.Command{{Topic: "commands", Subject: "commands.{key}"}}
	s := serveSite(t, cfg)
	nc := s.connect(t)
	heard, err := nc.SubscribeSync("commands.press3")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	d := s.mqttDevice(t, "press3", "commands/press3")
	client, err := kgo.NewClient(kgo.SeedBrokers(s.box.Addr), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("commands"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	command := &kgo.Record{Key: []byte("press3"), Value: []byte("stop"), Headers: []kgo.RecordHeader{{Key: "why", Value: []byte("lunch")}}}
	if err := client.ProduceSync(t.Context(), command).FirstErr(); err != nil {
		t.Fatal(err)
	}
	d.hears(t, "commands/press3", "stop")
	m, err := heard.NextMsg(patience)
	if err != nil || string(m.Data) != "stop" || m.Header.Get("why") != "lunch" {
		t.Fatalf("NATS heard %+v, %v", m, err)
	}
}
