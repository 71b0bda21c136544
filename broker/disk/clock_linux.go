package disk

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bootID is what the kernel calls this boot, "" when it does not say.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return sinceStart() // a kernel before 2.6.39
	}
	return time.Duration(ts.Nano())
}

// synchronized reports whether a program, such as an NTP client, has told the
// kernel that the time is right, not too long ago.
func synchronized() bool {
	var tx unix.Timex // changes nothing
	state, err := unix.Adjtimex(&tx)
	return err == nil && state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
}
