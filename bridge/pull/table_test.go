package pull

import "testing"

func TestMatch(t *testing.T) {
	for name, tc := range map[string]struct {
		pattern, subject string
		want             []string // nil: no match
	}{
		"fixed":           {"API.INFO", "API.INFO", []string{}},
		"longer":          {"API.INFO", "API.INFO.x", nil},
		"shorter":         {"API.STREAM.INFO.*", "API.STREAM.INFO", nil},
		"emptyToken":      {"API.STREAM.INFO.*", "API.STREAM.INFO.", nil},
		"oneToken":        {"API.STREAM.INFO.*", "API.STREAM.INFO.press-0", []string{"press-0"}},
		"twoForOne":       {"API.STREAM.INFO.*", "API.STREAM.INFO.press.0", nil},
		"rest":            {"API.DIRECT.GET.*.>", "API.DIRECT.GET.press-0.a.b.c", []string{"press-0", "a.b.c"}},
		"restOfNothing":   {"API.DIRECT.GET.*.>", "API.DIRECT.GET.press-0", nil},
		"restOfEmpty":     {"API.DIRECT.GET.*.>", "API.DIRECT.GET.press-0.", nil},
		"otherToken":      {"API.DIRECT.GET.*", "API.DIRECT.PUT.press-0", nil},
		"wildcardBetween": {"API.CONSUMER.CREATE.*.*", "API.CONSUMER.CREATE.press-0.c1", []string{"press-0", "c1"}},
		"nothing":         {"API.INFO", "", nil},
	} {
		got, ok := match(tc.pattern, []byte(tc.subject))
		if ok != (tc.want != nil) {
			t.Errorf("%s: %q matches %q: %v", name, tc.pattern, tc.subject, ok)
			continue
		}
		for i := range got {
			want := ""
			if i < len(tc.want) {
				want = tc.want[i]
			}
			if string(got[i]) != want {
				t.Errorf("%s: token %d is %q, want %q", name, i, got[i], want)
			}
		}
	}
}
