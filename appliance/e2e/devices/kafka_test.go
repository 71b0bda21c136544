//go:build interop

package devices

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/process"
)

// awaitDevice reads topic telemetry from its beginning until it has count records of
// a device, and then what else is there.
func awaitDevice(t *testing.T, p *process.Process, device string, count int) (all []*kgo.Record) {
	t.Helper()
	ctx := within(t, patience)
	for len(ofDevice(all, device)) < count {
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records of %s", len(ofDevice(all, device)), count, device)
		}
		all = readTelemetry(t, p)
	}
	return all
}

// readTelemetry reads what partition 0 of topic telemetry has by now.
func readTelemetry(t *testing.T, p *process.Process) (all []*kgo.Record) {
	t.Helper()
	ctx := within(t, patience)
	client, err := kgo.NewClient(kgo.SeedBrokers(p.Kafka), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"telemetry": {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for end := int64(-1); end < 0 || int64(len(all)) < end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read: %v", err)
		}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			end = f.HighWatermark
			all = append(all, f.Records...)
		})
	}
	return all
}

// ofDevice are the records whose key is device.
func ofDevice(all []*kgo.Record, device string) (its []*kgo.Record) {
	for _, r := range all {
		if string(r.Key) == device {
			its = append(its, r)
		}
	}
	return its
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
