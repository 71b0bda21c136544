package ingest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/bridge/dedup"
)

var withIDs = Config{DedupWindow: 2 * time.Minute}

func at(offset int) string {
	return fmt.Sprintf(`{"stream":"telemetry-0","seq":%d,"partition":0,"offset":%d}`, offset+1, offset)
}

func again(offset int) string { return strings.TrimSuffix(at(offset), "}") + `,"duplicate":true}` }

func (r *rig) expect(want map[string]string) {
	r.t.Helper()
	if got := r.texts(); !maps.Equal(got, want) {
		r.t.Errorf("answers\n%v\nwant\n%v", got, want)
	}
}

func (r *rig) expectValues(want ...string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.log.values(r.t); !slices.Equal(got, want) {
		r.t.Errorf("stored %q, want %q", got, want)
	}
}

// A message that is sent again is not stored again, and is answered with the place of
// the first: in the same stream, for as long as the id is remembered.
func TestDuplicates(t *testing.T) {
	inBubble(t, withIDs, func(r *rig) {
		r.id("r.1", "a")
		r.idle()
		r.id("r.2", "b")
		r.idle()
		r.expect(map[string]string{"r.1": at(0), "r.2": at(1)})
		r.id("r.3", "a")
		r.id("", "b")
		r.with("r.4", "none")
		r.Take(&Message{Rule: 1, Subject: []byte("plant.a.x.y"), Headers: []byte("NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n"), Payload: []byte("other stream")})
		r.idle()
		r.expect(map[string]string{"r.3": again(0), "r.4": at(2)})
		time.Sleep(time.Second)
		r.expectValues("a", "b", "none", "other stream")
		if got := r.counted("headwater_bridge_duplicates_total", "telemetry.>"); got != 2 {
			t.Errorf("%d duplicates were counted, want 2", got)
		}
		time.Sleep(2 * time.Minute)
		r.id("r.5", "a")
		r.idle()
		r.expect(map[string]string{"r.5": at(3)})
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// Without a window ids are headers like others.
func TestNoWindow(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.id("r.1", "a")
		r.id("r.2", "a")
		r.with("r.3", "x", "Nats-Expected-Last-Msg-Id", "a")
		r.with("r.4", "y", "Nats-Expected-Last-Sequence", "2")
		r.idle()
		r.expectValues("a", "a", "y")
		if got, want := r.devices.errCodes(t), (map[string]int{"r.1": 0, "r.2": 0, "r.3": 10003, "r.4": 0}); !maps.Equal(got, want) {
			t.Errorf("answers %v, want %v", got, want)
		}
	})
}

// A message whose like is on its way shares its fate, and is never answered before.
func TestDuplicateInFlight(t *testing.T) {
	for name, fail := range map[string]error{"stored": nil, "failed": errDisk} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, withIDs, func(r *rig) {
				r.warm()
				r.log.hold()
				r.log.set(func() { r.log.fail = fail })
				r.id("", "a") // its record is in an open batch, then in flight, when it comes again
				r.idle()
				r.id("r.1", "a")
				r.id("", "a")
				r.idle()
				r.id("r.2", "a")
				time.Sleep(20 * time.Second)
				r.expect(map[string]string{})
				if got := r.log.counts(); !slices.Equal(got, []int{1}) {
					t.Fatalf("batches of %v records, want one of 1", got)
				}
				r.log.set(func() { r.log.fail, r.log.heldBack = nil, false })
				r.log.release()
				synctest.Wait()
				if fail == nil {
					r.expect(map[string]string{"r.1": again(0), "r.2": again(0)})
				} else if got, want := r.devices.errCodes(t), (map[string]int{"r.1": 10077, "r.2": 10077}); !maps.Equal(got, want) {
					t.Errorf("answers %v, want %v", got, want)
				}
				r.texts()
				r.id("r.3", "a")
				r.idle()
				if fail == nil {
					r.expect(map[string]string{"r.3": again(0)})
				} else {
					r.expect(map[string]string{"r.3": at(0)})
				}
				if got := r.buffered(); got != 0 {
					t.Errorf("%d bytes are still counted as buffered", got)
				}
			})
		})
	}
}

// After a start the log says what is stored. Until it was read messages with ids
// wait, in their order; others do not.
func TestIDsAreReadAfterStart(t *testing.T) {
	inBubble(t, withIDs, func(r *rig) {
		r.id("r.1", "a")
		r.id("r.2", "b")
		r.idle()
		r.texts()
		r.restart()
		open := r.log.close()
		r.id("r.3", "c")
		r.id("r.4", "b")
		r.with("r.5", "none", "Nats-Expected-Last-Sequence", "2")
		r.id("r.6", "c")
		r.idle()
		r.expect(map[string]string{"r.5": at(2)})
		open()
		r.expect(map[string]string{"r.3": at(3), "r.4": again(1), "r.6": again(3)})
		r.expectValues("a", "b", "none", "c")
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// However much others write after the start: what was there before is what a device
// sends again.
func TestTailOfBeforeCounts(t *testing.T) {
	cfg := withIDs
	cfg.DedupBytes = 1000 * dedup.EntryBytes
	inBubble(t, cfg, func(r *rig) {
		r.id("r.1", "a")
		r.idle()
		r.texts()
		r.restart()
		for range 20 {
			for range 500 {
				r.core("telemetry.d1", "none")
			}
			time.Sleep(time.Second)
		}
		r.id("r.2", "a")
		r.idle()
		r.expect(map[string]string{"r.2": again(0)})
	})
}

// Records of Kafka producers count, whenever they came.
func TestProducersRecordsCount(t *testing.T) {
	inBubble(t, withIDs, func(r *rig) {
		r.log.produce("telemetry", "k0", "k0")
		r.id("r.1", "k0")
		r.idle()
		r.expect(map[string]string{"r.1": again(0)})
		r.log.produce("telemetry", "k1", "k1") // while nothing of ours is on its way
		r.id("r.2", "k1")
		r.idle()
		r.expect(map[string]string{"r.2": again(1)})
		r.id("r.3", "a")
		r.log.produce("telemetry", "k2", "k2") // before ours, which tells by its offset
		r.idle()
		r.log.hold()
		r.core("telemetry.d1", "x")
		time.Sleep(time.Second)
		r.id("r.4", "k2") // something is on its way
		r.idle()
		r.expect(map[string]string{"r.3": at(3), "r.4": again(2)})
		r.log.release()
	})
}

// A topic that was deleted and made again is another: its log says nothing of the old.
func TestTopicMadeAgain(t *testing.T) {
	inBubble(t, withIDs, func(r *rig) {
		for _, id := range []string{"a", "b", "c"} {
			r.id("", id)
			time.Sleep(time.Second)
		}
		r.log.set(func() { r.log.batches, r.log.ends = nil, nil })
		r.log.produce("telemetry", "b", "b")
		r.id("r.1", "a")
		r.id("r.2", "b")
		r.idle()
		r.expect(map[string]string{"r.1": at(1), "r.2": again(0)})
	})
}

// While ids cannot be read, messages with ids are told to come again; others are
// stored.
func TestIDsUnread(t *testing.T) {
	inBubble(t, withIDs, func(r *rig) {
		r.log.produce("telemetry", "a", "a")
		r.log.set(func() { r.log.unread = errDisk })
		r.id("r.1", "a")
		r.idle()
		r.id("r.2", "a")
		r.with("r.3", "none")
		r.idle()
		if got, want := r.devices.errCodes(t), (map[string]int{"r.1": 10008, "r.2": 10008, "r.3": 0}); !maps.Equal(got, want) {
			t.Errorf("answers %v, want %v", got, want)
		}
		r.texts()
		r.log.set(func() { r.log.unread = nil })
		time.Sleep(askInterval)
		r.id("r.4", "a")
		r.idle()
		r.expect(map[string]string{"r.4": again(0)})
	})
}

// The window is bounded, and tells when it was too small.
func TestWindowIsBounded(t *testing.T) {
	cfg := withIDs
	cfg.DedupBytes = 10 * dedup.EntryBytes
	inBubble(t, cfg, func(r *rig) {
		for i := range 15 {
			r.id("", fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		if got := r.counted("headwater_bridge_dedup_evicted_total"); got != 5 {
			t.Errorf("%d ids were evicted, want 5", got)
		}
		r.id("r.5", "5")
		r.id("r.4", "4")
		r.idle()
		r.expect(map[string]string{"r.4": at(15), "r.5": again(5)})
	})
}

// Memory for messages that wait for ids, and for ids, is within the buffer.
func TestWaitingForIDsIsBounded(t *testing.T) {
	cfg := withIDs
	cfg.BufferBytes = 64 << 10
	inBubble(t, cfg, func(r *rig) {
		r.log.produce("telemetry", "", "x")
		open := r.log.close()
		const n = 1000
		for i := range n {
			r.id(fmt.Sprint("r.", i), fmt.Sprint(i))
			r.idle()
			if got := r.buffered(); got > cfg.BufferBytes {
				t.Fatalf("%d bytes are buffered, the limit is %d", got, cfg.BufferBytes)
			}
		}
		open()
		synctest.Wait()
		codes := r.devices.errCodes(t)
		stored := len(r.log.values(t)) - 1
		refused := 0
		for _, code := range codes {
			if code == 10023 {
				refused++
			}
		}
		if len(codes) != n || refused == 0 || stored == 0 || stored+refused != n {
			t.Errorf("of %d: %d answers, %d refused, %d stored", n, len(codes), refused, stored)
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// What a message expects is compared with what is there, and told as JetStream does.
func TestExpectations(t *testing.T) {
	const lastSequence, lastID = "Nats-Expected-Last-Sequence", "Nats-Expected-Last-Msg-Id"
	for name, tc := range map[string]struct {
		headers []string
		code    int    // 0: it is stored
		text    string // in the answer
	}{
		"stream":                  {[]string{"Nats-Expected-Stream", "telemetry-0"}, 0, ""},
		"other stream":            {[]string{"Nats-Expected-Stream", "telemetry"}, 10060, "expected stream does not match"},
		"sequence":                {[]string{lastSequence, "2"}, 0, ""},
		"other sequence":          {[]string{lastSequence, "1"}, 10071, `"code":400,"err_code":10071,"description":"wrong last sequence: 2"`},
		"no number":               {[]string{lastSequence, "two"}, 10003, "is no number"},
		"negative":                {[]string{lastSequence, "-1"}, 10003, "is no number"},
		"last id":                 {[]string{lastID, "b"}, 0, ""},
		"earlier id":              {[]string{lastID, "a"}, 10070, "wrong last msg ID"},
		"unknown id":              {[]string{lastID, "z"}, 10070, "wrong last msg ID"},
		"last id, sequence":       {[]string{lastID, "b", lastSequence, "2"}, 0, ""},
		"last id, other sequence": {[]string{lastID, "b", lastSequence, "1"}, 10070, "wrong last msg ID"},
		"subject sequence":        {[]string{"Nats-Expected-Last-Subject-Sequence", "0"}, 10003, "Nats-Expected-Last-Sequence compares"},
		"its subject alone":       {[]string{"Nats-Expected-Last-Subject-Sequence-Subject", "a"}, 10193, "missing sequence"},
		"both":                    {[]string{"Nats-Expected-Last-Subject-Sequence-Subject", "a", "Nats-Expected-Last-Subject-Sequence", "1"}, 10003, "not kept"},
		"TTL":                     {[]string{"Nats-TTL", "1m"}, 10166, "TTL"},
		"counter":                 {[]string{"Nats-Incr", "+1"}, 10168, "counters"},
		"batch":                   {[]string{"Nats-Batch-Id", "x"}, 10174, "atomic"},
		"schedule":                {[]string{"Nats-Schedule", "@at x"}, 10188, "schedules"},
		"rollup":                  {[]string{"Nats-Rollup", "sub"}, 10111, "rollup"},
		"empty":                   {[]string{lastSequence, " "}, 0, ""},
		"first of two":            {[]string{lastSequence, "2", lastSequence, "7"}, 0, ""},
		"duplicate first":         {[]string{"Nats-Msg-Id", "b", lastSequence, "1"}, -1, `"duplicate":true`},
		"other case of letters":   {[]string{"nats-expected-stream", "x"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, withIDs, func(r *rig) {
				r.id("r.a", "a")
				r.id("r.b", "b")
				r.idle()
				r.texts()
				r.with("r.1", "it", tc.headers...)
				r.with("", "copy", append(tc.headers, lastSequence, "9")...)
				r.with("r.2", "after")
				r.idle()
				time.Sleep(time.Second)
				codes := r.devices.errCodes(t)
				if codes["r.1"] != max(tc.code, 0) || codes["r.2"] != 0 {
					t.Errorf("answers %v, want %d and 0", codes, tc.code)
				}
				want := []string{"a", "b", "it", "after"}
				if tc.code != 0 {
					want = []string{"a", "b", "after"}
				}
				if got := slices.DeleteFunc(r.log.values(t), func(v string) bool { return v == "copy" }); !slices.Equal(got, want) {
					t.Errorf("stored %q, want %q", got, want)
				}
				if text := r.texts()["r.1"]; !strings.Contains(text, tc.text) {
					t.Errorf("answer %s, want %s in it", text, tc.text)
				}
				refused := r.counted("headwater_bridge_refused_total")
				if refused != 0 && tc.code <= 0 || refused != 1 && tc.code > 0 {
					t.Errorf("%d refusals were counted", refused)
				}
			})
		})
	}
}

// Of publishers that expect the same, one is right, also when others write too; and a
// message that was wrong costs nobody else a message or a topic.
func TestExpectationsInFlight(t *testing.T) {
	inBubble(t, withIDs, func(r *rig) {
		r.warm()
		r.id("r.0", "a")
		r.idle()
		r.texts()
		r.log.hold()
		r.with("r.1", "1", "Nats-Expected-Last-Sequence", "1")
		r.with("r.2", "2", "Nats-Expected-Last-Sequence", "1")
		r.with("r.3", "3")
		r.with("r.4", "4", "Nats-Expected-Last-Sequence", "3")
		r.id("r.5", "b")
		r.with("r.6", "6", "Nats-Expected-Last-Msg-Id", "b") // which is on its way
		r.idle()
		for range 10 {
			r.log.release()
			synctest.Wait()
		}
		want := map[string]int{"r.1": 0, "r.2": 10071, "r.3": 0, "r.4": 0, "r.5": 0, "r.6": 0}
		if got := r.devices.errCodes(t); !maps.Equal(got, want) {
			t.Errorf("answers %v, want %v", got, want)
		}
		r.expectValues("a", "1", "3", "4", "b", "6")
		r.texts()
		r.log.set(func() { r.log.heldBack = false })
		r.id("r.7", "c")
		r.idle()
		r.log.produce("telemetry", "", "k")
		r.with("r.8", "8", "Nats-Expected-Last-Msg-Id", "c")
		r.idle()
		r.expect(map[string]string{"r.7": at(6), "r.8": `{"error":{"code":400,"err_code":10070,"description":"wrong last msg ID: another message follows it"},"stream":"telemetry-0","seq":0}`})
		topic := r.topics["telemetry"]
		if topic.stale || topic.gathers[0].failing {
			t.Error("the topic is taken to fail")
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// At the end those who wait for ids are stored, or told when that takes too long.
func TestStopWhileIDsAreRead(t *testing.T) {
	for name, inTime := range map[string]bool{"in time": true, "too late": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, withIDs, func(r *rig) {
				r.log.produce("telemetry", "a", "a")
				open := r.log.close()
				r.id("r.1", "a")
				r.id("r.2", "b")
				r.idle()
				after := time.Second
				if !inTime {
					after = time.Hour
				}
				time.AfterFunc(after, open)
				err := r.end()
				if inTime {
					r.expect(map[string]string{"r.1": again(0), "r.2": at(1)})
				} else if got, want := r.devices.errCodes(t), (map[string]int{"r.1": 10077, "r.2": 10077}); !maps.Equal(got, want) {
					t.Errorf("answers %v, want %v", got, want)
				}
				if errors.Is(err, ErrUnconfirmed) == inTime {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

// Whatever happens, an id that was acked is in the log once, where the answer says;
// and none is there twice.
func TestIDsAreStoredOnce(t *testing.T) {
	for seed := range uint64(20) {
		inBubble(t, withIDs, func(r *rig) {
			rng := rand.New(rand.NewPCG(seed, 7))
			replies := 0
			held := false
			acked := map[string]string{} // by id: where
			collect := func() {
				for reply, text := range r.texts() {
					id, _, _ := strings.Cut(strings.TrimPrefix(reply, "r."), ".")
					if strings.Contains(text, "error") {
						continue
					}
					_, offset, _ := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(text, "}"), `,"duplicate":true`), `"offset":`)
					if before, ok := acked[id]; ok && before != offset {
						t.Fatalf("seed %d: %s was acked at %s and %s", seed, id, before, offset)
					}
					acked[id] = offset
				}
			}
			for range 2000 {
				id := fmt.Sprint(rng.IntN(300))
				switch n := rng.IntN(100); {
				case n < 60:
					replies++
					reply := fmt.Sprintf("r.%s.%d", id, replies)
					if rng.IntN(5) == 0 {
						reply = ""
					}
					r.id(reply, id)
				case n < 70:
					r.core("telemetry.d1", "none")
				case n < 72:
					if !held && !r.log.has(t, id) && r.buffered() == 0 {
						r.log.produce("telemetry", id, id)
					}
				case n < 80:
					r.idle()
				case n < 85:
					held = true
					r.log.hold()
				case n < 92:
					held = false
					r.log.set(func() { r.log.heldBack = false })
					r.log.release()
				case n < 94:
					r.log.set(func() { r.log.fail = errDisk })
				case n < 97:
					r.log.set(func() { r.log.fail = nil })
				case n < 99:
					time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
				default:
					held = false
					r.log.set(func() { r.log.heldBack = false })
					r.log.release()
					r.restart()
				}
				collect()
			}
			r.log.set(func() { r.log.heldBack, r.log.fail = false, nil })
			r.log.release()
			time.Sleep(time.Second)
			collect()
			where := map[string]string{}
			for _, a := range r.log.all() {
				if a.base == anyOffset {
					continue
				}
				for _, rec := range recordsOf(t, a.batch) {
					if id := string(rec.Value); id != "none" {
						if before, twice := where[id]; twice {
							t.Fatalf("seed %d: %s is stored at %s and %d", seed, id, before, a.base+int64(rec.OffsetDelta))
						}
						where[id] = fmt.Sprint(a.base + int64(rec.OffsetDelta))
					}
				}
			}
			for id, offset := range acked {
				if where[id] != offset {
					t.Errorf("seed %d: %s was acked at %s and is at %q", seed, id, offset, where[id])
				}
			}
			if len(acked) < 200 {
				t.Errorf("seed %d: only %d ids were acked", seed, len(acked))
			}
		})
	}
}

func (f *fakeLog) has(t *testing.T, id string) bool { return slices.Contains(f.values(t), id) }
