package pull

import "testing"

func TestValidFilter(t *testing.T) {
	for _, f := range []filter{"", ".", "a.", ".a", "a..b", "a.>.b", "a b", "a.\x00"} {
		if validFilter(f) {
			t.Errorf("%q is said to be valid", f)
		}
	}
	for _, f := range []filter{"a", "a.b", "a.*", "*.b", "a.>", ">", "a.b*"} {
		if !validFilter(f) {
			t.Errorf("%q is said not to be valid", f)
		}
	}
}
