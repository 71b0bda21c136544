package bench

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/brokertest"
)

// small returns a load that is over soon.
func small(kind Kind) Workload {
	w := Default(kind)
	w.Bytes, w.Duration, w.BatchBytes, w.RecordBytes, w.SegmentBytes = 4<<20, 0, 16<<10, 100, 1<<20
	w.FetchBytes, w.Connections, w.Partitions, w.InFlight = 128<<10, 2, 3, 4
	return w
}

// Every kind of load runs against a broker, does all that it was told to, and
// leaves no topic behind.
func TestAgainstBroker(t *testing.T) {
	dir := t.TempDir()
	box := brokertest.Start(t, brokertest.Config(dir))
	unacked := small(Produce)
	unacked.Acks = 0
	workloads := []Workload{small(Produce), unacked, small(Fetch), small(Commit)}
	r, err := Run(t.Context(), Options{Address: box.Addr, Dir: t.TempDir(), Rounds: 2, Log: io.Discard}, workloads)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Workloads {
		if len(m.Sides) != 1 || m.Sides[0].RecordsPerSecond <= 0 || m.Sides[0].MBPerSecond <= 0 || m.Sides[0].P999 < m.Sides[0].P50 || m.Sides[0].CPUPerGB != nil {
			t.Errorf("%s: %+v", m.Workload, m.Sides)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "headwater-bench-") {
			t.Errorf("%s was left", e.Name())
		}
	}
}

// What was produced is what the broker has, to the record; with connections that
// share a partition too.
func TestProducesAll(t *testing.T) {
	box := brokertest.Start(t, brokertest.Config(t.TempDir()))
	for name, acks := range map[string]int{"acked": -1, "unacked": 0} {
		w := small(Produce)
		w.Connections, w.Partitions, w.Acks = 3, 1, acks
		if err := createTopic(t.Context(), box.Addr, name, Workload{Kind: Fetch, Partitions: 1, SegmentBytes: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		d, err := (&load{Workload: w, address: box.Addr, topic: name}).run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d.bytes < w.Bytes {
			t.Errorf("%s: %d bytes were sent, want %d", name, d.bytes, w.Bytes)
		}
		frame, _ := fetchFrame(name, 0, 1<<10)
		nc, err := net.Dial("tcp", box.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write(frame); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1<<20)
		n, err := io.ReadAtLeast(nc, answer, 200)
		if err != nil {
			t.Fatal(err)
		}
		r := reader{buf: answer[8:n]}
		r.int32()
		if code, highWatermark := r.onePartition(), r.int64(); code != 0 || highWatermark != d.records {
			t.Errorf("%s: code %d, high watermark %d after %d records", name, code, highWatermark, d.records)
		}
	}
}

// Every limit answers every request of the kinds that it is for, and leaves no
// file that grew.
func TestLimits(t *testing.T) {
	for kind, limits := range limitsOf {
		for _, limit := range limits {
			t.Run(string(limit), func(t *testing.T) {
				testLimit(t, small(kind), limit)
			})
		}
	}
}

func testLimit(t *testing.T, w Workload, limit Limit) {
	dir := t.TempDir()
	stdin, end := io.Pipe()
	stdout, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- ServeLimit(limit, dir, w.SegmentBytes, w.FetchBytes, stdin, out) }()
	address := make([]byte, 64)
	n, err := stdout.Read(address)
	if err != nil {
		t.Fatal(err)
	}
	d, err := (&load{Workload: w, address: string(address[:n-1]), limit: true}).run(t.Context())
	if err != nil || d.bytes < w.Bytes-int64(w.FetchBytes*w.Connections) || d.latency.total != uint64(d.requests) {
		t.Errorf("%+v requests, %d bytes, %v", d.requests, d.bytes, err)
	}
	end.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	files, err := os.ReadDir(dir)
	if most := map[Limit]int{Recycled: 1, Sender: 1}[limit]; err != nil || len(files) != most {
		t.Errorf("%d files are left, want %d: %v", len(files), most, err)
	}
}
