package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/record"
)

// body checks a request's length and header, and returns what follows them.
func body(t *testing.T, frame []byte, key, version int16) []byte {
	t.Helper()
	if got := int(binary.BigEndian.Uint32(frame)); got != len(frame)-4 {
		t.Errorf("length %d, want %d", got, len(frame)-4)
	}
	header := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, kmsg.RequestForKey(key), 77)
	want := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(key)), uint16(version))
	copy(header[atKey:], want)
	binary.BigEndian.PutUint32(frame[atCorrelationID:], 77)
	if !bytes.Equal(frame[atKey:atBody], header[atKey:atBody]) {
		t.Errorf("header % x, want % x", frame[atKey:atBody], header[atKey:atBody])
	}
	return frame[atBody:]
}

func TestProduceFrame(t *testing.T) {
	batch, records := buildBatch(1024, 64<<10, 1000)
	if records != 63 || len(batch) > 64<<10 || len(batch) < 62<<10 {
		t.Errorf("%d records in %d bytes", records, len(batch))
	}
	frame := produceFrame("metrics", 7, -1, batch)
	req := kmsg.NewPtrProduceRequest()
	req.Version = produceVersion
	if err := req.ReadFrom(body(t, frame, keyProduce, produceVersion)); err != nil {
		t.Fatal(err)
	}
	if req.Acks != -1 || req.TransactionID != nil || len(req.Topics) != 1 || req.Topics[0].Topic != "metrics" ||
		len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].Partition != 7 {
		t.Fatalf("decoded %+v", req)
	}
	got, rest, err := record.Next(req.Topics[0].Partitions[0].Records)
	if err != nil || len(rest) != 0 || got.Validate() != nil || int(got.Count()) != records {
		t.Errorf("batch of %d records, %d bytes behind it, %v", got.Count(), len(rest), err)
	}
	binary.BigEndian.PutUint16(frame[atAcks:], 1)
	if err := req.ReadFrom(frame[atBody:]); err != nil || req.Acks != 1 {
		t.Errorf("acks %d, %v, want 1", req.Acks, err)
	}
}

// One record goes into a batch however little room the batch has.
func TestSmallBatch(t *testing.T) {
	batch, records := buildBatch(1<<10, 0, 1000)
	if records != 1 || len(batch) < 1<<10 || batch.Check() != nil {
		t.Errorf("%d records in %d bytes", records, len(batch))
	}
}

func TestFetchFrame(t *testing.T) {
	frame, atOffset := fetchFrame("metrics", 7, 1<<20)
	binary.BigEndian.PutUint64(frame[atOffset:], 12345)
	req := kmsg.NewPtrFetchRequest()
	req.Version = fetchVersion
	if err := req.ReadFrom(body(t, frame, keyFetch, fetchVersion)); err != nil {
		t.Fatal(err)
	}
	if len(req.Topics) != 1 || req.Topics[0].Topic != "metrics" || len(req.Topics[0].Partitions) != 1 || req.MaxBytes != 1<<20 || req.MinBytes != 1 {
		t.Fatalf("decoded %+v", req)
	}
	if p := req.Topics[0].Partitions[0]; p.Partition != 7 || p.FetchOffset != 12345 || p.PartitionMaxBytes != 1<<20 {
		t.Errorf("decoded %+v", p)
	}
}

func TestProduceAnswer(t *testing.T) {
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = produceVersion
	topic := kmsg.NewProduceResponseTopic()
	topic.Topic = "metrics"
	topic.Partitions = append(topic.Partitions, kmsg.NewProduceResponseTopicPartition())
	resp.Topics = append(resp.Topics, topic)
	if err := produceAnswer(resp.AppendTo(nil)); err != nil {
		t.Error(err)
	}
	resp.Topics[0].Partitions[0].ErrorCode = 3
	if err := produceAnswer(resp.AppendTo(nil)); err == nil || errors.Is(err, errAnswer) {
		t.Errorf("error code 3 is %v", err)
	}
}

func fetchResponse(records []byte) []byte {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = fetchVersion
	topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	topic.Topic, partition.HighWatermark, partition.RecordBatches = "metrics", 99, records
	topic.Partitions = append(topic.Partitions, partition)
	resp.Topics = append(resp.Topics, topic)
	return resp.AppendTo(nil)
}

func TestFetchAnswer(t *testing.T) {
	first, records := buildBatch(100, 1000, 1000)
	second := bytes.Clone(first)
	record.Batch(second).Stamp(int64(records), 0)
	torn := append(append(bytes.Clone(first), second...), first[:50]...)
	got, highWatermark, err := fetchAnswer(fetchResponse(torn))
	if err != nil || highWatermark != 99 || !bytes.Equal(got, torn) {
		t.Fatalf("%d bytes, high watermark %d, %v", len(got), highWatermark, err)
	}
	next, n, size := walk(got, 0)
	if next != int64(2*records) || n != int64(2*records) || size != int64(2*len(first)) {
		t.Errorf("%d records of %d bytes up to %d; want two batches of %d", n, size, next, records)
	}
}

// However an answer is cut off, it is an error and no panic.
func TestAnswersCutOff(t *testing.T) {
	whole := fetchResponse([]byte("records"))
	for cut := range whole {
		if _, _, err := fetchAnswer(whole[:cut]); !errors.Is(err, errAnswer) {
			t.Errorf("cut at %d of %d: %v", cut, len(whole), err)
		}
	}
}
