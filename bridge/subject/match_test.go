package subject

import "testing"

func TestPatternMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern Pattern
		subject string
		want    bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"ab", "a", false},
		{"a", "", false},
		{"*", "a", true},
		{"*", "", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"a.*", "a.", false},
		{"*.b", "a.b", true},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{"a.>", "a.", false},
		{">", "a", true},
		{">", "", false},
		{"a.b*", "a.b*", true},
		{"a.b*", "a.bc", false},
	} {
		if got := tc.pattern.Matches([]byte(tc.subject)); got != tc.want {
			t.Errorf("%q takes %q: %v, want %v", tc.pattern, tc.subject, got, tc.want)
		}
	}
}

// Overlap goes both ways.
func TestPatternOverlapsAndCovers(t *testing.T) {
	for _, tc := range []struct {
		a, b             Pattern
		overlaps, covers bool
	}{
		{"a.b", "a.b", true, true},
		{"a.b", "a.c", false, false},
		{"a.*", "*.b", true, false},
		{"a.*", "a.b", true, true},
		{"a.*", "a", false, false},
		{"a.*", "a.*.c", false, false},
		{"a.>", "a.*.c", true, true},
		{"a.>", "*.*.c", true, false},
		{"a.>", "a", false, false},
		{"a.>", "b.>", false, false},
		{"a.*", "a.>", true, false},
		{">", "a", true, true},
		{"a", "a.b", false, false},
	} {
		if got := tc.a.Overlaps(tc.b); got != tc.overlaps {
			t.Errorf("%q overlaps %q: %v", tc.a, tc.b, got)
		}
		if got := tc.b.Overlaps(tc.a); got != tc.overlaps {
			t.Errorf("%q overlaps %q: %v", tc.b, tc.a, got)
		}
		if got := tc.a.Covers(tc.b); got != tc.covers {
			t.Errorf("%q covers %q: %v", tc.a, tc.b, got)
		}
	}
}

// What is held against a message allocates nothing.
func TestPatternMatchesAllocatesNothing(t *testing.T) {
	subject := []byte("plant.line2.press3.temp")
	if n := testing.AllocsPerRun(100, func() { Pattern("plant.*.press3.>").Matches(subject) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
