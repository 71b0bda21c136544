package update

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// maxVersionLen bounds a version's text; it stands in a boot entry's title.
const maxVersionLen = 64

var versionForm = regexp.MustCompile(`^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)` +
	`(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$`)

// version is a semantic version (semver.org, 2.0.0); a v before it means nothing.
type version struct {
	numbers [3]string // decimal, of any length
	pre     []string  // empty: a release
}

func parseVersion(s string) (version, error) {
	form := versionForm.FindStringSubmatch(s)
	if form == nil || len(s) > maxVersionLen {
		return version{}, fmt.Errorf("%.80q is not a version; allowed is MAJOR.MINOR.PATCH, with a pre-release as in 1.4.0-rc.1, of up to %d characters", s, maxVersionLen)
	}
	v := version{numbers: [3]string(form[1:4])}
	if form[4] != "" {
		v.pre = strings.Split(form[4], ".")
	}
	for _, part := range v.pre {
		if numeric(part) && len(part) > 1 && part[0] == '0' {
			return version{}, fmt.Errorf("%.80q is not a version; numbers have no leading zeros", s)
		}
	}
	return v, nil
}

// compare is negative when v is older than w. Numbers count as numbers; a pre-release is
// older than its release; what stands behind a + does not count.
func (v version) compare(w version) int {
	for i := range v.numbers {
		if c := compareNumbers(v.numbers[i], w.numbers[i]); c != 0 {
			return c
		}
	}
	if len(v.pre) == 0 || len(w.pre) == 0 {
		return cmp.Compare(len(w.pre), len(v.pre))
	}
	for i := range min(len(v.pre), len(w.pre)) {
		if c := comparePre(v.pre[i], w.pre[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(v.pre), len(w.pre))
}

// comparePre compares parts of pre-releases: numbers are older than words.
func comparePre(a, b string) int {
	switch {
	case numeric(a) && numeric(b):
		return compareNumbers(a, b)
	case numeric(a):
		return -1
	case numeric(b):
		return 1
	}
	return cmp.Compare(a, b)
}

// compareNumbers compares decimal numbers without leading zeros.
func compareNumbers(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func numeric(s string) bool { return strings.Trim(s, "0123456789") == "" }
