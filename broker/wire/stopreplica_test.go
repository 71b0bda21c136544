package wire_test

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// kafkasStopReplica is StopReplica version 4 in the order of Kafka 3.9's message
// definition, written down by hand.
var kafkasStopReplica = []byte{
	0, 0, 0, 1, // controller id
	0,           // is a KRaft controller
	0, 0, 0, 17, // controller epoch
	0, 0, 0, 0, 0, 0, 0, 99, // broker epoch
	2,         // one topic
	2, 't', 2, // its name, one partition
	0, 0, 0, 5, 0, 0, 0, 3, 1, // index, leader epoch, delete
	0, 0, 0, // tagged fields of partition, topic and request
}

// What Kafka 3.4 to 3.9 send is read as it is meant, and written again byte for
// byte; the version before has nothing to swap.
func TestStopReplicaIsInKafkasOrder(t *testing.T) {
	body := bytes.Clone(kafkasStopReplica)
	decoded, err := wire.Decode(wire.StopReplica, 4, body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(body, kafkasStopReplica) {
		t.Errorf("the caller's bytes were changed to % x", body)
	}
	req := decoded.(*kmsg.StopReplicaRequest)
	if req.ControllerID != 1 || req.ControllerEpoch != 17 || req.IsKRaftController || req.BrokerEpoch != 99 {
		t.Errorf("read controller %d, epoch %d, KRaft %v, broker epoch %d; want 1, 17, false, 99", req.ControllerID, req.ControllerEpoch, req.IsKRaftController, req.BrokerEpoch)
	}
	if got := wire.AsKafka(req).AppendTo([]byte("before")); !bytes.Equal(got, append([]byte("before"), kafkasStopReplica...)) {
		t.Errorf("wrote\n% x, want\n% x behind %q", got, kafkasStopReplica, "before")
	}
	req.Version = 3
	if got, want := wire.AsKafka(req).AppendTo(nil), append(bytes.Clone(kafkasStopReplica[:4]), kafkasStopReplica[5:]...); !bytes.Equal(got, want) {
		t.Errorf("version 3 was written as\n% x, want\n% x", got, want)
	}
}
