//go:build interop

package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// Apache Kafka's DumpLogSegments reads what the real binary wrote, finds nothing
// wrong with it, and finds the records that a client reads: plain and compressed
// batches, those of an idempotent producer and of the bridge, in segments that were
// rolled, and whose first ones retention took.
func TestDumpLogSegments(t *testing.T) {
	t.Logf("Kafka %s", jvm.KafkaVersion)
	p := prepare(t, t.TempDir(), append(slices.Clone(smallSegments), "HEADWATER_TOPICS_RETENTION_BYTES=1MiB")...)
	restart(t, p)
	var topics []string
	for _, c := range codecs {
		topics = append(topics, "codec-"+c.codec.String())
		produceText(t, p.Kafka, topics[len(topics)-1], 1000, kgo.ProducerBatchCompression(c.kgo), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	topics = append(topics, "rolled", "idempotent", "telemetry")
	produceText(t, p.Kafka, "rolled", 40_000, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DisableIdempotentWrite())
	produceText(t, p.Kafka, "idempotent", 10_000, kgo.ProducerBatchCompression(kgo.NoCompression()))
	publishOne(t, p, true)
	stopWell(t, p)
	restart(t, p) // which lets old segments go
	want := map[string][]stored{}
	for _, topic := range topics {
		want[topic+"-0"] = readAll(t, p.Kafka, topic)
	}
	stopWell(t, p)
	if first := want["rolled-0"][0].offset; first == 0 {
		t.Error("retention took nothing")
	}

	files := map[string][]string{}
	for _, ext := range []string{".log", ".index", ".timeindex", ".snapshot"} {
		var err error
		if files[ext], err = filepath.Glob(filepath.Join(p.DataDir, "*-0", "*"+ext)); err != nil || len(files[ext]) == 0 {
			t.Fatalf("no files *%s, %v", ext, err)
		}
	}
	dump := func(files []string, args ...string) string {
		cmd, err := jvm.Kafka(within(t, 5*patience), "kafka.tools.DumpLogSegments", append(args, "--files", strings.Join(files, ","))...)
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("DumpLogSegments %v: %v\n%s\n%s", args, err, processtest.LastLines(string(out), 20), stderr.String())
		}
		for _, complaint := range []string{"ismatch", "out of order", "isvalid: false", "xception", "Non-consecutive", "not found", "corrupt"} {
			if strings.Contains(string(out), complaint) {
				t.Errorf("DumpLogSegments %v complains: %s\n%s", args, complaint, processtest.LastLines(string(out), 20))
			}
		}
		return string(out)
	}
	logs := dump(files[".log"], "--deep-iteration", "--print-data-log")
	checkDump(t, logs, want)
	indexes := slices.Concat(files[".index"], files[".timeindex"])
	dump(indexes, "--verify-index-only")
	sane := dump(indexes, "--index-sanity-check")
	if passed := strings.Count(sane, " passed sanity check.\n") + strings.Count(sane, ".index is empty.\n"); passed != len(indexes) { // one of a few batches
		t.Errorf("%d of %d indexes pass the sanity check\n%s", passed, len(indexes), sane)
	}
	checkIndexDump(t, dump(indexes), logs)
	last := want["idempotent-0"][len(want["idempotent-0"])-1].offset
	if snapshots := dump(files[".snapshot"]); !strings.Contains(snapshots, fmt.Sprintf("lastOffset: %d", last)) && !strings.Contains(snapshots, fmt.Sprintf("offset: %d", last)) {
		t.Errorf("the snapshots do not tell of the last batch, at offset %d:\n%s", last, processtest.LastLines(snapshots, 10))
	}
}

// produceText produces n records with keys, whose values are words.
func produceText(t *testing.T, address, topic string, n int, opts ...kgo.Opt) {
	t.Helper()
	createTopic(t, address, topic, 1)
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(20 << 10),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "press%d", i%7), Value: fmt.Appendf(nil, "reading %d of a long series of much the same", i)})
	}
	if err := cl.ProduceSync(within(t, patience), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

var (
	dumpFile   = regexp.MustCompile(`^Dumping (.*)$`)
	dumpBatch  = regexp.MustCompile(`^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .*isvalid: true`)
	dumpRecord = regexp.MustCompile(`^\| offset: (\d+) CreateTime: (\d+) .*?headerKeys: \[[^\]]*\](?: key: (.*?))? payload: (.*)$`)
)

// checkDump holds the records that a dump of segments prints against those that a
// client read.
func checkDump(t *testing.T, dump string, want map[string][]stored) {
	t.Helper()
	got, batches, partition := map[string][]string{}, 0, ""
	for line := range strings.Lines(dump) {
		line = strings.TrimSuffix(line, "\n")
		if m := dumpFile.FindStringSubmatch(line); m != nil {
			partition = filepath.Base(filepath.Dir(m[1]))
		} else if dumpBatch.MatchString(line) {
			batches++
		} else if m := dumpRecord.FindStringSubmatch(line); m != nil {
			got[partition] = append(got[partition], strings.Join(m[1:], " "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		var lines []string
		for _, r := range want[name] {
			lines = append(lines, fmt.Sprintf("%d %d %s %s", r.offset, r.timestamp, r.key, r.value))
		}
		if !slices.Equal(got[name], lines) {
			t.Errorf("%s: the dump has %d records, a client read %d; the first: %.200q and %.200q", name, len(got[name]), len(lines), first(got[name]), first(lines))
		}
		t.Logf("%s: %d records, from offset %d", name, len(lines), want[name][0].offset)
	}
	t.Logf("%d batches", batches)
}

func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

var dumpEntry = regexp.MustCompile(`^offset: (\d+) position: (\d+)`)

// checkIndexDump holds that each entry of the offset indexes is of a batch that the
// dump of the segments has.
func checkIndexDump(t *testing.T, indexes, logs string) {
	t.Helper()
	at := regexp.MustCompile(`(?m)^baseOffset: \d+ lastOffset: (\d+) .* position: (\d+) `)
	known := map[[2]string]bool{}
	for _, m := range at.FindAllStringSubmatch(logs, -1) {
		known[[2]string{m[1], m[2]}] = true
	}
	entries := 0
	for line := range strings.Lines(indexes) {
		m := dumpEntry.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if offset, _ := strconv.Atoi(m[1]); offset > 0 || m[2] != "0" { // an index without entries is printed as one of zeros
			entries++
			if !known[[2]string{m[1], m[2]}] {
				t.Errorf("index entry %q is of no batch", strings.TrimSpace(line))
			}
		}
	}
	if entries < 20 {
		t.Errorf("%d index entries, that is too few to have tested much", entries)
	}
	t.Logf("%d index entries", entries)
}
