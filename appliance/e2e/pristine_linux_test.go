package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/broker/record"
)

const (
	damageTopic      = "damaged"
	damagePartitions = 2
)

// part is a partition.
type part struct {
	topic string
	index int32
}

// damageParts are all that a pristine has.
var damageParts = []part{{damageTopic, 0}, {damageTopic, 1}, {"telemetry", 0}}

// smallSegments are the least that a setting allows, and no reserve, whose bytes
// mean nothing.
var smallSegments = []string{"HEADWATER_TOPICS_SEGMENT_BYTES=1MiB", "HEADWATER_TOPICS_MAX_MESSAGE_BYTES=1MiB", "HEADWATER_DATA_RESERVE=0B"}

// pristine is a data directory that the real binary wrote and left, to be damaged
// as a copy, and what its readers got while it was whole.
type pristine struct {
	files   map[string][]byte // by path in it
	batches map[part][]record.Batch
	end     map[part]int64 // of the log
}

// newPristine has the binary write some segments for each partition of a topic, of
// plain and of idempotent producers, some records through the bridge, and stop:
// well, or by SIGKILL.
func newPristine(t *testing.T, clean bool) *pristine {
	t.Helper()
	p := prepare(t, t.TempDir(), smallSegments...)
	restart(t, p)
	createTopic(t, p.Kafka, damageTopic, damagePartitions)
	produceSome(t, p, 500)
	publishOne(t, p, true)
	if !clean { // behind the last checkpoint, too
		stopWell(t, p)
		restart(t, p)
		produceSome(t, p, 50)
	}
	whole := &pristine{batches: map[part][]record.Batch{}, end: map[part]int64{}}
	for _, of := range damageParts {
		var err error
		if whole.batches[of], whole.end[of], err = readBatches(t, p, of); err != nil {
			t.Fatal(err)
		}
	}
	if clean {
		stopWell(t, p)
	} else {
		kill(t, p)
	}
	whole.files = filesOf(t, p.DataDir)
	return whole
}

// produceSome produces n records of some 5 KB with a plain client, and as many with
// an idempotent one.
func produceSome(t *testing.T, p *process.Process, n int) {
	t.Helper()
	idempotent, err := kgo.NewClient(kgo.SeedBrokers(p.Kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(30<<10))
	if err != nil {
		t.Fatal(err)
	}
	defer idempotent.Close()
	plain := client(t, p.Kafka, kgo.ProducerBatchMaxBytes(30<<10))
	defer plain.Close()
	rng := rand.New(rand.NewPCG(7, 7))
	for i, cl := range []*kgo.Client{plain, idempotent} {
		var records []*kgo.Record
		for j := range n {
			value := make([]byte, 5000)
			for k := range value {
				value[k] = byte(rng.Uint32())
			}
			records = append(records, &kgo.Record{Topic: damageTopic, Partition: int32(j % damagePartitions), Key: fmt.Appendf(nil, "%d-%d", i, j), Value: value})
		}
		if err := cl.ProduceSync(within(t, patience), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// stopWell ends p by SIGTERM, and waits.
func stopWell(t *testing.T, p *process.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(within(t, patience)); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
}

// filesOf returns the files of a data directory.
func filesOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ifThere(err)
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			files[name], err = os.ReadFile(path)
		}
		return ifThere(err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// ifThere is err, unless it says that a file has gone: a process that runs may have
// taken it away.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// restore puts files into dir, and nothing else.
func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readBatches reads all of a partition, and where it ends. Every batch has been
// held against its checksum.
func readBatches(t *testing.T, p *process.Process, of part) (all []record.Batch, end int64, err error) {
	t.Helper()
	w := dial(t, p.Kafka)
	defer w.Close()
	for at := int64(0); ; {
		req := fetchRequest(of.topic, of.index, at, 4<<20)
		req.MaxWaitMillis = 1
		got := w.ask(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
			return all, end, fmt.Errorf("fetch of %v at %d: %w", of, at, err)
		}
		end = got.HighWatermark
		if len(got.RecordBatches) == 0 {
			return all, end, nil
		}
		for rest := got.RecordBatches; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err != nil {
				return all, end, fmt.Errorf("%v, behind offset %d: %w", of, at, err)
			}
			all, rest, at = append(all, b), after, b.NextOffset()
		}
	}
}

// check holds what the process serves against what was written: every batch is one
// that was, at its offset, but for the leader epoch, of which nothing is a check.
// It returns how many offsets are missing that a reader is led past or that the
// log's end is behind.
func (w *pristine) check(t *testing.T, p *process.Process, of part) (missing int64) {
	t.Helper()
	got, end, err := readBatches(t, p, of)
	if err != nil {
		t.Error(err)
		return 0
	}
	for _, b := range w.batches[of] {
		if len(got) > 0 && bytes.Equal(got[0][:12], b[:12]) && bytes.Equal(got[0][16:], b[16:]) {
			got = got[1:]
			continue
		}
		missing += max(0, min(end, b.NextOffset())-b.BaseOffset())
	}
	if len(got) > 0 {
		t.Errorf("%v serves a batch at offset %d that was not written there", of, got[0].BaseOffset())
	}
	if end > w.end[of] {
		t.Errorf("%v ends at %d, it ended at %d", of, end, w.end[of])
	}
	return missing
}

// checkAll is check over the partitions, whose gaps the metrics must tell.
func (w *pristine) checkAll(t *testing.T, p *process.Process, parts []part) (missing int64) {
	t.Helper()
	for _, of := range parts {
		missing += w.check(t, p, of)
	}
	counted, err := p.Metric(within(t, patience), "headwater_log_gap_offsets_total")
	if err != nil {
		t.Fatal(err)
	}
	if counted != float64(missing) {
		t.Errorf("%d offsets are missing, %v are counted", missing, counted)
	}
	return missing
}

// segmentsOf returns the segments of partition 0, without their ending, the oldest
// first.
func (w *pristine) segmentsOf() (names []string) {
	for name := range w.files {
		if stem, ok := strings.CutSuffix(name, ".log"); ok && strings.HasPrefix(name, damageTopic+"-0/") {
			names = append(names, stem)
		}
	}
	slices.Sort(names)
	return names
}
