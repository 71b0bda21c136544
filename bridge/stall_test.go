package bridge

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// stallingDisk is a disk whose syncs of log files wait while it stands still.
type stallingDisk struct {
	disk.FS
	stalled atomic.Pointer[chan struct{}] // closed when it goes on; nil while it does
	waiting chan struct{}                 // holds a token when a sync has met a standstill
}

type stallingFile struct {
	disk.File
	on *stallingDisk
}

func (d *stallingDisk) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &stallingFile{f, d}, nil
}

func (f *stallingFile) Sync() error {
	if on := f.on.stalled.Load(); on != nil {
		select {
		case f.on.waiting <- struct{}{}:
		default:
		}
		<-*on
	}
	return f.File.Sync()
}

func (d *stallingDisk) stall() (goOn func()) {
	on := make(chan struct{})
	d.stalled.Store(&on)
	return sync.OnceFunc(func() {
		d.stalled.Store(nil)
		close(on)
	})
}

// publishers hear the answers: by reply, JetStream's error number, 0 for stored.
type publishers struct {
	mu     sync.Mutex
	codes  map[string]int
	offset map[string]int64
	heard  chan struct{} // holds a token when there was an answer
}

func (p *publishers) Publish(reply, payload []byte) error {
	var answer struct {
		Offset int64 `json:"offset"`
		Error  struct {
			ErrCode int `json:"err_code"`
		} `json:"error"`
	}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[string(reply)] = answer.Error.ErrCode
	p.offset[string(reply)] = answer.Offset
	select {
	case p.heard <- struct{}{}:
	default:
	}
	return nil
}

func (p *publishers) count() (stored, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, code := range p.codes {
		if code == 0 {
			stored++
		} else {
			refused++
		}
	}
	return stored, refused
}

// await waits until n answers have come in all.
func (p *publishers) await(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(patience)
	for {
		stored, refused := p.count()
		if stored+refused >= n {
			return
		}
		select {
		case <-p.heard:
		case <-timeout:
			t.Fatalf("%d answers, want %d", stored+refused, n)
		}
	}
}

func metric(t *testing.T, reg *prometheus.Registry, name string) (sum int) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return sum
}

func heapAfterGC() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A disk that stands still: acked publishers wait, then are refused; memory stays
// below the ceiling under any flood; when the disk goes on, all flows again. Nobody who
// was told "stored" is missing, and the best-effort messages that are missing were
// counted, each of them, and lie between what the log had and the newest.
func TestStalledDisk(t *testing.T) {
	const ceiling, early, flood, ackEvery, more = 4 << 20, 50, 40_000, 20, 8000
	stalling := &stallingDisk{FS: disk.OS{}, waiting: make(chan struct{}, 1)}
	cfg := brokertest.Config(t.TempDir())
	cfg.FS = stalling
	box := brokertest.Start(t, cfg)
	table, err := subject.Compile(subject.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	told := &publishers{codes: map[string]int{}, offset: map[string]int64{}, heard: make(chan struct{}, 1)}
	in := ingest.New(ingest.Config{BufferBytes: ceiling}, table, []string{"telemetry.>"}, box.Broker, told, slog.New(slog.DiscardHandler), reg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()

	sent, sentCore := 0, 0
	padding := strings.Repeat(" ", 1000)
	publish := func(acked bool) {
		m := ingest.Message{Subject: []byte("telemetry.d1.temp"), Payload: []byte(strconv.Itoa(sent) + padding)}
		if acked {
			m.Reply = []byte(strconv.Itoa(sent))
		} else {
			sentCore++
		}
		in.Take(&m)
		sent++
	}
	for range early {
		publish(true)
		in.Idle()
	}
	told.await(t, early)

	goOn := stalling.stall()
	defer goOn()
	publish(true)
	in.Idle()
	<-stalling.waiting
	before := heapAfterGC()
	acked := early + 1
	for range flood {
		publish(sent%ackEvery == 0)
		if sent%ackEvery == 1 {
			acked++
			in.Idle()
		}
		if sent%1000 == 0 {
			if got := metric(t, reg, "headwater_bridge_buffered_bytes"); got > ceiling {
				t.Fatalf("%d bytes are buffered, the ceiling is %d", got, ceiling)
			}
		}
	}
	grown := heapAfterGC() - before
	if grown > ceiling*3/2 {
		t.Errorf("the heap has grown by %d bytes, the ceiling is %d and what buffers have in reserve", grown, ceiling)
	}
	for range more { // acked alone, until there is no room
		publish(true)
		acked++
	}
	in.Idle()
	for {
		if _, refused := told.count(); refused > 0 {
			break
		}
		select {
		case <-told.heard:
		case <-time.After(patience):
			t.Fatal("nobody was refused")
		}
	}
	if stored, _ := told.count(); stored != early {
		t.Errorf("%d were told that they are stored while the disk stood still", stored-early)
	}
	goOn()
	told.await(t, acked)
	publish(true)
	in.Idle()
	told.await(t, acked+1)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	stored := map[int]int64{} // by number
	if _, err := box.ReadRecords("telemetry", 0, 0, 1<<30, func(offset, _ int64, r record.Record) bool {
		n, err := strconv.Atoi(strings.TrimSpace(string(r.Value)))
		if _, twice := stored[n]; err != nil || twice {
			t.Errorf("record %d: %q, %v; twice %v", offset, r.Value, err, twice)
		}
		stored[n] = offset
		return true
	}); err != nil {
		t.Fatal(err)
	}
	storedAcked := 0
	for reply, code := range told.codes {
		n, _ := strconv.Atoi(reply)
		offset, there := stored[n]
		if there != (code == 0) || there && offset != told.offset[reply] {
			t.Errorf("%s was answered with error %d, offset %d; it is at %d, %v", reply, code, told.offset[reply], offset, there)
		}
		if there {
			storedAcked++
		}
	}
	storedCore := len(stored) - storedAcked
	if got := metric(t, reg, "headwater_bridge_dropped_total"); got == 0 || got != sentCore-storedCore {
		t.Errorf("%d dropped messages were counted, %d of %d are missing", got, sentCore-storedCore, sentCore)
	}
	_, refused := told.count()
	t.Logf("acked: %d stored, %d refused; best effort: %d sent, %d stored; heap grew by %d of %d bytes", storedAcked, refused, sentCore, storedCore, grown, ceiling)
}
