package partition

import (
	"testing"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/topic"
)

// When all partitions together remember as many producers as they may, a partition
// gets a few of its own, and beyond that a new one takes the place of one there. What
// a partition forgets or takes with it is another's to use, also after a restart.
func TestTooManyProducersInAll(t *testing.T) {
	fsys := disk.NewCrash(1)
	limits := DefaultProducerLimits()
	limits.Total = 10
	l, err := live(fsys, commitlog.Sync, limits)
	if err != nil {
		t.Fatal(err)
	}
	press := l.p
	other := topic.NewID()
	if _, err := l.Open("oven", 0, other, topic.Defaults()); err != nil {
		t.Fatal(err)
	}
	l.Lead("oven", 0, 1)
	oven, err := l.Get("oven", 0)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(p *Partition, from, to int64) {
		t.Helper()
		l.p = p
		for producer := from; producer < to; producer++ {
			if _, err := l.put(sent(producer, 0, 0, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	counts := func(step string, inPress, inOven int) {
		t.Helper()
		if p, o := press.producers.len(), oven.producers.len(); p != inPress || o != inOven {
			t.Errorf("%s: %d and %d producers, want %d and %d", step, p, o, inPress, inOven)
		}
		if all := l.dropped.all.Load(); all != int64(inPress+inOven) {
			t.Errorf("%s: %d counted in all, want %d", step, all, inPress+inOven)
		}
	}
	fill(press, 0, 20)
	counts("one partition", 10, 0)
	fill(oven, 100, 120)
	counts("two", 10, fewProducers)
	fill(press, 20, 25)
	counts("the first again", 10, fewProducers)
	l.end(true)

	if l, err = live(fsys, commitlog.Sync, limits); err != nil {
		t.Fatal(err)
	}
	press = l.p
	oven.producers.known, oven.producers.counted = nil, 0 // not open in this life
	counts("after a restart", 10, 0)
	if err := l.Delete("press", 0); err != nil {
		t.Fatal(err)
	}
	if all := l.dropped.all.Load(); all != 0 {
		t.Errorf("%d producers counted after their partition was deleted", all)
	}
	l.end(true)
}
