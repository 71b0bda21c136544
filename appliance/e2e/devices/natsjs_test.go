//go:build interop

package devices

import (
	"fmt"
	"testing"
)

// nats.js publishes, with ids too, and reads back by each of its ways.
func TestNatsJS(t *testing.T) {
	p := start(t)
	server := "nats://" + p.NATS
	acks := drive(t, node, order{Do: "publish", Server: server, Subject: "telemetry.js.temp", Prefix: "v", Count: 20, IDs: true})
	if len(acks) != 20 || acks[0].Stream != "telemetry-0" || acks[0].Duplicate {
		t.Fatalf("%d acks, the first %+v", len(acks), acks[0])
	}
	first := acks[0].Sequence
	for i, again := range drive(t, node, order{Do: "publish", Server: server, Subject: "telemetry.js.temp", Prefix: "v", Count: 20, IDs: true}) {
		if !again.Duplicate || again.Sequence != first+uint64(i) {
			t.Fatalf("sent again, %d is acked as %+v", i, again)
		}
	}
	if info := drive(t, node, order{Do: "info", Server: server, Stream: "telemetry-0"}); len(info) != 1 || info[0].Sequence != first+19 {
		t.Fatalf("info %+v, want last sequence %d", info, first+19)
	}
	for _, do := range []string{"ordered", "durable", "direct"} {
		t.Run(do, func(t *testing.T) {
			got := drive(t, node, order{Do: do, Server: server, Stream: "telemetry-0", Sequence: first, Durable: "js", Count: 20})
			if len(got) != 20 {
				t.Fatalf("%d messages", len(got))
			}
			for i, m := range got {
				if m.Sequence != first+uint64(i) || m.Subject != "telemetry.js.temp" || m.Value != fmt.Sprint("v-", i) {
					t.Fatalf("message %d is %+v", i, m)
				}
			}
		})
	}
}
