package commitlog

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
)

// What is appended while a sync runs shares the next one, and the metrics tell how
// much that is. A log waits for its sync once, however much was appended.
func TestCommitGroup(t *testing.T) {
	syncing, release := make(chan struct{}), make(chan struct{})
	fsys := &faulty{FS: disk.NewCrash(0), onSync: func(name string) error {
		if strings.HasSuffix(name, logExt) {
			select {
			case syncing <- struct{}{}:
				<-release
			case <-t.Context().Done(): // the directory closes
			}
		}
		return nil
	}}
	reg := prometheus.NewPedanticRegistry()
	d := start(t, fsys, Options{Registerer: reg})
	l := d.mustOpen(t, "t-0", keepAll)
	first, later := newBatch(1, 0, 10, 'a'), newBatch(2, 1, 50, 'b')
	l.mustAppend(t, first)
	<-syncing
	for range 3 {
		l.mustAppend(t, later)
	}
	for i := range syncers { // these keep the other workers, and one more waits
		other := d.mustOpen(t, "u-"+string(rune('0'+i)), keepAll)
		other.mustAppend(t, first)
		other.mustAppend(t, first)
		if i < syncers-1 {
			<-syncing
		}
	}
	if n := testutil.ToFloat64(d.metrics.queue); n != 1 {
		t.Errorf("%v logs wait for a sync, want 1", n)
	}
	if n := testutil.ToFloat64(d.metrics.dirtyFiles); n != syncers+1 {
		t.Errorf("%v files are not synced, want %d", n, syncers+1)
	}
	go func() {
		for {
			select {
			case <-syncing:
			case release <- struct{}{}:
			case <-t.Context().Done():
				close(release)
				return
			}
		}
	}()
	for _, w := range d.opened {
		if err := w.await(w.EndOffset()); err != nil {
			t.Fatal(err)
		}
	}
	if n := testutil.ToFloat64(d.metrics.queue); n != 0 {
		t.Errorf("%v logs wait for a sync, want none", n)
	}
	all := float64(len(first)*(1+2*syncers) + 3*len(later))
	if count, sum := histogram(t, reg, "headwater_commit_bytes_per_sync"); sum != all || count < syncers+1 {
		t.Errorf("%d groups of %v bytes in all, want %v", count, sum, all)
	}
	if _, sum := histogram(t, reg, "headwater_commit_appends_per_sync"); sum != float64(1+3+2*syncers) {
		t.Errorf("groups of %v appends in all, want %d", sum, 1+3+2*syncers)
	}
}

// histogram returns how many observations a registered histogram has, and their
// sum.
func histogram(t *testing.T, reg *prometheus.Registry, name string) (count int, sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			h := f.GetMetric()[0].GetHistogram()
			return int(h.GetSampleCount()), h.GetSampleSum()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0, 0
}
