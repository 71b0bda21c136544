package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// What is said of MQTT sessions is there after a restart, in order, and is nobody
// else's to write.
func TestMQTTState(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	start := time.Now().UnixMilli()
	read := func(b *brokertest.Box) (all []string) {
		t.Helper()
		skipped, err := b.ReadState(func(timestamp int64, key, value []byte) {
			if timestamp < start || timestamp > time.Now().UnixMilli() {
				t.Errorf("%s: written at %d", key, timestamp)
			}
			all = append(all, fmt.Sprintf("%s %q %v", key, value, value == nil))
		})
		if err != nil || skipped > 0 {
			t.Errorf("%d batches skipped, error %v", skipped, err)
		}
		return all
	}
	var want []string
	for life := range 3 {
		b := brokertest.Start(t, cfg)
		if got := read(b); !slices.Equal(got, want) {
			t.Errorf("life %d: %q, want %q", life, got, want)
		}
		done := make(chan error, 1)
		key := fmt.Sprintf("key %d", life)
		b.AppendState([][]byte{[]byte(key), []byte("gone")}, [][]byte{[]byte("value"), nil}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want = append(want, key+` "value" false`, `gone "" true`)
		if got := read(b); !slices.Equal(got, want) {
			t.Errorf("life %d: %q, want %q", life, got, want)
		}
		var bu record.Builder
		bu.Add(start, []byte("key"), nil, nil)
		b.Append(topic.MQTTState, 0, bu.Batch(), func(_ int64, err error) { done <- err })
		if err := <-done; !errors.Is(err, topic.ErrInternal) {
			t.Errorf("append from outside: %v", err)
		}
		b.Stop(t)
	}
}
