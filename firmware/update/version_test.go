package update

import "testing"

// Versions are ordered as semver.org has it, 2.0.0, clause 11; each line is older than
// the next.
func TestVersionOrder(t *testing.T) {
	ordered := []string{
		"0.9.9", "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "v1.0.0",
		"1.0.1", "1.2.0", "1.10.0", "2.0.0", "100000000000000000000.0.0",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			v, err := parseVersion(a)
			w, err2 := parseVersion(b)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if got := v.compare(w); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
	v, _ := parseVersion("1.4.0+build.7")
	if w, _ := parseVersion("v1.4.0"); v.compare(w) != 0 {
		t.Error("what stands behind a + counts")
	}
}

func TestNoVersion(t *testing.T) {
	for _, s := range []string{"", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3 ", "x1.2.3", "1.2.3\n", "-1.2.3", "1.2.3+", "unknown", "1.2.3-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		if v, err := parseVersion(s); err == nil {
			t.Errorf("%q is taken for %+v", s, v)
		}
	}
}
