package process

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used since it started.
type Usage struct {
	CPU           time.Duration // user and system
	WrittenBytes  int64         // of pages that it made dirty in files, as /proc counts them
	ResidentBytes int64         // now
	PeakBytes     int64         // the most that was resident
}

// clockTick is the unit of the times in /proc/<pid>/stat: USER_HZ, which Linux
// has fixed at 100 a second for all that can see it.
const clockTick = 10 * time.Millisecond

// UsageOf reads Linux's /proc.
func UsageOf(pid int) (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	if u.CPU, err = parseStat(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	kib := parseColons(status)
	u.ResidentBytes, u.PeakBytes = kib["VmRSS"]<<10, kib["VmHWM"]<<10
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return u, err
	}
	u.WrittenBytes = parseColons(io)["write_bytes"]
	return u, nil
}

// parseStat returns user and system time. The command's name, in parentheses, may
// hold anything, so fields are counted from behind it.
func parseStat(stat []byte) (time.Duration, error) {
	const afterName, utime, stime = 3, 14, 15 // fields, the first being 1
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= stime-afterName {
		return 0, fmt.Errorf("/proc tells no times: %.100q", stat)
	}
	var ticks int64
	for _, at := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[at-afterName], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc tells no times: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// parseColons reads lines such as "VmRSS:   123 kB", and passes over those that
// have no number.
func parseColons(text []byte) map[string]int64 {
	values := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			values[name] = n
		}
	}
	return values
}
