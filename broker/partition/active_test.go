package partition

import (
	"slices"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/topic"
)

// Each producer is listed with its last batch; a partition that has none lists
// none.
func TestActiveProducers(t *testing.T) {
	l := mustLive(t, disk.NewCrash(1))
	defer l.end(true)
	l.mustPut(t, batch(2, 100), 0)
	if got := l.p.ActiveProducers(); len(got) != 0 {
		t.Errorf("without idempotent producers: %+v", got)
	}
	l.mustPut(t, sent(9, 2, 0, 3), 2)
	l.mustPut(t, sent(9, 2, 3, 4), 5) // timestamps 0 to 30
	l.mustPut(t, sent(4, 0, 0, 1), 9)
	want := []ActiveProducer{{4, 0, 0, 0}, {9, 2, 6, 30}}
	if got := l.p.ActiveProducers(); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// Settings that change hold from the next append, and the next round of retention,
// on.
func TestConfigure(t *testing.T) {
	l := mustLive(t, disk.NewCrash(1))
	defer l.end(true)
	one := int64(len(batch(1, 100)))
	settings := topic.Defaults()
	settings.SegmentBytes, settings.RetentionBytes = one, one
	for i := range int64(6) {
		if i == 3 {
			l.Configure("press", 0, settings)
			l.Configure("press", 7, settings) // one that is not here is no matter
		}
		l.mustPut(t, batch(1, 100), i)
	}
	l.p.retain(l.log)
	if start, _ := l.p.Offsets(); start != 5 {
		t.Errorf("the log starts at %d, want 5: a segment of one batch is enough to keep", start)
	}
}
