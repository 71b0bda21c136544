package replica

import "testing"

func TestDiverged(t *testing.T) {
	for name, tc := range map[string]struct {
		lastFetched     int32
		offset          int64
		end             EpochEnd
		diverged, known bool
	}{
		"same":              {3, 100, EpochEnd{3, 100}, false, true},
		"behind":            {3, 80, EpochEnd{3, 100}, false, true},
		"ahead":             {3, 120, EpochEnd{3, 100}, true, true},
		"epochIsNotThere":   {3, 80, EpochEnd{2, 100}, true, true},
		"leaderIsFormatted": {3, 80, EpochEnd{-1, -1}, false, false},
	} {
		if diverged, known := Diverged(tc.lastFetched, tc.offset, tc.end); diverged != tc.diverged || known != tc.known {
			t.Errorf("%s: %v, %v; want %v, %v", name, diverged, known, tc.diverged, tc.known)
		}
	}
}

func TestTruncate(t *testing.T) {
	log := Log{EndOffset: 100, HighWatermark: 60}
	for name, tc := range map[string]struct {
		leader, own EpochEnd
		want        Truncation
	}{
		"leaderKnowsNothing":  {EpochEnd{-1, -1}, EpochEnd{-1, -1}, Truncation{60, true}},
		"leaderHasNoEpochs":   {EpochEnd{-1, 80}, EpochEnd{-1, -1}, Truncation{80, true}},
		"ownHasNoEpochs":      {EpochEnd{4, 80}, EpochEnd{-1, -1}, Truncation{80, true}},
		"beyondTheEnd":        {EpochEnd{4, 130}, EpochEnd{-1, -1}, Truncation{100, true}},
		"sameEpochShorter":    {EpochEnd{4, 80}, EpochEnd{4, 100}, Truncation{80, true}},
		"sameEpochLonger":     {EpochEnd{4, 120}, EpochEnd{4, 90}, Truncation{90, true}},
		"epochNotHere":        {EpochEnd{4, 80}, EpochEnd{3, 70}, Truncation{70, false}},
		"epochNotHereAndLate": {EpochEnd{4, 80}, EpochEnd{3, 130}, Truncation{100, false}},
	} {
		if got := Truncate(tc.leader, tc.own, log); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
	if got := Truncate(EpochEnd{-1, -1}, EpochEnd{-1, -1}, Log{EndOffset: 50, HighWatermark: 60}); got != (Truncation{50, true}) {
		t.Errorf("a high watermark beyond the end: %+v, want the end", got)
	}
}

func TestBeforeFirstFetch(t *testing.T) {
	log := Log{EndOffset: 100, HighWatermark: 60}
	if got := BeforeFirstFetch(-1, log); got != 60 {
		t.Errorf("without epochs the log ends at %d, want the high watermark 60", got)
	}
	if got := BeforeFirstFetch(0, log); got != 100 {
		t.Errorf("with epochs the log ends at %d, want all of it, 100", got)
	}
}

func TestRecover(t *testing.T) {
	for name, tc := range map[string]struct {
		leaderStart, leaderEnd, logEnd int64
		want                           Recovery
	}{
		"leaderIsShorter":   {10, 80, 100, Recovery{80, false}},
		"leaderStartsLater": {120, 200, 100, Recovery{120, true}},
		"within":            {10, 200, 100, Recovery{100, false}},
		"bothEnds":          {100, 100, 100, Recovery{100, false}},
		"leaderIsEmpty":     {0, 0, 100, Recovery{0, false}},
	} {
		if got := Recover(tc.leaderStart, tc.leaderEnd, tc.logEnd); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestFollowerOffsets(t *testing.T) {
	for name, tc := range map[string]struct{ got, want int64 }{
		"leaderIsAhead":     {FollowerHighWatermark(50, 90, 70), 70},
		"followerHasIt":     {FollowerHighWatermark(50, 60, 70), 60},
		"neverBack":         {FollowerHighWatermark(50, 40, 70), 50},
		"startFollows":      {FollowerLogStart(10, 30, 70), 30},
		"startIsCommitted":  {FollowerLogStart(10, 90, 70), 70},
		"startNeverBack":    {FollowerLogStart(40, 30, 70), 40},
		"startIsNotKnown":   {FollowerLogStart(40, Unknown, 70), 40},
		"nothingIsCommited": {FollowerLogStart(0, 30, 0), 0},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %d, want %d", name, tc.got, tc.want)
		}
	}
}
