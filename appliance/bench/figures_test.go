package bench

import (
	"strings"
	"testing"
	"time"
)

// A percentile is never below the true one, and above it by less than a sixtieth.
func TestPercentile(t *testing.T) {
	for _, unit := range []time.Duration{1, 37, time.Microsecond, time.Millisecond, time.Second} {
		var low, high histogram
		for i := 1; i <= 1000; i++ {
			h := &low
			if i > 500 {
				h = &high
			}
			h.add(time.Duration(i) * unit)
		}
		low.merge(&high)
		for p, nth := range map[float64]int{0.1: 1, 50: 500, 99: 990, 99.9: 999, 100: 1000} {
			got, want := low.percentile(p), time.Duration(nth)*unit
			if got < want || got > want+want/60 {
				t.Errorf("p%v of 1 to 1000 times %v: %v, want %v", p, unit, got, want)
			}
		}
	}
	if got := new(histogram).percentile(50); got != 0 {
		t.Errorf("p50 of nothing: %v", got)
	}
}

// Every duration has a bucket, and lies in it.
func TestBuckets(t *testing.T) {
	for shift := range 63 {
		for _, ns := range []uint64{1<<shift - 1, 1 << shift, 1<<shift + 1} {
			b := bucketOf(ns)
			if topOf(b) < ns || b > 0 && topOf(b-1) >= ns || b >= len(histogram{}.counts) {
				t.Errorf("%d is in bucket %d, up to %d", ns, b, topOf(b))
			}
		}
	}
}

func TestMedian(t *testing.T) {
	v := func(f float64) *float64 { return &f }
	m := median([]Figures{{MBPerSecond: 9, CPUPerGB: v(1)}, {MBPerSecond: 1, CPUPerGB: v(3)}, {MBPerSecond: 5, CPUPerGB: v(2)}})
	if m.MBPerSecond != 5 || *m.CPUPerGB != 2 || m.RSSMB != nil {
		t.Errorf("median %+v", m)
	}
}

func TestPrint(t *testing.T) {
	v := func(f float64) *float64 { return &f }
	r := Report{CPUs: 2, Go: "go1", Workloads: []Measured{{Workload: Default(Produce), Sides: []SideFigures{
		{"headwater", Figures{MBPerSecond: 500, P50: 1500 * time.Microsecond, CPUPerGB: v(1), SyncsPer1000: v(4)}},
		{"limit", Figures{MBPerSecond: 1000, CPUPerGB: v(0.8)}},
	}}}}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"produce: records of 1024 B, batches of 64 KiB", " 1.500 ", " 4.0 ", " - ", "headwater / limit: 1.25 x cpu-s/GB, 0.50 x MB/s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestValidate(t *testing.T) {
	for _, kind := range []Kind{Produce, Fetch, Commit} {
		if err := Default(kind).Validate(); err != nil {
			t.Errorf("default %s: %v", kind, err)
		}
	}
	w := Default(Produce)
	w.InFlight, w.Acks, w.Bytes, w.Connections, w.Partitions, w.BatchBytes = 0, 2, 0, 201, 0, 2<<20
	err := w.Validate()
	for _, flag := range []string{"in-flight", "acks", "bytes or --duration", "connections", "partitions", "batch-bytes"} {
		if err == nil || !strings.Contains(err.Error(), "--"+flag) {
			t.Errorf("no complaint about --%s: %v", flag, err)
		}
	}
}
