package e2e

import "testing"

// Each anomaly is found where it is, and none where there is none.
func TestChecker(t *testing.T) {
	rec := func(offset int64, value string) stored { return stored{place: place{0, offset}, value: value} }
	sound := func(c *checker) []stored {
		records := []stored{rec(0, "a"), rec(1, "b")}
		for _, r := range records {
			c.sending(r.value)
			c.ack(r.place, r.value)
		}
		return records
	}
	cases := []struct {
		name string
		want anomaly
		make func(c *checker, r []stored, s *sight) []stored
	}{
		{"sound", "", func(_ *checker, r []stored, s *sight) []stored { s.take(r[0]); s.take(r[1]); return r }},
		{"an acked record is gone", lostWrite, func(_ *checker, r []stored, _ *sight) []stored { return r[:1] }},
		{"acked, wherever", "", func(c *checker, r []stored, _ *sight) []stored { c.ackSomewhere("b"); return r }},
		{"acked, and nowhere", lostWrite, func(c *checker, r []stored, _ *sight) []stored { c.ackSomewhere("c"); return r }},
		{"stored twice, as it may be", "", func(c *checker, r []stored, _ *sight) []stored { c.repeats = true; return append(r, rec(2, "b")) }},
		{"stored twice", duplicate, func(_ *checker, r []stored, _ *sight) []stored { return append(r, rec(2, "b")) }},
		{"never sent", invented, func(_ *checker, r []stored, _ *sight) []stored { return append(r, rec(2, "c")) }},
		{"acked twice at one place", inconsistent, func(c *checker, r []stored, _ *sight) []stored {
			c.ack(place{0, 0}, "x")
			c.ack(place{0, 0}, "a")
			return r
		}},
		{"seen with another content", inconsistent, func(_ *checker, r []stored, s *sight) []stored { s.take(rec(0, "x")); return r }},
		{"seen, not acked and gone", takenBack, func(_ *checker, r []stored, s *sight) []stored { s.take(rec(2, "c")); return r }},
		{"led past a record", pollSkip, func(c *checker, r []stored, s *sight) []stored {
			c.sending("c")
			s.take(r[0])
			s.take(rec(2, "c"))
			return append(r, rec(2, "c"))
		}},
		{"led back", backwards, func(_ *checker, r []stored, s *sight) []stored { s.take(r[1]); s.take(r[0]); return r }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := newChecker("t")
			c.audit(tc.make(c, sound(c), c.reader()), nil)
			for kind, all := range c.known {
				if kind != tc.want {
					t.Errorf("found %s: %v", kind, all)
				}
			}
			if tc.want != "" && c.found(tc.want) != 1 {
				t.Errorf("found %d × %s, want 1", c.found(tc.want), tc.want)
			}
		})
	}
}
