package config

import (
	"testing"
	"time"

	"github.com/headwater/headwater/broker/topic"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "12": 12, "12B": 12, "64KiB": 64 << 10, "16MiB": 16 << 20, "1GB": 1e9, "3kB": 3000, "2 TiB": 2 << 40,
		"9223372036854775807": 1<<63 - 1,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "B", "-1", "+1", "1.5MiB", "16M", "1gb", "1  KiB", " 1", "9223372036854775808", "8388608TiB", "１"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q: %d, want an error", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "500ms": 500 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour, "0d": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "10", "-1s", "1d-1h", "+1h", "1.5d", "106752d", "106751d24h", "1w"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

// Whatever is accepted is at least 0, and means the same when it is written and
// read again.
func FuzzParseBytes(f *testing.F) {
	for _, seed := range []string{"0", "64KiB", "1 GB", "9223372036854775807", "-1", "1e3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseBytes(text)
		if err != nil {
			return
		}
		if again, err := ParseBytes(FormatBytes(n)); n < 0 || err != nil || again != n {
			t.Errorf("%q is %d, written %q, which is %d, %v", text, n, FormatBytes(n), again, err)
		}
	})
}

// As FuzzParseBytes.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"0", "7d", "1d12h", "1h0m1s", "1.5us", "-1d", "106751d23h47m16.854775807s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if again, err := ParseDuration(FormatDuration(d)); d < 0 || err != nil || again != d {
			t.Errorf("%q is %d, written %q, which is %d, %v", text, d, FormatDuration(d), again, err)
		}
	})
}

// What topics.* allows is what a topic's own settings allow, so that a default
// taken here is never refused there.
func TestTopicRangesAgree(t *testing.T) {
	for _, tc := range []struct{ key, low, high, setting, want1, want2 string }{
		{"topics.segmentBytes", "1MiB", "1GiB", "segment.bytes", "1048576", "1073741824"},
		{"topics.segmentAge", "1s", "36500d", "segment.ms", "1000", "3153600000000"},
		{"topics.retentionBytes", "-1", "1048576TiB", "retention.bytes", "-1", "1152921504606846976"},
		{"topics.retention", "-1", "36500d", "retention.ms", "-1", "3153600000000"},
		{"topics.maxMessageBytes", "1KiB", "64MiB", "max.message.bytes", "1024", "67108864"},
	} {
		for text, value := range map[string]string{tc.low: tc.want1, tc.high: tc.want2} {
			k, _ := find(tc.key)
			c := Default()
			if err := k.parse(&c, text); err != nil {
				t.Errorf("%s %s: %v", tc.key, text, err)
			}
			want, err := topic.Apply(topic.Defaults(), map[string]string{tc.setting: value})
			if err != nil || c.Topics != want {
				t.Errorf("%s %s gives %+v\n%s %s gives %+v, %v", tc.key, text, c.Topics, tc.setting, value, want, err)
			}
		}
	}
}
