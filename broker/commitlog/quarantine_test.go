package commitlog

import "testing"

// What a gap has in common with others was counted with them.
func TestGapWithout(t *testing.T) {
	for name, tc := range map[string]struct {
		gap    offsetGap
		others []offsetGap
		want   int64
	}{
		"alone":       {offsetGap{10, 20}, nil, 10},
		"apart":       {offsetGap{10, 20}, []offsetGap{{0, 10}, {20, 30}}, 10},
		"grewForward": {offsetGap{10, 20}, []offsetGap{{10, 16}}, 4},
		"grewBack":    {offsetGap{10, 20}, []offsetGap{{14, 20}}, 4},
		"joined":      {offsetGap{10, 20}, []offsetGap{{16, 20}, {10, 12}}, 4},
		"nested":      {offsetGap{10, 20}, []offsetGap{{10, 18}, {12, 14}, {5, 11}}, 2},
		"within":      {offsetGap{10, 20}, []offsetGap{{0, 40}}, 0},
		"same":        {offsetGap{10, 20}, []offsetGap{{10, 20}}, 0},
	} {
		others := map[offsetGap]struct{}{}
		for _, g := range tc.others {
			others[g] = struct{}{}
		}
		if got := tc.gap.without(others); got != tc.want {
			t.Errorf("%s: %d offsets, want %d", name, got, tc.want)
		}
	}
}
