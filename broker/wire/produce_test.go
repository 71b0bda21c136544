package wire

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func produceBody(version int16, change func(*kmsg.ProduceRequest)) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 1500
	for _, name := range []string{"telemetry", "alarms"} {
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = name
		for i, records := range [][]byte{[]byte("a batch"), {}, nil} {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition, p.Records = int32(i), records
			topic.Partitions = append(topic.Partitions, p)
		}
		req.Topics = append(req.Topics, topic)
	}
	if change != nil {
		change(req)
	}
	return req.AppendTo(nil)
}

// same compares what DecodeProduce and kmsg made of one body.
func same(t *testing.T, got *ProduceRequest, want *kmsg.ProduceRequest) {
	t.Helper()
	if got.Version != want.Version || got.Acks != want.Acks || got.TimeoutMillis != want.TimeoutMillis ||
		got.Transactional != (want.TransactionID != nil) || len(got.Topics) != len(want.Topics) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for i, topic := range got.Topics {
		if topic.Topic != want.Topics[i].Topic || len(topic.Partitions) != len(want.Topics[i].Partitions) {
			t.Fatalf("topic %d: got %+v, want %+v", i, topic, want.Topics[i])
		}
		for j, p := range topic.Partitions {
			w := want.Topics[i].Partitions[j]
			if p.Index != w.Partition || !bytes.Equal(p.Records, w.Records) || (p.Records == nil) != (w.Records == nil) {
				t.Fatalf("topic %d partition %d: got %+v, want %+v", i, j, p, w)
			}
		}
	}
}

func TestDecodeProduce(t *testing.T) {
	for version := int16(3); version <= 9; version++ {
		for name, change := range map[string]func(*kmsg.ProduceRequest){
			"plain":         nil,
			"transactional": func(r *kmsg.ProduceRequest) { r.TransactionID = kmsg.StringPtr("") },
			"empty":         func(r *kmsg.ProduceRequest) { r.Topics = nil },
			"tags":          func(r *kmsg.ProduceRequest) { r.Topics[1].UnknownTags.Set(7, []byte("tag")) },
		} {
			body := produceBody(version, change)
			want := kmsg.NewPtrProduceRequest()
			want.Version = version
			if err := want.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			got, err := DecodeProduce(version, body)
			if err != nil {
				t.Fatalf("version %d, %s: %v", version, name, err)
			}
			same(t, got, want)
			for cut := range body {
				if _, err := DecodeProduce(version, body[:cut]); !errors.Is(err, ErrMalformed) {
					t.Fatalf("version %d, %s, cut at %d of %d: %v, want ErrMalformed", version, name, cut, len(body), err)
				}
			}
		}
	}
}

// Records are not copied: a batch is stamped where it arrived.
func TestDecodeProducePointsIntoTheFrame(t *testing.T) {
	body := produceBody(9, nil)
	req, err := DecodeProduce(9, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Topics[0].Partitions[0].Records[0] = 'X'
	if !bytes.Contains(body, []byte("X batch")) {
		t.Errorf("records were copied")
	}
}

// A frame cannot claim more topics or partitions than could hold a batch each,
// whether the bytes for the claim are there or not.
func TestDecodeProduceBelievesNoClaim(t *testing.T) {
	many := func(version int16) []byte {
		return produceBody(version, func(r *kmsg.ProduceRequest) {
			r.Topics[0].Partitions = make([]kmsg.ProduceRequestTopicPartition, 1<<20)
		})
	}
	for name, tc := range map[string]struct {
		version int16
		body    []byte
	}{
		"topics":            {3, append([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}, make([]byte, 1<<20)...)},
		"topicsFlexible":    {9, append([]byte{0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07}, make([]byte, 1<<20)...)},
		"tags":              {9, []byte{0, 0, 1, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		"millionPartitions": {3, many(3)},
		"millionFlexible":   {9, many(9)},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := DecodeProduce(tc.version, tc.body)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(tc.body))+64<<10 {
				t.Errorf("%d bytes were allocated for a frame of %d", got, len(tc.body))
			}
		})
	}
}

// FuzzProduceRequest: DecodeProduce never panics, and where it and kmsg accept the
// same bytes they read the same request.
func FuzzProduceRequest(f *testing.F) {
	for version := int16(3); version <= 9; version++ {
		f.Add(version, produceBody(version, nil))
		f.Add(version, produceBody(version, func(r *kmsg.ProduceRequest) { r.UnknownTags.Set(3, []byte{1}) }))
	}
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < 3 || version > 9 {
			return
		}
		got, err := DecodeProduce(version, body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
			return
		}
		want := kmsg.NewPtrProduceRequest()
		want.Version = version
		if err := want.ReadFrom(body); err != nil {
			t.Fatalf("accepted, but kmsg says %v", err)
		}
		same(t, got, want)
	})
}
