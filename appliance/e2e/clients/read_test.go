//go:build interop

package clients

import (
	"fmt"
	"testing"
)

// Each client reads by offset: from the beginning, the end, an offset in the middle
// of a batch and a time, whatever the compression.
func TestRead(t *testing.T) {
	const count = 20 // of each compression
	each(t, func(t *testing.T, c client, brokers string) {
		topic := newTopic(t, brokers, 1)
		for i, codec := range fillCodecs {
			fill(t, brokers, topic, 1, fmt.Sprintf("c%d", i), count, codec)
		}
		total := count * len(fillCodecs)
		read := func(at string, cmd command, from int64, n int) {
			t.Helper()
			cmd.Do, cmd.Brokers, cmd.Topic, cmd.Partition, cmd.At, cmd.Count = "read", brokers, topic, ptr(int32(0)), at, n
			d := c.launch(t, cmd)
			if at == "end" {
				d.until("it stands at the end", func(told []event) bool { return len(told) > 0 && told[0].Ready })
				fill(t, brokers, topic, 1, "late", n, fillCodecs[0])
			}
			checkRead(t, d.wait(), from, n, count, total)
		}
		read("beginning", command{}, 0, total)
		read("offset", command{Offset: 33}, 33, total-33)
		read("time", command{Time: baseTime + 7500}, 8, total-8)
		read("end", command{}, int64(total), 3)
	})
}

// checkRead holds what a driver read against what lies there from an offset on:
// total records in runs of count, and late ones behind.
func checkRead(t *testing.T, told []event, from int64, n, count, total int) {
	t.Helper()
	var got []event
	for _, e := range told {
		if e.Error != "" {
			t.Fatalf("%s", e.Error)
		}
		if !e.Ready {
			got = append(got, e)
		}
	}
	if len(got) != n {
		t.Fatalf("%d records from offset %d on, want %d", len(got), from, n)
	}
	for i, e := range got {
		offset := from + int64(i)
		in := int(offset) % count
		value := fmt.Sprintf("c%d-%d", int(offset)/count, in)
		if int(offset) >= total {
			in = int(offset) - total
			value = fmt.Sprintf("late-%d", in)
		}
		if e.Offset != offset || e.Value != value || e.Key != fmt.Sprintf("k%d", in%3) || e.Time != baseTime+1000*int64(in) {
			t.Fatalf("record %d is offset %d, %s=%s at %d; want offset %d, value %s", i, e.Offset, e.Key, e.Value, e.Time, offset, value)
		}
	}
}
