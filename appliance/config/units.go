package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// byteUnits are what may follow a number of bytes, the largest of each kind
// first. The first four are the ones that FormatBytes writes.
var byteUnits = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"kB", 1e3},
	{"B", 1},
}

var errBytes = errors.New("is not a size; allowed is a whole number of bytes, or one with KiB, MiB, GiB, TiB, KB, MB, GB or TB behind it")

// ParseBytes reads a size: "64KiB", "16MiB", "1GB", or a plain number of bytes.
// What is smaller than 0 or does not fit an int64 is an error.
func ParseBytes(s string) (int64, error) {
	digits, size := s, int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, size = strings.TrimSuffix(rest, " "), u.size
			break
		}
	}
	n, ok := decimal(digits)
	if !ok || n > math.MaxInt64/size {
		return 0, errBytes
	}
	return n * size, nil
}

// decimal reads digits and nothing else; strconv would let a sign pass.
func decimal(digits string) (int64, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}

// FormatBytes writes n in the largest unit that needs no fraction, as ParseBytes
// reads it.
func FormatBytes(n int64) string {
	for _, u := range byteUnits[:4] {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

const day = 24 * time.Hour

var errDuration = errors.New(`is not a duration; allowed is a number with a unit, such as 500ms, 10s, 5m, 168h or 7d`)

// ParseDuration reads what time.ParseDuration reads, and days before it: "7d",
// "1d12h". A day is 24 hours. What is below 0 is an error.
func ParseDuration(s string) (time.Duration, error) {
	var days time.Duration
	if digits, rest, ok := strings.Cut(s, "d"); ok {
		n, ok := decimal(digits)
		if !ok || n > int64(math.MaxInt64/day) {
			return 0, errDuration
		}
		if days, s = time.Duration(n)*day, rest; s == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || strings.ContainsAny(s, "+-") || d > math.MaxInt64-days {
		return 0, errDuration
	}
	return days + d, nil
}

// FormatDuration writes d as ParseDuration reads it, without the zeros that
// time.Duration's String puts behind: "168h", not "168h0m0s".
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
