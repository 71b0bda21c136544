package e2e

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/record"
)

// wire is a connection on which the tests speak Kafka's protocol themselves:
// requests of a version that they choose, and bytes that are none.
type wire struct {
	net.Conn
	t *testing.T
}

func dial(t *testing.T, address string) wire {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return wire{conn, t}
}

const correlation = 7

// request returns the whole frame of a request.
func request(req kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("e2e")).AppendRequest(nil, req, correlation)
}

// ask sends a request and reads its answer.
func (w wire) ask(req kmsg.Request) kmsg.Response {
	w.t.Helper()
	if _, err := w.Write(request(req)); err != nil {
		w.t.Fatal(err)
	}
	size := make([]byte, 4)
	if _, err := io.ReadFull(w, size); err != nil {
		w.t.Fatalf("answer to %s: %v", kmsg.NameForKey(req.Key()), err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(size))
	if _, err := io.ReadFull(w, frame); err != nil {
		w.t.Fatalf("answer to %s: %v", kmsg.NameForKey(req.Key()), err)
	}
	body := kbin.Reader{Src: frame}
	if got := body.Int32(); got != correlation {
		w.t.Fatalf("answer to %s has correlation id %d, want %d", kmsg.NameForKey(req.Key()), got, correlation)
	}
	if req.IsFlexible() && req.Key() != kmsg.ApiVersions.Int16() {
		kmsg.SkipTags(&body)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body.Src); err != nil {
		w.t.Fatalf("answer to %s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp
}

// produceRequest asks to append records to one partition.
func produceRequest(topic string, partition int32, acks int16, records []byte) *kmsg.ProduceRequest {
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, records
	to := kmsg.NewProduceRequestTopic()
	to.Topic, to.Partitions = topic, append(to.Partitions, part)
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis, req.Topics = 7, acks, 10_000, append(req.Topics, to)
	return req
}

// produce appends records and returns the base offset and the error that the
// answer has.
func (w wire) produce(topic string, partition int32, records []byte) (int64, error) {
	w.t.Helper()
	part := w.ask(produceRequest(topic, partition, -1, records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return part.BaseOffset, kerr.ErrorForCode(part.ErrorCode)
}

// fetchRequest asks for batches of one partition.
func fetchRequest(topic string, partition int32, offset int64, maxBytes int32) *kmsg.FetchRequest {
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = partition, offset, maxBytes
	from := kmsg.NewFetchRequestTopic()
	from.Topic, from.Partitions = topic, append(from.Partitions, part)
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MaxBytes, req.Topics = 11, 100, maxBytes, append(req.Topics, from)
	return req
}

// batches reads the stored bytes of a partition from offset on, split into its
// batches.
func (w wire) batches(topic string, partition int32, offset int64) []record.Batch {
	w.t.Helper()
	part := w.ask(fetchRequest(topic, partition, offset, 8<<20)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
		w.t.Fatalf("fetch of %s-%d at %d: %v", topic, partition, offset, err)
	}
	var all []record.Batch
	for rest := part.RecordBatches; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil {
			w.t.Fatalf("fetch of %s-%d at %d, after %d batches: %v", topic, partition, offset, len(all), err)
		}
		all, rest = append(all, b), after
	}
	return all
}
