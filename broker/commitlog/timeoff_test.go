package commitlog

import (
	"errors"
	"testing"
	"time"
)

var may = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixMilli()

func TestTrustIn(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	for name, tc := range map[string]struct {
		firstWall, wall int64
		up              time.Duration // since the first glance
		kernelSays      bool
		want            trust
	}{
		"kernel":         {may, may + 1000, time.Second, true, synchronized},
		"kernelAndSet":   {may, may + 9*hour, time.Second, true, synchronized},
		"kernelIn1970":   {1000, 2000, time.Second, true, untrusted},
		"tooEarly":       {may, may + hour - 1, time.Hour - time.Millisecond, false, untrusted},
		"steady":         {may, may + hour, time.Hour, false, steady},
		"steadyForDays":  {may, may + 100*hour, 100 * time.Hour, false, steady},
		"almostSet":      {may, may + hour + 10_000, time.Hour, false, steady},
		"setAhead":       {may, may + hour + 10_001, time.Hour, false, untrusted},
		"setBack":        {may, may + hour - 10_001, time.Hour, false, untrusted},
		"setYearsAhead":  {may, may + 87_600*hour, time.Hour, false, untrusted},
		"since1970":      {1000, 1000 + hour, time.Hour, false, untrusted},
		"setFrom1970":    {1000, may, time.Hour, false, untrusted},
		"setFrom1970NTP": {1000, may, time.Hour, true, synchronized},
	} {
		first := glance{"b", time.Minute, tc.firstWall}
		if got := trustIn(first, glance{"b", time.Minute + tc.up, tc.wall}, tc.kernelSays); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestTimeOff(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	for name, tc := range map[string]struct {
		before, now trust
		wallPassed  int64         // milliseconds
		counted     time.Duration // meanwhile
		want        time.Duration
		err         error
	}{
		"off":               {synchronized, synchronized, 5 * hour, 0, 5 * time.Hour, nil},
		"lessWhatCounted":   {synchronized, synchronized, 5 * hour, 2 * time.Hour, 3 * time.Hour, nil},
		"notOff":            {synchronized, synchronized, 5 * hour, 5 * time.Hour, 0, nil},
		"long":              {synchronized, synchronized, 72 * hour, 0, 72 * time.Hour, nil},
		"longOfWhichIsOff":  {synchronized, synchronized, 100 * hour, 28 * time.Hour, 72 * time.Hour, nil},
		"tooLong":           {synchronized, synchronized, 72*hour + 1, 0, 0, errTooLong},
		"tenYears":          {synchronized, synchronized, 87_600 * hour, 0, 0, errTooLong},
		"everything":        {synchronized, synchronized, 1<<63 - 1 - may, 0, 0, errTooLong},
		"back":              {synchronized, synchronized, -1, 0, 0, errWentBack},
		"tenYearsBack":      {synchronized, synchronized, -87_600 * hour, 0, 0, errWentBack},
		"behindWhatCounted": {synchronized, synchronized, hour, 2 * time.Hour, 0, errWentBack},
		"clockChipAfterNTP": {synchronized, steady, 5 * hour, 0, 5 * time.Hour, nil},
		"clockChip":         {steady, steady, 5 * hour, 0, 5 * time.Hour, nil},
		"setByHand":         {synchronized, steady, 5 * hour, 0, 0, errSet},
		"setThenNTP":        {synchronized, synchronized, 5 * hour, 0, 5 * time.Hour, nil},
		"clockChipSetByNTP": {steady, synchronized, 5 * hour, 0, 0, errLessKnown},
	} {
		before := sight{tc.before, "a", may, 1000 * time.Hour, tc.err == errSet || name == "setThenNTP"}
		now := sight{tc.now, "b", may + tc.wallPassed, before.reading + tc.counted, false}
		if got, err := timeOff(before, now); got != tc.want || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s: %v, %v, want %v, %v", name, got, err, tc.want, tc.err)
		}
	}
}
