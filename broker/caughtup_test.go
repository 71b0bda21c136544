package broker

import (
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

// However many replicas are behind, a few are named.
func TestNotCaughtUp(t *testing.T) {
	for n, want := range map[int]string{
		1:    "replicas here that are not in the ISR of their partition: 1 (press-0)",
		3:    "replicas here that are not in the ISR of their partition: 3 (press-0, press-1, press-2)",
		5000: "replicas here that are not in the ISR of their partition: 5000 (press-0, press-1, press-2, press-3, press-4, press-5, press-6, press-7, press-8, press-9, and 4990 more)",
	} {
		var behind []cluster.TopicPartition
		for i := range n {
			behind = append(behind, cluster.TopicPartition{Topic: "press", Index: int32(i)})
		}
		if err := notCaughtUp(behind); err == nil || err.Error() != want {
			t.Errorf("%d: %.300v, want %s", n, err, want)
		}
	}
	if err := notCaughtUp(nil); err != nil {
		t.Error(err)
	}
	if err := (&Broker{}).CaughtUp(); err != nil {
		t.Errorf("alone: %v", err)
	}
}
