//go:build interop

package clients

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// baseTime is the timestamp of the first record that a test produces, in Unix
// milliseconds.
const baseTime = int64(1_700_000_000_000)

// reference is a client that is trusted to say what the broker has.
func reference(t *testing.T, brokers string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// newTopic makes a topic that is named after the test.
func newTopic(t *testing.T, brokers string, partitions int32) string {
	t.Helper()
	topic := strings.NewReplacer("/", ".", "#", ".").Replace(t.Name())
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, 1
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(within(t, patience), reference(t, brokers))
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
	return topic
}

// fill writes count records into each partition of a topic, as a driver would.
func fill(t *testing.T, brokers, topic string, partitions int32, prefix string, count int, codec kgo.CompressionCodec) {
	t.Helper()
	client := reference(t, brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec))
	var records []*kgo.Record
	for p := range partitions {
		records = append(records, expected(topic, p, prefix, count)...)
	}
	if err := client.ProduceSync(within(t, patience), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// expected are the records that a produce command, or fill, writes.
func expected(topic string, partition int32, prefix string, count int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for i := range records {
		records[i] = &kgo.Record{
			Topic: topic, Partition: partition, Key: fmt.Appendf(nil, "k%d", i%3), Value: fmt.Appendf(nil, "%s-%d", prefix, i),
			Timestamp: msTime(baseTime + 1000*int64(i)),
		}
	}
	return records
}

// stored reads count records of one partition from its beginning.
func stored(t *testing.T, brokers, topic string, partition int32, count int) []*kgo.Record {
	t.Helper()
	client := reference(t, brokers, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	var records []*kgo.Record
	ctx := within(t, patience)
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s: %d of %d records: %v", topic, len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}
