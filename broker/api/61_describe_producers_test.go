package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

func producersRequest(topic string, partitions ...int32) *kmsg.DescribeProducersRequest {
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = append(req.Topics, t)
	return req
}

func TestDescribeProducers(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.partition("press", 0).producers = []partition.ActiveProducer{{ID: 4, Epoch: 0, LastSequence: 9, LastTimestamp: 1000}, {ID: 7, Epoch: 3, LastSequence: -1, LastTimestamp: -1}}
	c := b.dial(t)
	resp := call[*kmsg.DescribeProducersResponse](t, c, producersRequest("press", 0, 1, 0), 0)
	if len(resp.Topics) != 1 || resp.Topics[0].Topic != "press" || len(resp.Topics[0].Partitions) != 2 {
		t.Fatalf("%+v, want two partitions, though one was named twice", resp)
	}
	got := ""
	for _, p := range resp.Topics[0].Partitions {
		got += fmt.Sprint(p.Partition, code(p.ErrorCode), "; ")
		for _, a := range p.ActiveProducers {
			got += fmt.Sprint(a.ProducerID, a.ProducerEpoch, a.LastSequence, a.LastTimestamp, a.CoordinatorEpoch, a.CurrentTxnStartOffset, "; ")
		}
	}
	if want := "0 NONE; 4 0 9 1000 -1 -1; 7 3 -1 -1 -1 -1; 1 NONE; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for name, tc := range map[string]struct {
		topic string
		index int32
		want  wire.ErrorCode
	}{
		"unknownPartition": {"press", 2, wire.UnknownTopicOrPartition},
		"negative":         {"press", -1, wire.UnknownTopicOrPartition},
		"unknownTopic":     {"none", 0, wire.UnknownTopicOrPartition},
		"badName":          {"b/ad", 0, wire.InvalidTopic},
	} {
		got := call[*kmsg.DescribeProducersResponse](t, c, producersRequest(tc.topic, tc.index), 0).Topics[0].Partitions[0]
		if code(got.ErrorCode) != tc.want || got.Partition != tc.index || len(got.ActiveProducers) != 0 {
			t.Errorf("%s: %+v, want %v", name, got, tc.want)
		}
	}
}

// An answer has an end: what does not fit is refused, partition by partition.
func TestDescribeTooManyProducers(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 3, nil)
	for index, n := range []int{maxDescribedProducers - 1, 2, 1} {
		b.partition("press", int32(index)).producers = make([]partition.ActiveProducer, n)
	}
	resp := call[*kmsg.DescribeProducersResponse](t, b.dial(t), producersRequest("press", 0, 1, 2), 0)
	for i, want := range []wire.ErrorCode{wire.None, wire.InvalidRequest, wire.None} {
		if got := resp.Topics[0].Partitions[i]; code(got.ErrorCode) != want || (got.ErrorMessage != nil) != (want != 0) {
			t.Errorf("partition %d: %v, %v; want %v", i, code(got.ErrorCode), words(got.ErrorMessage), want)
		}
	}
}
