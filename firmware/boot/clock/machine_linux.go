package clock

import (
	"context"
	"time"

	"github.com/beevik/ntp"
	"golang.org/x/sys/unix"
)

// Kernel is the Machine that this process runs on; it needs to be root.
type Kernel struct{}

// Now is the time of day.
func (Kernel) Now() time.Time { return time.Now().Round(0) }

// Set steps the clock. The kernel says that it is not synchronized then.
func (Kernel) Set(t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

// Slew implements Machine: the kernel moves the clock by half a millisecond a second.
func (k Kernel) Slew(offset, maxError time.Duration) error {
	tx := unix.Timex{Modes: unix.ADJ_OFFSET_SINGLESHOT}
	setLong(&tx.Offset, offset.Microseconds())
	if _, err := unix.Adjtimex(&tx); err != nil {
		return err
	}
	return k.Right(maxError + offset.Abs())
}

// Right implements Machine. It holds until the kernel thinks that the error has grown
// to 16 s, some nine hours later; meanwhile the kernel also sets a clock chip.
func (Kernel) Right(maxError time.Duration) error {
	tx := unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR} // status 0: no STA_UNSYNC
	setLong(&tx.Maxerror, maxError.Microseconds())
	setLong(&tx.Esterror, maxError.Microseconds())
	_, err := unix.Adjtimex(&tx)
	return err
}

// setLong fits a number to C's long, which is as wide as the machine's words.
func setLong[T int32 | int64](field *T, value int64) { *field = T(value) }

// Ask implements Machine, by SNTP.
func (Kernel) Ask(ctx context.Context, server string) (Answer, error) {
	deadline, _ := ctx.Deadline()
	response, err := ntp.QueryWithOptions(server, ntp.QueryOptions{Timeout: max(time.Until(deadline), time.Millisecond)})
	if err == nil {
		err = response.Validate()
	}
	if err != nil {
		return Answer{}, err
	}
	return Answer{response.ClockOffset, response.RootDistance}, nil
}
