//go:build interop

package devices

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/sensors"
	"github.com/headwater/headwater/appliance/process"
)

// replayed is a device that replays one series.
type replayed struct {
	device, subject string
	rows            []sensors.Reading
	mqtt            bool
	acks            []uint64 // of a NATS device: the sequence of each row
}

func (d *replayed) payload(row int) string { return d.rows[row].At + " " + d.rows[row].Value }

// replay publishes all rows, by mosquitto_pub or by nats.go.
func (d *replayed) replay(t *testing.T, p *process.Process, js jetstream.JetStream) error {
	if d.mqtt {
		var lines strings.Builder
		for row := range d.rows {
			fmt.Fprintln(&lines, d.payload(row))
		}
		args := mosquittoArgs(t, "mosquitto_pub", p, "5", "-q", "1", "-l", "-t", strings.ReplaceAll(d.subject, ".", "/"))
		if out, err := try(t, lines.String(), args...); err != nil || out != "" {
			return fmt.Errorf("mosquitto_pub: %w %s", err, out)
		}
		return nil
	}
	var futures []jetstream.PubAckFuture
	for row := range d.rows {
		future, err := js.PublishAsync(d.subject, []byte(d.payload(row)))
		if err != nil {
			return err
		}
		futures = append(futures, future)
	}
	for _, future := range futures {
		select {
		case ack := <-future.Ok():
			d.acks = append(d.acks, ack.Sequence)
		case err := <-future.Err():
			return err
		}
	}
	return nil
}

// Real sensors' readings come by NATS and by MQTT at once, and are read by Kafka
// offset, by an ordered consumer of JetStream and by direct get: the same records at
// the same places, each device's in its order, none missing, none twice.
func TestReplay(t *testing.T) {
	p := start(t)
	js := jetStream(t, p)
	all := map[string]*replayed{}
	for i, s := range sensors.Series {
		rows, err := sensors.Read(s.File)
		if err != nil {
			t.Fatal(err)
		}
		all[s.Device] = &replayed{device: s.Device, subject: "telemetry." + s.Device + "." + s.Metric, rows: rows, mqtt: i%2 == 1}
	}
	var devices sync.WaitGroup
	for _, d := range all {
		devices.Go(func() {
			if err := d.replay(t, p, js); err != nil {
				t.Errorf("%s: %v", d.device, err)
			}
		})
	}
	devices.Wait()
	if t.Failed() {
		return
	}
	records := readTelemetry(t, p)
	checkReplayed(t, all, records)
	checkOrdered(t, js, records)
	checkDirect(t, js, records)
	t.Logf("%d readings, %d of them by MQTT", len(records), len(all["office"].rows)+len(all["lane6005"].rows))
}

// checkReplayed holds the log against what the devices sent and were told.
func checkReplayed(t *testing.T, all map[string]*replayed, records []*kgo.Record) {
	t.Helper()
	next := map[string]int{} // row, by device
	for i, r := range records {
		d := all[string(r.Key)]
		if d == nil || r.Offset != int64(i) {
			t.Fatalf("record %d: key %q, offset %d", i, r.Key, r.Offset)
		}
		row := next[d.device]
		next[d.device]++
		if row >= len(d.rows) || string(r.Value) != d.payload(row) || header(r, "hw-subject") != d.subject {
			t.Fatalf("record %d is %q of %s, want row %d of %s", i, r.Value, header(r, "hw-subject"), row, d.device)
		}
		if !d.mqtt && d.acks[row] != uint64(i)+1 {
			t.Fatalf("row %d of %s was acked at sequence %d; it is at offset %d", row, d.device, d.acks[row], i)
		}
	}
	for _, d := range all {
		if next[d.device] != len(d.rows) {
			t.Errorf("%s: %d of %d rows", d.device, next[d.device], len(d.rows))
		}
	}
}

// checkOrdered holds an ordered consumer of JetStream against the log.
func checkOrdered(t *testing.T, js jetstream.JetStream, records []*kgo.Record) {
	t.Helper()
	ctx := within(t, patience)
	c, err := js.OrderedConsumer(ctx, "telemetry-0", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for i, r := range records {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream != uint64(r.Offset)+1 || string(m.Data()) != string(r.Value) || m.Subject() != header(r, "hw-subject") || meta.Timestamp.UnixMilli() != r.Timestamp.UnixMilli() {
			t.Fatalf("message %d is %q on %s at %d, the record %q at %d", i, m.Data(), m.Subject(), meta.Sequence.Stream, r.Value, r.Offset)
		}
	}
}

// checkDirect gets some of the records directly, the first and the last too.
func checkDirect(t *testing.T, js jetstream.JetStream, records []*kgo.Record) {
	t.Helper()
	ctx := within(t, patience)
	s, err := js.Stream(ctx, "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	if !s.CachedInfo().Config.AllowDirect {
		t.Fatal("the stream allows no direct get, so the client does not ask for it")
	}
	for i := 0; i < len(records); i += max(1, len(records)/500) {
		direct(ctx, t, s, records[i])
	}
	direct(ctx, t, s, records[len(records)-1])
}

func direct(ctx context.Context, t *testing.T, s jetstream.Stream, r *kgo.Record) {
	t.Helper()
	m, err := s.GetMsg(ctx, uint64(r.Offset)+1)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != string(r.Value) || m.Subject != header(r, "hw-subject") || m.Sequence != uint64(r.Offset)+1 {
		t.Fatalf("directly got %q on %s at %d, the record is %q at %d", m.Data, m.Subject, m.Sequence, r.Value, r.Offset)
	}
}
