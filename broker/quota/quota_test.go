package quota

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// A client's own rate counts before the default, the default before the
// configuration, each kind for itself.
func TestRate(t *testing.T) {
	table := &Table{Default: Rates{Produce: 20, Fetch: 0}, Clients: map[string]Rates{
		"both": {1, 2}, "fetch": {0, 2}, "": {7, 0},
	}}
	for name, tc := range map[string]struct {
		table    *Table
		clientID string
		want     Rates
	}{
		"own":          {table, "both", Rates{1, 2}},
		"ownForOne":    {table, "fetch", Rates{20, 2}},
		"nameless":     {table, "", Rates{7, 300}},
		"other":        {table, "other", Rates{20, 300}},
		"configured":   {&Table{}, "both", Rates{100, 300}},
		"withoutTable": {nil, "both", Rates{100, 300}},
	} {
		for k, want := range tc.want {
			if got := tc.table.Rate(Kind(k), tc.clientID, Rates{100, 300}); got != want {
				t.Errorf("%s, kind %d: %d, want %d", name, k, got, want)
			}
		}
	}
}

// The throttle time is what Kafka's quota manager comes to: what was had beyond the
// rate times the window, over the rate.
func TestThrottleTime(t *testing.T) {
	for name, tc := range map[string]struct {
		rate    int64
		charges []float64 // bytes at second 0, 1, 2 ...
		want    []float64 // seconds
	}{
		"below":       {1000, []float64{10000, 1000, 1000}, []float64{0, 0, 0}},
		"above":       {1000, []float64{12000, 0, 0}, []float64{2, 1, 0}},
		"adds":        {1000, []float64{12000, 1500}, []float64{2, 2.5}},
		"wholeMillis": {1_000_000, []float64{10_000_001}, []float64{0.001}},
		"saves":       {1000, []float64{10000, 0, 0, 0, 0, 5001}, []float64{0, 0, 0, 0, 0, 0.001}},
		"savesNoMore": {1000, []float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11000}, []float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
		"isBounded":   {1000, []float64{110000, 0}, []float64{15, 15}},
		"huge":        {1, []float64{math.MaxInt32, math.MaxInt32}, []float64{15, 15}},
	} {
		l := NewLimiter(Rates{Produce: tc.rate})
		for i, bytes := range tc.charges {
			got := l.Charge(nil, Produce, "press", int64(bytes), noon.Add(seconds(float64(i))))
			if want := seconds(tc.want[i]); got != want {
				t.Errorf("%s, charge %d: %v, want %v", name, i, got, want)
			}
		}
	}
}

// What may be taken at once: all that was saved, at least a second's worth, and
// nothing while something is owed.
func TestPortion(t *testing.T) {
	l := NewLimiter(Rates{Fetch: 1000})
	portion := func(at float64, want int64, wantThrottle float64) {
		t.Helper()
		got, throttle := l.Portion(nil, Fetch, "press", noon.Add(seconds(at)))
		if got != want || throttle != seconds(wantThrottle) {
			t.Errorf("after %v s: %d and %v, want %d and %v s", at, got, throttle, want, wantThrottle)
		}
	}
	portion(0, 10000, 0)
	l.Charge(nil, Fetch, "press", 4000, noon)
	portion(0, 6000, 0)
	portion(1, 7000, 0)
	l.Charge(nil, Fetch, "press", 7000, noon.Add(seconds(1)))
	portion(1, 1000, 0)
	l.Charge(nil, Fetch, "press", 500, noon.Add(seconds(1)))
	portion(1.2, 0, 0.3)
	portion(1.5, 1000, 0)
	if got, throttle := l.Portion(nil, Produce, "press", noon); got != math.MaxInt64 || throttle != 0 {
		t.Errorf("without a rate: %d and %v", got, throttle)
	}
}

// Clients and kinds are counted apart; a rate that is changed holds at once, and what
// was owed stays owed.
func TestClientsAreCountedApart(t *testing.T) {
	l := NewLimiter(Rates{1000, 1000})
	l.Charge(nil, Produce, "press", 20000, noon)
	if got := l.Charge(nil, Produce, "oven", 1, noon); got != 0 {
		t.Errorf("another client waits %v", got)
	}
	if got := l.Charge(nil, Fetch, "press", 1, noon); got != 0 {
		t.Errorf("the client waits %v for what is of another kind", got)
	}
	faster := &Table{Clients: map[string]Rates{"press": {Produce: 4000}}}
	if got := l.Charge(faster, Produce, "press", 0, noon); got != seconds(2.5) {
		t.Errorf("with a higher rate it waits %v, want 2.5s", got)
	}
	if got := l.Charge(&Table{Default: Rates{Produce: 5}}, Produce, "oven", 51, noon); got != seconds(0.2) { // 50 is the lower rate's window
		t.Errorf("with a lower rate the other waits %v, want 0.2s", got)
	}
	long := strings.Repeat("x", MaxClientID)
	l.Charge(nil, Produce, long+"a", 20000, noon)
	if got := l.Charge(nil, Produce, long+"b", 0, noon); got != seconds(10) {
		t.Errorf("ids that differ too late: %v, want 10s", got)
	}
}

// A client that heeds what it is told gets its rate over time, whatever the sizes of
// its requests and however often it comes.
func TestRateHolds(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		rate := int64(1000 + rng.IntN(1_000_000))
		l := NewLimiter(Rates{Fetch: rate})
		now, had := noon, int64(0)
		for now.Sub(noon) < 10*time.Minute {
			portion, throttle := l.Portion(nil, Fetch, "press", now)
			if throttle == 0 {
				bytes := 1 + rng.Int64N(portion)
				had += bytes
				l.Spend(nil, Fetch, "press", bytes, now)
			}
			now = now.Add(throttle + time.Millisecond)
		}
		took := now.Sub(noon).Seconds()
		allowed := float64(rate) * (took + Window.Seconds() + 1)
		if float64(had) > allowed || float64(had) < 0.95*float64(rate)*took {
			t.Errorf("seed %d: %d bytes in %.0f s at %d a second", seed, had, took, rate)
		}
	}
}

// The memory of clients is bounded, and the one that is forgotten is the one that
// was heard of longest ago.
func TestForgetsClients(t *testing.T) {
	l := NewLimiter(Rates{Produce: 1000})
	l.Charge(nil, Produce, "first", 20000, noon)
	l.Charge(nil, Produce, "second", 20000, noon)
	for i := range MaxClients - 1 {
		l.Charge(nil, Produce, "first", 0, noon)
		l.Charge(nil, Produce, fmt.Sprint(i), 0, noon)
	}
	if n := len(l.clients); n != MaxClients || l.recent.Len() != n {
		t.Errorf("%d clients are remembered, %d in order; want %d", n, l.recent.Len(), MaxClients)
	}
	if got := l.Charge(nil, Produce, "first", 0, noon); got != seconds(10) {
		t.Errorf("the one that is heard of all the time waits %v, want 10s", got)
	}
	if got := l.Charge(nil, Produce, "second", 0, noon); got != 0 {
		t.Errorf("the one that was forgotten waits %v", got)
	}
	none := NewLimiter(Rates{})
	none.Charge(nil, Produce, "press", 1<<40, noon)
	if len(none.clients) != 0 {
		t.Error("a client without a rate is remembered")
	}
}

// What is shown: bytes a second over the window, and the mean of the throttle times.
func TestUsages(t *testing.T) {
	l := NewLimiter(Rates{Produce: 1000})
	l.Charge(nil, Produce, "press", 11000, noon)                // waits 1 s
	l.Charge(nil, Produce, "press", 3000, noon.Add(seconds(1))) // waits 3 s
	l.Charge(nil, Produce, "press", 0, noon.Add(seconds(5)))
	for at, want := range map[float64]Usage{
		5:  {"press", Produce, 1400, 2 * time.Second},
		10: {"press", Produce, 1400, 2 * time.Second},
		11: {"press", Produce, 300, 3 * time.Second},
		12: {"press", Produce, 0, 0},
	} {
		if got := l.Usages(noon.Add(seconds(at))); len(got) != 1 || got[0] != want {
			t.Errorf("after %v s: %+v, want %+v", at, got, want)
		}
	}
	l.Charge(nil, Produce, "press", 500, noon.Add(seconds(11))) // takes the place of what was at noon
	if got := l.Usages(noon.Add(seconds(11))); len(got) != 1 || got[0].ByteRate != 350 {
		t.Errorf("a window later: %+v, want 350 bytes a second", got)
	}
	l.Portion(nil, Fetch, "press", noon)
	if got := l.Usages(noon); len(got) != 1 {
		t.Errorf("of a kind without a rate there is %+v", got)
	}
	l = NewLimiter(Rates{Fetch: 1000})
	l.Spend(nil, Fetch, "press", 14000, noon)
	l.Portion(nil, Fetch, "press", noon.Add(seconds(1)))
	if got, want := l.Usages(noon.Add(seconds(1)))[0], (Usage{"press", Fetch, 1400, 3 * time.Second}); got != want {
		t.Errorf("of a client that is told with its next portion: %+v, want %+v", got, want)
	}
}

// Who shares a rate pays for what the others had.
func TestShared(t *testing.T) {
	var s Shared
	now := time.Unix(1000, 0)
	if got := s.Portion(0, now); got != math.MaxInt64 {
		t.Errorf("without a rate: %d", got)
	}
	if got := s.Portion(100, now); got != 1000 {
		t.Errorf("at first: %d, want %v", got, Window)
	}
	s.Spend(0, 1<<40, now) // of those without a rate
	s.Spend(100, 1200, now)
	if got := s.Portion(100, now.Add(1900*time.Millisecond)); got != 0 {
		t.Errorf("while it is owed: %d", got)
	}
	if got := s.Portion(100, now.Add(3*time.Second)); got != 100 {
		t.Errorf("when it is paid for: %d", got)
	}
}
