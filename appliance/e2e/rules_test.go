package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
)

// withRules starts a headwater that has these rules, as YAML.
func withRules(t *testing.T, rules string, env ...string) *process.Process {
	t.Helper()
	p := prepare(t, t.TempDir(), append(env, "HEADWATER_BRIDGE_RULES="+rules)...)
	restart(t, p)
	return p
}

func connect(t *testing.T, p *process.Process) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+p.NATS, nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// ask publishes with a reply subject, and returns the answer.
func ask(t *testing.T, nc *nats.Conn, subject, value string) string {
	t.Helper()
	answer, err := nc.RequestWithContext(within(t, patience), subject, []byte(value))
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return string(answer.Data)
}

// What devices publish stands in the log compressed as its rule says, with the
// rule's headers, and kcat reads it as it was sent.
func TestCompressedByRules(t *testing.T) {
	var rules []string
	for _, codec := range subject.Compressions() {
		rules = append(rules, fmt.Sprintf(`{subject: "c.%s.*.>", topic: codec-%s, key: "{3}", headers: {Device: "{3}", Path: "{>}"}, linger: 1m, compression: %s}`, codec, codec, codec))
	}
	p := withRules(t, "["+strings.Join(rules, ", ")+"]")
	nc := connect(t, p)
	const count = 300
	name := func(codec string) string { return "c." + codec + ".press3.temp.max" }
	value := func(i int) string {
		return fmt.Sprintf(`{"device":"press3","quantity":"temperature","unit":"C","value":%d}`, i)
	}
	for _, codec := range subject.Compressions() {
		ask(t, nc, name(codec), value(0)) // its topic exists now
		for i := 1; i < count; i++ {
			if err := nc.Publish(name(codec), []byte(value(i))); err != nil {
				t.Fatal(err)
			}
		}
		ask(t, nc, name(codec), value(count)) // takes along what lingers
	}
	for _, codec := range subject.Compressions() {
		records := kcatRead(t, p.Kafka, "codec-"+codec, "-o", "beginning")
		if len(records) != count+1 {
			t.Fatalf("%s: kcat read %d records, want %d", codec, len(records), count+1)
		}
		for i, r := range records {
			if r.value != value(i) || r.key != "press3" || r.header("Device") != "press3" || r.header("Path") != "temp.max" || r.header("hw-subject") != name(codec) {
				t.Fatalf("%s: record %d is %+v", codec, i, r)
			}
		}
	}
	input, err := p.Metric(within(t, patience), "headwater_bridge_compression_input_bytes_total")
	if err != nil {
		t.Fatal(err)
	}
	output, err := p.Metric(within(t, patience), "headwater_bridge_compression_output_bytes_total")
	if err != nil || output*4 > input {
		t.Errorf("%v bytes were compressed to %v (%v), want less than a quarter", input, output, err)
	}
	stopWell(t, p)
	for _, codec := range subject.Compressions() {
		if got := codecsOnDisk(t, p, "codec-"+codec); got[codec] < count/2 || codec != "none" && len(got) > 2 {
			t.Errorf("%s: records by compression %v", codec, got)
		}
	}
}

// codecsOnDisk counts the records in the first segment of a topic's partition 0 by
// how their batches are compressed.
func codecsOnDisk(t *testing.T, p *process.Process, topic string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.DataDir, topic+"-0", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for len(data) > 0 {
		var b record.Batch
		if b, data, err = record.Next(data); err != nil {
			t.Fatal(err)
		}
		counts[b.Codec().String()] += int(b.Count())
	}
	return counts
}

// A device that makes up subjects makes only so many topics, also over a restart;
// those that are there, and those that a rule names, go on.
func TestDeviceTopicsAreBounded(t *testing.T) {
	p := withRules(t, `[{subject: "d.*", topic: "d-{2}"}, {subject: named, topic: named}]`, "HEADWATER_BRIDGE_MAX_TOPICS=3")
	for round := range 2 {
		nc := connect(t, p)
		for i := range 10 {
			answer := ask(t, nc, fmt.Sprintf("d.%d", i), "x")
			stored, refused := strings.Contains(answer, fmt.Sprintf(`"stream":"d-%d-0"`, i)), strings.Contains(answer, `"err_code":10027`)
			if stored != (i < 3) || refused == stored {
				t.Errorf("round %d, topic %d: %s", round, i, answer)
			}
		}
		if answer := ask(t, nc, "named", "x"); !strings.Contains(answer, `"stream":"named-0"`) {
			t.Errorf("round %d: the topic that a rule names: %s", round, answer)
		}
		refused, err := p.Metric(within(t, patience), "headwater_bridge_refused_total")
		if err != nil || refused != 7 {
			t.Errorf("round %d: %v refused (%v), want 7", round, refused, err)
		}
		stopWell(t, p)
		restart(t, p)
	}
	deleteTopic(t, p.Kafka, "d-1")
	nc := connect(t, p)
	if answer := ask(t, nc, "d.9", "x"); !strings.Contains(answer, `"stream":"d-9-0"`) {
		t.Errorf("once a topic is deleted: %s", answer)
	}
}

// A rule that is well formed and will store nothing is told of at the start, by its
// number, and its messages are refused with the reason.
func TestRulesThatStoreNothing(t *testing.T) {
	p := withRules(t, `[{subject: fine, topic: fine}, {subject: beyond, topic: fine, partition: 5}, {subject: big, topic: fine, maxMessageBytes: 1MiB}, {subject: small, topic: fine, maxMessageBytes: 10}]`)
	for _, want := range []string{
		`rule=1 subject=beyond doubt="stores nothing: partition 5 is beyond the 1 of fine"`,
		`rule=2 subject=big doubt="limits nothing: maxMessageBytes is 1048576, and nats.maxPayload 524288"`,
	} {
		if !strings.Contains(p.Log(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	if n := strings.Count(p.Log(), "will not do what it says"); n != 2 {
		t.Errorf("%d rules are doubted, want 2", n)
	}
	nc := connect(t, p)
	for _, tc := range []struct{ subject, value, want string }{
		{"fine", "x", `"stream":"fine-0"`},
		{"beyond", "x", `"description":"temporarily unavailable: the topic does not have the partition that the rule names"`},
		{"small", "0123456789", `"stream":"fine-0"`},
		{"small", "0123456789x", `"err_code":10054`},
	} {
		if answer := ask(t, nc, tc.subject, tc.value); !strings.Contains(answer, tc.want) {
			t.Errorf("%s: %s, want %s", tc.subject, answer, tc.want)
		}
	}
	administrate(t, p.Kafka).mustDo(grow("fine", 6))
	deadline := time.Now().Add(patience)
	for !strings.Contains(ask(t, nc, "beyond", "x"), `"stream":"fine-5"`) {
		if time.Now().After(deadline) {
			t.Fatal("the partition is there, and the rule does not find it")
		}
	}
}
