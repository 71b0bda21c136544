package commitlog

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// Ages of sealed segments are saved off the path of appends, and then outlive a
// power cut. What was not saved gets younger by it, and not by the next one again.
func TestAgesAfterCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.append()
		b.pass(4 * time.Hour)
		b.append() // seals the first
		b.d.Tidy()
		b.append() // seals the second, whose age is not saved; the third is in no checkpoint
		b.pass(4 * time.Hour)
		must(0, b.d.clock.save())
		b.cut(func() { b.clock.boot("boot-2") })
		b.retainedFrom(0, "after a cut at 8 hours")
		b.pass(2*time.Hour + 2*time.Millisecond)
		b.retainedFrom(1, "after more than 10 hours")
		time.Sleep(checkpointEvery + checkpointTick)
		synctest.Wait()
		must(0, b.d.clock.save())
		b.cut(func() { b.clock.boot("boot-3") })
		b.pass(8*time.Hour - 2*time.Millisecond)
		b.retainedFrom(1, "10 hours after the first cut")
		b.pass(4 * time.Millisecond)
		b.retainedFrom(3, "more than 10 hours after the first cut")
		b.d.stop()
	})
}

// Only what is in the checkpoint of the active segment counts after a cut: what
// was appended later can have been appended at any time up to then.
func TestAgeOfActiveAfterCut(t *testing.T) {
	for name, more := range map[string]bool{"all": false, "more": true} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.append()
			must(0, b.d.checkpoint(false))
			b.pass(4 * time.Hour)
			if more {
				b.l.Configure(keepAll) // into the same segment
				b.l.mustAppend(t, newBatch(1, 0, 10, 'x'))
				must(0, b.l.await(2))
			}
			must(0, b.d.clock.save())
			b.cut(func() { b.clock.boot("boot-2") })
			age := b.l.view.Load().active().age
			want := age
			want.firstAppend, want.lastAppend = firstReading, firstReading
			if more {
				want.lastAppend += 4 * time.Hour
			}
			if age != want {
				t.Errorf("%+v, want %+v", age, want)
			}
		})
	}
}

// A clock that lost hours to a power cut finds ages that are ahead of it. They
// count from when they are found.
func TestAgesAheadOfClock(t *testing.T) {
	b := newBox(t)
	must(0, b.d.clock.save())
	b.pass(20 * time.Hour)
	b.append()
	b.append()
	b.d.Tidy()
	b.cut(func() { b.clock.boot("boot-2") })
	b.pass(10 * time.Hour)
	b.retainedFrom(0, "10 hours after the cut")
	b.pass(time.Millisecond)
	b.retainedFrom(2, "more than 10 hours after it")
}

// One round saves a bounded number of logs, those that wait longest.
func TestAgesOneRound(t *testing.T) {
	crash, clock := disk.NewCrash(0), newFakeClock()
	d := start(t, crash, Options{Policy: OS, Clock: clock})
	name := func(i int) string { return fmt.Sprintf("t-%d", i) }
	for i := agesATime + 1; i >= 0; i-- { // the later its name comes, the longer it waits
		l := d.mustOpen(t, name(i), tenHours)
		l.mustAppend(t, newBatch(1, 0, 150, 'x'))
		l.mustAppend(t, newBatch(1, 0, 150, 'x'))
		clock.pass(time.Second)
	}
	for round, want := range []int{agesATime, agesATime + 2, agesATime + 2} {
		changes := crash.Ops()
		d.saveAges()
		saved := 0
		for i := range agesATime + 2 {
			if _, err := crash.Stat("data/" + name(i) + "/" + agesFile); err == nil {
				saved++
			} else if i > 1 {
				t.Errorf("round %d: %s not saved, which waited long", round, name(i))
			}
		}
		if saved != want {
			t.Errorf("round %d: ages of %d logs saved, want %d", round, saved, want)
		}
		if round == 2 && crash.Ops() != changes {
			t.Errorf("%d changes to the disk with nothing to save", crash.Ops()-changes)
		}
	}
}

// Readings of another directory's clock, and those that a clock has lost, make
// nothing older.
func TestAgesFile(t *testing.T) {
	now := 10 * time.Hour
	if got, want := (age{3 * time.Hour, 12 * time.Hour, now + 1}).by(now), (age{3 * time.Hour, now, now}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	ages := map[int64]age{0: {time.Hour, 2 * time.Hour, 0}, 70: {3 * time.Hour, 4 * time.Hour, 5 * time.Hour}}
	data := formatAges("here", ages)
	if got, err := parseAges(data, "here"); fmt.Sprint(got) != fmt.Sprint(ages) || err != nil {
		t.Errorf("%v, %v, want %v", got, err, ages)
	}
	if got, err := parseAges(data, "elsewhere"); got != nil || err != nil {
		t.Errorf("of another directory: %v, %v", got, err)
	}
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 2
		if got, err := parseAges(flipped, "here"); err == nil {
			t.Fatalf("byte %d flipped: %v", i, got)
		}
	}
}

// A damaged file makes the segments younger, and is no reason not to start.
func TestAgesDamaged(t *testing.T) {
	b := newBox(t)
	b.append()
	b.append()
	b.pass(9 * time.Hour)
	b.restart(func() { put(t, b.fs, "data/t-0/"+agesFile, []byte("0\n")) })
	b.pass(9 * time.Hour)
	b.retainedFrom(0, "9 hours after the damage")
	b.pass(time.Hour + time.Millisecond)
	b.retainedFrom(2, "more than 10 hours after it")
}

// Whatever the files of ages and of the clock hold, with a checksum that is right,
// reading them does not panic, and a reading is one that a clock can have.
func FuzzAges(f *testing.F) {
	for _, data := range [][]byte{
		formatAges("here", map[int64]age{0: {1, 2, 3}, 70: {time.Hour, time.Hour, 0}}), clockState{}.format(),
		[]byte("0\nhere\n-1 99999999999999999 1 1\n"), []byte("0\nhere\n"), []byte("0\n"), nil,
	} {
		f.Add(data[:max(0, bytes.LastIndex(data, []byte(checksumKey)))])
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = sealed(data, " ")
		ages, _ := parseAges(data, "here")
		for _, a := range ages {
			if min(a.firstAppend, a.lastAppend, a.cleaned) < 0 || max(a.firstAppend, a.lastAppend, a.cleaned) > maxReading {
				t.Errorf("%+v", a)
			}
		}
		s, err := parseClock(data)
		if err == nil && (min(s.reading, s.boottime, s.first.boottime, s.known.reading) < 0 || s.reading > maxReading) {
			t.Errorf("%+v", s)
		}
	})
}

// What a repair leaves of a segment is as old as it was.
func TestAgeAfterRepair(t *testing.T) {
	crash, clock := disk.NewCrash(0), newFakeClock()
	l := start(t, crash, Options{Policy: OS, Clock: clock}).mustOpen(t, "t-0", Settings{SegmentBytes: 500, RetentionBytes: -1, Retention: -1})
	for range 3 { // two fit a segment
		clock.pass(time.Hour)
		l.mustAppend(t, newBatch(1, 0, 150, 'x'))
	}
	before := l.view.Load().segments[0]
	file := must(crash.OpenFile(before.path(logExt), os.O_WRONLY, 0))
	must(file.WriteAt([]byte{'y'}, 150))
	clock.pass(time.Hour)
	everything(t, l.Log)
	after := l.view.Load().segments[0]
	if after == before || after.age != before.age || after.firstAppend == after.lastAppend {
		t.Errorf("repaired: %v; %+v, want %+v", after != before, after.age, before.age)
	}
}
