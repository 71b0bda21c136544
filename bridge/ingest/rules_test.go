package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/record"
)

// by takes a message that came by the rule's own subscription.
func (r *rig) by(rule int, subject, reply, headers, value string) {
	r.Take(&Message{Rule: rule, Subject: []byte(subject), Reply: []byte(reply), Headers: []byte(headers), Payload: []byte(value)})
}

// sentAt are when the batches of each topic went, after the rig's start.
func (r *rig) sentAt() map[string]time.Duration {
	at := map[string]time.Duration{}
	for _, b := range r.log.all() {
		at[b.topic] = b.at.Sub(r.start)
	}
	return at
}

// Each rule's messages linger as long as it says, and those of one that says
// nothing as long as the bridge does.
func TestLingerByRule(t *testing.T) {
	rules := []subject.Rule{
		{Subject: "slow", Topic: "slow", Linger: 2 * time.Second},
		{Subject: "fast", Topic: "fast", Linger: 3 * time.Millisecond},
		{Subject: "plain", Topic: "plain"},
	}
	inBubbleBy(t, rules, Config{Linger: 50 * time.Millisecond}, func(r *rig) {
		for _, name := range []string{"slow", "fast", "plain"} { // so that their topics are known
			r.by(map[string]int{"slow": 0, "fast": 1, "plain": 2}[name], name, "", "", "x")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		r.log.set(func() { r.log.batches = nil })
		r.start = time.Now()

		r.by(0, "slow", "", "", "x")
		r.by(2, "plain", "", "", "x")
		r.by(1, "fast", "", "", "x")
		time.Sleep(time.Minute)
		synctest.Wait()
		want := map[string]time.Duration{"slow": 2 * time.Second, "fast": 3 * time.Millisecond, "plain": 50 * time.Millisecond}
		if got := r.sentAt(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("batches went after %v, want %v", got, want)
		}
	})
}

// In a batch that rules share, the least patient message decides, whether it came
// first or later.
func TestLeastLingerDecides(t *testing.T) {
	rules := []subject.Rule{
		{Subject: "slow", Topic: "shared", Linger: 10 * time.Second},
		{Subject: "fast", Topic: "shared", Linger: 5 * time.Millisecond},
	}
	for name, tc := range map[string]struct {
		first, second int
		want          time.Duration // after the first
	}{
		"fastIsSecond": {0, 1, 105 * time.Millisecond},
		"fastIsFirst":  {1, 0, 5 * time.Millisecond},
		"slowTwice":    {0, 0, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbleBy(t, rules, Config{}, func(r *rig) {
				r.by(1, "fast", "", "", "warm")
				time.Sleep(time.Minute)
				synctest.Wait()
				r.log.set(func() { r.log.batches = nil })
				r.start = time.Now()

				r.by(tc.first, rules[tc.first].Subject, "", "", "1")
				time.Sleep(min(100*time.Millisecond, tc.want-time.Millisecond))
				r.by(tc.second, rules[tc.second].Subject, "", "", "2")
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := r.log.all(); len(got) != 1 || got[0].batch.Count() != 2 || got[0].at.Sub(r.start) != tc.want {
					t.Errorf("batches of %v records after %v; want one of 2 after %v", r.log.counts(), r.sentAt(), tc.want)
				}
			})
		})
	}
}

// A message that asks for an answer does not linger, whatever its rule says.
func TestAckedDoesNotLinger(t *testing.T) {
	inBubbleBy(t, []subject.Rule{{Subject: "slow", Topic: "slow", Linger: time.Minute}}, Config{}, func(r *rig) {
		r.by(0, "slow", "reply", "", "x")
		r.idle()
		if got := r.devices.all(); len(got) != 1 || got[0].at != r.start {
			t.Errorf("answers %v, want one at once", got)
		}
	})
}

// However patient a rule is, what lingers does not take the memory that messages
// need: batches go before their time, and nothing is dropped.
func TestPatienceTakesNoRoom(t *testing.T) {
	rules := []subject.Rule{{Subject: "a.*", Topic: "t", Key: "{2}", Partition: subject.ByKey, Linger: time.Minute}}
	inBubbleBy(t, rules, Config{BufferBytes: 64 << 10}, func(r *rig) {
		r.log.partitionsAre(200)
		const count = 400
		for i := range count {
			r.by(0, fmt.Sprintf("a.%d", i), "", "", strings.Repeat("x", 1000))
			synctest.Wait()
			if n := r.buffered(); n > 34<<10 {
				t.Fatalf("after %d messages %d bytes are held, want half of 64 KiB and a message", i, n)
			}
		}
		if time.Since(r.start) != 0 {
			t.Fatalf("%v have passed", time.Since(r.start))
		}
		if n := r.counted("headwater_bridge_dropped_total"); n != 0 {
			t.Errorf("%d were dropped", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := len(r.log.values(t)); n != count || r.buffered() != 0 || r.lingering != 0 {
			t.Errorf("%d records are stored, %d bytes held, %d linger; want %d, 0, 0", n, r.buffered(), r.lingering, count)
		}
	})
}

// The heap of open batches tells the next to go, as looking at all of them does.
func TestOpenHeap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	in := &Ingest{wakeSender: make(chan struct{}, 1)}
	all := map[*gather]bool{}
	start := time.Now()
	for range 20_000 {
		linger := time.Duration(rng.IntN(1000)) * time.Millisecond
		switch {
		case len(all) == 0 || len(all) < 200 && rng.IntN(3) == 0:
			g := &gather{}
			all[g] = true
			in.lingerAtMost(g, start, linger)
		default:
			for g := range all { // any one
				if rng.IntN(2) == 0 {
					in.open.remove(g)
					delete(all, g)
				} else {
					in.lingerAtMost(g, start, linger)
				}
				break
			}
		}
		least := start.Add(time.Hour)
		for g := range all {
			if g.deadline.Before(least) {
				least = g.deadline
			}
		}
		if first := in.open.first(); in.open.Len() != len(all) || first != nil && !first.deadline.Equal(least) {
			t.Fatalf("%d open, the first at %v; want %d, %v", in.open.Len(), first.deadline, len(all), least)
		}
	}
}

// compressible is a value that is like those beside it.
func compressible(i int) string {
	return fmt.Sprintf(`{"device":"press%d","quantity":"temperature","unit":"C","value":21.%d}`, i, i)
}

// What goes to the log is compressed as the rule says, and the same records come
// out of it.
func TestCompression(t *testing.T) {
	for _, name := range subject.Compressions() {
		t.Run(name, func(t *testing.T) {
			inBubbleBy(t, []subject.Rule{{Subject: "a.*", Topic: "t", Key: "{2}", Compression: name}}, Config{}, func(r *rig) {
				for i := range 100 {
					r.by(0, fmt.Sprintf("a.%d", i), "", "NATS/1.0\r\nUnit: C\r\n\r\n", compressible(i))
				}
				time.Sleep(time.Second)
				synctest.Wait()
				all := r.log.all()
				if len(all) != 1 || all[0].batch.Codec().String() != name {
					t.Fatalf("batches %v, want one by %s", all, name)
				}
				b := all[0].batch
				if err := errors.Join(b.Check(), b.Validate()); err != nil {
					t.Error(err)
				}
				i := 0
				if err := codec.Records(b, 1<<20, func(rec record.Record) bool {
					if string(rec.Value) != compressible(i) || string(rec.Key) != fmt.Sprint(i) || b.BaseTimestamp()+rec.TimestampDelta > b.MaxTimestamp() {
						t.Errorf("record %d: key %q value %q", i, rec.Key, rec.Value)
					}
					i++
					return true
				}); err != nil || i != 100 {
					t.Errorf("%d records came out (%v), want 100", i, err)
				}
				input := r.counted("headwater_bridge_compression_input_bytes_total", name)
				output := r.counted("headwater_bridge_compression_output_bytes_total", name)
				if name == "none" {
					if input != 0 || output != 0 {
						t.Errorf("%d bytes in and %d out were counted for nothing", input, output)
					}
				} else if input < 100*len(compressible(0)) || output != len(b.Payload()) || output*2 > input {
					t.Errorf("%d bytes in, %d out; the batch's payload has %d", input, output, len(b.Payload()))
				}
			})
		})
	}
}

// What compression makes no smaller is sent as it is, and counted so.
func TestIncompressible(t *testing.T) {
	random := make([]byte, 4096)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(random)
	for name, value := range map[string]string{"random": string(random), "few": strings.Repeat("x", 100)} {
		t.Run(name, func(t *testing.T) {
			inBubbleBy(t, []subject.Rule{{Subject: "a", Topic: "t", Compression: "lz4"}}, Config{}, func(r *rig) {
				r.by(0, "a", "", "", value)
				time.Sleep(time.Second)
				synctest.Wait()
				all := r.log.all()
				if len(all) != 1 || all[0].batch.Codec() != record.None || r.log.values(t)[0] != value {
					t.Fatalf("batches %v, want one that is not compressed", all)
				}
				input := r.counted("headwater_bridge_compression_input_bytes_total", "lz4")
				output := r.counted("headwater_bridge_compression_output_bytes_total", "lz4")
				if size := len(all[0].batch.Payload()); input != size || output != size {
					t.Errorf("%d bytes in, %d out; want %d each", input, output, size)
				}
			})
		})
	}
}

// The series of a codec that a rule names are there before the first message, and
// those of rules, too: a rule that gets nothing shows as 0.
func TestSeriesStartAtZero(t *testing.T) {
	rules := []subject.Rule{{Subject: "a", Topic: "t", Compression: "zstd"}, {Subject: "b", Topic: "t"}}
	inBubbleBy(t, rules, Config{}, func(r *rig) {
		families, err := r.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		series := map[string]int{}
		for _, f := range families {
			series[f.GetName()] = len(f.GetMetric())
		}
		for name, want := range map[string]int{
			"headwater_bridge_messages_total":                 4,
			"headwater_bridge_compression_input_bytes_total":  1,
			"headwater_bridge_compression_output_bytes_total": 1,
		} {
			if series[name] != want {
				t.Errorf("%s has %d series, want %d", name, series[name], want)
			}
		}
	})
}

// A message with its headers is held against its own rule's limit.
func TestMaxMessageBytes(t *testing.T) {
	rules := []subject.Rule{{Subject: "small", Topic: "t", MaxMessageBytes: 30}, {Subject: "any", Topic: "t"}}
	headers := "NATS/1.0\r\nA: b\r\n\r\n" // 18 bytes
	inBubbleBy(t, rules, Config{}, func(r *rig) {
		r.by(0, "small", "fits", headers, strings.Repeat("x", 12))
		r.by(0, "small", "headers", headers, strings.Repeat("x", 13))
		r.by(0, "small", "payload", "", strings.Repeat("x", 31))
		r.by(0, "small", "", "", strings.Repeat("x", 31))
		r.by(1, "any", "other", "", strings.Repeat("x", 1000))
		r.idle()
		want := map[string]int{"fits": 0, "headers": 10054, "payload": 10054, "other": 0}
		if got := r.devices.errCodes(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("answers %v, want %v", got, want)
		}
		refused := r.counted("headwater_bridge_refused_total", "small", "too_large")
		dropped := r.counted("headwater_bridge_dropped_total", "small", "too_large")
		if refused != 2 || dropped != 1 {
			t.Errorf("%d refused and %d dropped as too large, want 2 and 1", refused, dropped)
		}
	})
}

// A rule's headers stand in its records; a device cannot put its own in their
// place, however it writes the name.
func TestRuleHeaders(t *testing.T) {
	rules := []subject.Rule{
		{Subject: "plant.*.>", Topic: "t", Headers: []subject.HeaderRule{{Name: "Plant", Value: "{2}"}, {Name: "Rest", Value: "{>}"}}},
		{Subject: "none", Topic: "t"},
	}
	inBubbleBy(t, rules, Config{}, func(r *rig) {
		r.by(0, "plant.7.press.temp", "", "NATS/1.0\r\npLANT: 9\r\nUnit: C\r\n\r\n", "x")
		r.by(1, "none", "", "NATS/1.0\r\nPlant: mine\r\n\r\n", "y")
		time.Sleep(time.Second)
		synctest.Wait()
		var got []string
		for _, b := range r.log.all() {
			for _, rec := range recordsOf(t, b.batch) {
				var names []string
				for _, h := range rec.Headers {
					if h.Key != headerTime {
						names = append(names, h.Key+"="+string(h.Value))
					}
				}
				got = append(got, strings.Join(names, " "))
			}
		}
		want := []string{"hw-subject=plant.7.press.temp Plant=7 Rest=press.temp Unit=C", "hw-subject=none Plant=mine"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("headers %q, want %q", got, want)
		}
	})
}

// A rule may name a partition that the topic does not have, or not yet.
func TestFixedPartition(t *testing.T) {
	inBubbleBy(t, []subject.Rule{{Subject: "a", Topic: "t", Partition: "2"}}, Config{}, func(r *rig) {
		r.by(0, "a", "early", "", "1")
		r.by(0, "a", "", "", "2")
		r.idle()
		if got := r.devices.errCodes(t)["early"]; got != 10008 || len(r.log.all()) != 0 {
			t.Errorf("with one partition: answer %d and %d batches, want 10008 and none", got, len(r.log.all()))
		}
		if n := r.counted("headwater_bridge_refused_total", "no_partition") + r.counted("headwater_bridge_dropped_total", "no_partition"); n != 2 {
			t.Errorf("%d were counted, want 2", n)
		}
		r.log.partitionsAre(3)
		time.Sleep(2 * time.Second)
		r.by(0, "a", "", "", "which has the bridge ask again")
		synctest.Wait()
		r.by(0, "a", "late", "", "3")
		r.idle()
		all := r.log.all()
		if got, ok := r.devices.errCodes(t)["late"]; !ok || got != 0 || len(all) == 0 || all[0].partition != 2 {
			t.Errorf("with three: answer %d (%v), batches %v; want it stored in partition 2", got, ok, all)
		}
	})
}

func (f *fakeLog) partitionsAre(n int32) {
	f.set(func() {
		f.grown = n
	})
}

var errCrowded = errors.New("no more topics")

// Topics beyond those that devices may cause are refused with a reason of their
// own, and logged once for all of them.
func TestCrowdedTopics(t *testing.T) {
	var out bytes.Buffer
	rules := []subject.Rule{{Subject: "d.*", Topic: "d-{2}"}}
	cfg := Config{Crowded: func(err error) bool { return errors.Is(err, errCrowded) }}
	inBubbleBy(t, rules, cfg, func(r *rig) {
		r.Ingest.log = slog.New(slog.NewTextHandler(&out, nil))
		r.log.set(func() { r.log.noTopic = errCrowded })
		for i := range 50 {
			r.by(0, fmt.Sprintf("d.%d", i), fmt.Sprint(i), "", "x")
			r.by(0, fmt.Sprintf("d.%d", i), "", "", "x")
		}
		r.idle()
		codes := r.devices.errCodes(t)
		if len(codes) != 50 || codes["7"] != 10027 {
			t.Errorf("answers %v, want 50 of 10027", codes)
		}
		refused := r.counted("headwater_bridge_refused_total", "too_many_topics")
		dropped := r.counted("headwater_bridge_dropped_total", "too_many_topics")
		if refused != 50 || dropped != 50 {
			t.Errorf("%d refused and %d dropped, want 50 each", refused, dropped)
		}
		if n := strings.Count(out.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, out.String())
		}
		r.log.set(func() { r.log.noTopic = nil })
		time.Sleep(2 * time.Second)
		r.by(0, "d.7", "again", "", "x")
		r.idle()
		if code, ok := r.devices.errCodes(t)["again"]; !ok || code != 0 {
			t.Errorf("with room: answer %d (%v), want it stored", code, ok)
		}
		if !strings.Contains(out.String(), "topic available again") {
			t.Errorf("the log does not say that it is over:\n%s", out.String())
		}
	})
}
