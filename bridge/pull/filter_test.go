package pull

import "testing"

func TestFilter(t *testing.T) {
	for _, f := range []filter{"", ".", "a.", ".a", "a..b", "a.>.b", "a b", "a.\x00"} {
		if f.valid() {
			t.Errorf("%q is said to be valid", f)
		}
	}
	for _, tc := range []struct {
		filter  filter
		subject string
		want    bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"a.*", "a.", false},
		{"*.b", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "a", true},
		{"a.b*", "a.b*", true},
		{"a.b*", "a.bc", false},
	} {
		if !tc.filter.valid() {
			t.Errorf("%q is said not to be valid", tc.filter)
		}
		if got := tc.filter.matches([]byte(tc.subject)); got != tc.want {
			t.Errorf("%q takes %q: %v, want %v", tc.filter, tc.subject, got, tc.want)
		}
	}
	for _, tc := range []struct {
		a, b             filter
		overlaps, covers bool
	}{
		{"a.b", "a.b", true, true},
		{"a.b", "a.c", false, false},
		{"a.*", "*.b", true, false},
		{"a.*", "a.b", true, true},
		{"a.*", "a.*.c", false, false},
		{"a.>", "a.*.c", true, true},
		{"a.>", "a", false, false},
		{"a.*", "a.>", true, false},
		{">", "a", true, true},
		{"a", "a.b", false, false},
	} {
		if got := tc.a.overlaps(tc.b); got != tc.overlaps {
			t.Errorf("%q overlaps %q: %v", tc.a, tc.b, got)
		}
		if got := tc.b.overlaps(tc.a); got != tc.overlaps {
			t.Errorf("%q overlaps %q: %v", tc.b, tc.a, got)
		}
		if got := tc.a.covers(tc.b); got != tc.covers {
			t.Errorf("%q covers %q: %v", tc.a, tc.b, got)
		}
	}
}
