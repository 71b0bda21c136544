package main

import (
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance"
)

// Each finding is a line, with its place, what it cost and what is done.
func TestVerifyText(t *testing.T) {
	var out strings.Builder
	p := textPrinter{&out}
	p.found(appliance.Finding{Partition: "a-0", File: "f.log", Kind: "damage", Wrong: "bad", Remedy: "moved", Details: map[string]any{"to": 2, "from": 1}})
	p.found(appliance.Finding{Wrong: "worse"})
	p.note("a-0", "odd")
	p.summary(appliance.VerifySummary{Partitions: 1, Bytes: 2, Findings: 2, Repaired: true, Left: 1})
	const want = "a-0/f.log: bad (from 1, to 2) -> moved\nworse\nnote: a-0: odd\n1 partitions, 2 bytes of segments, 2 findings; repaired, 1 left\n"
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}

// Something wrong is a failure, unless it was repaired.
func TestVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		sum  appliance.VerifySummary
		code int
	}{
		"whole":    {appliance.VerifySummary{}, 0},
		"found":    {appliance.VerifySummary{Findings: 1}, 1},
		"repaired": {appliance.VerifySummary{Findings: 1, Repaired: true}, 0},
		"left":     {appliance.VerifySummary{Findings: 2, Repaired: true, Left: 1}, 1},
	} {
		if code := report(verdict(tc.sum)); code != tc.code {
			t.Errorf("%s: exit code %d, want %d", name, code, tc.code)
		}
	}
}

// How far a long look is, is said now and then, and of a short one not at all.
func TestVerifyProgress(t *testing.T) {
	var out strings.Builder
	p := progressPrinter{out: &out, last: time.Now().Add(time.Hour)}
	p.progress(1, 10)
	p.last = time.Now().Add(-progressEvery)
	p.progress(5, 10)
	p.progress(6, 10)
	if out.String() != "5 of 10 bytes\n" {
		t.Errorf("said %q", out.String())
	}
}
