package ingest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A best-effort message that was let go to make room is not remembered by its id: sent
// again, it is stored. One whose like somebody waits for by now is not let go, and not
// counted as if it were; a message that asks by another's id is told of that one's
// place, wherever that has moved to.
func TestIDsOfMessagesLetGo(t *testing.T) {
	cfg := withIDs
	cfg.BufferBytes, cfg.BatchBytes = 256<<10, 8<<10
	inBubble(t, cfg, func(r *rig) {
		r.id("", "warm")
		r.idle()
		r.log.hold()
		value := strings.Repeat("v", 500)
		const n = 2000
		for i := range n {
			r.with("", value, "Nats-Msg-Id", fmt.Sprint("id-", i))
			if i == 500 { // it is far behind what the log has by now
				r.with("reply.500", value, "Nats-Msg-Id", "id-500")
			}
		}
		r.idle()
		dropped := r.counted("headwater_bridge_dropped_total", "buffer_full")
		if dropped == 0 || dropped == n {
			t.Fatalf("%d of %d were let go", dropped, n)
		}
		r.log.goOn()
		time.Sleep(time.Second) // what is open lingers no longer than that
		synctest.Wait()
		if got := len(r.log.values(t)); got != n+1-dropped {
			t.Errorf("%d records, want %d less the %d that were let go, and one", got, n, dropped)
		}
		at := map[string]int{} // offset, by id
		offset := 0
		for _, a := range r.log.all() {
			for _, record := range recordsOf(t, a.batch) {
				for _, h := range record.Headers {
					if h.Key == "Nats-Msg-Id" {
						at[string(h.Value)] = offset
					}
				}
				offset++
			}
		}
		if _, stored := at["id-500"]; !stored {
			t.Fatal("the message that somebody waited for is gone")
		}
		told := fmt.Sprintf(`{"stream":"telemetry-0","seq":%d,"partition":0,"offset":%d,"duplicate":true}`, at["id-500"]+1, at["id-500"])
		if got := r.devices.all(); len(got) != 1 || got[0].text != told {
			t.Errorf("told %v, want %s", got, told)
		}
		r.with("reply.later", value, "Nats-Msg-Id", "id-500")
		r.idle()
		if got := r.devices.all(); len(got) != 2 || got[1].text != told {
			t.Errorf("later told %v, want %s", got, told)
		}
		gone := -1
		for i := range n {
			if _, stored := at[fmt.Sprint("id-", i)]; !stored {
				gone = i
				break
			}
		}
		if gone < 0 {
			t.Fatal("all ids are there")
		}
		r.with("reply.again", value, "Nats-Msg-Id", fmt.Sprint("id-", gone))
		r.idle()
		if got := r.devices.all(); len(got) != 3 || strings.Contains(got[2].text, "duplicate") || !strings.Contains(got[2].text, `"offset"`) {
			t.Errorf("sent again, one that was let go is answered with %v", got)
		}
		if len(r.Ingest.ids.claims) != 0 || r.buffered() != 0 {
			t.Errorf("%d ids are claimed, %d bytes buffered at the end", len(r.Ingest.ids.claims), r.buffered())
		}
	})
}
