package group

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// While a partition is loaded its groups are loading, and no others. A load is given
// up with the partition, and what it had read makes no groups.
func TestLoadIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a", "b")
		a, b := h.by["a"], h.by["b"]
		h.move(0, "a", true)
		h.settled()
		a.commit("one", "", -1, at(0, 5))
		gate := make(chan struct{})
		h.set(func(r *region) { r.reading = gate })
		h.move(0, "b", true)
		h.settled()
		want(t, "ready while it is loaded", b.Ready("one"), ErrLoading)
		_, err := b.List()
		want(t, "list while it is loaded", err, ErrLoading)

		h.move(0, "a", true) // the load at b is given up, and cannot know it yet
		want(t, "ready when it is given up", b.Ready("one"), ErrNotHere)
		h.set(func(r *region) { r.reading = nil })
		h.settled()
		want(t, "ready at the new one, whose load ends first", a.Ready("one"), nil)
		a.commit("one", "", -1, at(0, 6))
		close(gate)
		h.settled()
		want(t, "ready when the load has ended", b.Ready("one"), ErrNotHere)
		if n := len(b.cells()); n != 0 {
			t.Errorf("%d groups of a load that was given up", n)
		}

		h.move(0, "b", true)
		h.settled()
		if got, err := b.FetchAll("one"); err != nil || !reflect.DeepEqual(got, []Offset{at(0, 6)}) {
			t.Errorf("offsets %+v, %v", got, err)
		}
	})
}

// A load that is given up reads no further.
func TestLoadStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a", "b")
		a, b := h.by["a"], h.by["b"]
		h.move(0, "a", true)
		h.settled()
		long := at(0, 1)
		long.Metadata = strings.Repeat("m", 4000)
		for range 3 * loadBytes / 4000 {
			a.commit("one", "", -1, long)
		}
		h.move(0, "b", true)
		h.settled()
		whole := h.allReads
		if want(t, "ready", b.Ready("one"), nil); whole < 3 {
			t.Fatalf("%d reads for all, want some", whole)
		}
		gate := make(chan struct{})
		h.set(func(r *region) { r.reading, r.allReads = gate, 0 })
		h.move(0, "a", true)
		h.settled()
		a.Resign(0, 99)
		close(gate)
		h.settled()
		if h.allReads != 1 {
			t.Errorf("%d reads, want that one only which was under way", h.allReads)
		}
		if got := a.logged.String(); strings.Contains(got, "not loaded") {
			t.Errorf("given up, and taken for a fault:\n%s", got)
		}
	})
}

// Two loads of a partition at once, since it came back while the first was reading:
// the later one counts.
func TestLoadAgainWhileOneIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a", "b")
		a, b := h.by["a"], h.by["b"]
		h.move(0, "b", true)
		h.settled()
		b.commit("one", "", -1, at(0, 5))
		gate := make(chan struct{})
		h.set(func(r *region) { r.reading = gate })
		h.move(0, "a", true)
		h.settled()
		h.set(func(r *region) { r.reading = nil })
		h.move(0, "b", true)
		h.settled()
		b.commit("one", "", -1, at(0, 6))
		h.move(0, "a", true)
		h.settled()
		if got, err := a.FetchAll("one"); err != nil || !reflect.DeepEqual(got, []Offset{at(0, 6)}) {
			t.Errorf("offsets %+v, %v", got, err)
		}
		close(gate)
		h.settled()
		if got, err := a.FetchAll("one"); err != nil || !reflect.DeepEqual(got, []Offset{at(0, 6)}) {
			t.Errorf("offsets after the first load has ended: %+v, %v", got, err)
		}
	})
}

// Only so many partitions are loaded at a time, and all of them in the end; one that
// is given up before its turn is not loaded.
func TestLoadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(6), "a", "b")
		a, b := h.by["a"], h.by["b"]
		groups := make([]string, 6)
		for i := 0; groups[0] == "" || groups[1] == "" || groups[2] == "" || groups[3] == "" || groups[4] == "" || groups[5] == ""; i++ {
			name := fmt.Sprint("group", i)
			groups[PartitionFor(name, 6)] = name
		}
		for i := range int32(6) {
			h.move(i, "a", true)
		}
		h.settled()
		for _, name := range groups {
			want(t, "commit", a.commit(name, "", -1, at(0, 1))[0], nil)
		}
		gate := make(chan struct{})
		h.set(func(r *region) { r.reading = gate })
		for i := range int32(6) {
			h.move(i, "b", true)
		}
		h.settled()
		if h.reads != loaders {
			t.Errorf("%d loads at a time, want %d", h.reads, loaders)
		}
		b.Resign(5, 9)
		h.set(func(r *region) { r.allReads = 0 })
		close(gate)
		h.settled()
		if h.allReads != 3 {
			t.Errorf("%d more were read, want 3", h.allReads)
		}
		for i, name := range groups {
			if i < 5 {
				want(t, name, b.Ready(name), nil)
			} else {
				want(t, name, b.Ready(name), ErrNotHere)
			}
		}
	})
}

// What a partition that was given up had waited for is of no use to its next term.
func TestSettledTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runHubs(t, newRegion(1), "a", "b")
		a, b := h.by["a"], h.by["b"]
		h.move(0, "a", true)
		h.settled()
		h.set(func(r *region) { r.held = true })
		a.Commit(&CommitRequest{Group: "one", Generation: -1, Offsets: []Offset{at(0, 5)}})
		h.move(0, "b", true)
		b.Resign(0, 8)
		b.Lead(0, 9)
		h.settled()
		want(t, "ready before all is committed", b.Ready("one"), ErrLoading)
		h.set(func(r *region) { r.allReads = 0 })
		h.catchUp()
		h.settled()
		if want(t, "ready", b.Ready("one"), nil); h.allReads != 1 {
			t.Errorf("loaded %d times, want once", h.allReads)
		}
	})
}

// A partition that could not be loaded is loaded when it can be, and the log says
// once that it could not.
func TestLoadsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(1)
		h := runHubs(t, r, "a", "b")
		a, b := h.by["a"], h.by["b"]
		h.move(0, "a", true)
		h.settled()
		a.commit("one", "", -1, at(0, 5))
		h.set(func(r *region) { r.failRead = errDisk })
		h.move(0, "b", true)
		h.settled()
		want(t, "ready", b.Ready("one"), ErrNotAvailable)
		time.Sleep(3*loadAgainAfter + time.Second)
		want(t, "ready", b.Ready("one"), ErrNotAvailable)
		if n := strings.Count(b.logged.String(), "not loaded"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, b.logged)
		}
		h.set(func(r *region) { r.failRead = nil })
		time.Sleep(loadAgainAfter)
		synctest.Wait()
		if got, err := b.FetchAll("one"); err != nil || len(got) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
