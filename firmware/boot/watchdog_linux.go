package boot

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogDevice is the machine's first watchdog.
const watchdogDevice = "/dev/watchdog"

// hardwareDog is the kernel's watchdog. Once it is open it is armed.
type hardwareDog struct {
	f       *os.File
	timeout time.Duration
}

// Watchdog implements Machine.
func (k *Kernel) Watchdog(timeout time.Duration) (Watchdog, error) {
	f, err := os.OpenFile(watchdogDevice, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	d := hardwareDog{f, timeout}
	// One that cannot be set has a timeout of its own, which it tells.
	setErr := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(timeout/time.Second))
	seconds, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT)
	switch {
	case err == nil && seconds > 0:
		d.timeout = time.Duration(seconds) * time.Second
	case setErr != nil:
		d.timeout = 10 * time.Second // less than any that is known
	}
	return d, d.Pet()
}

func (d hardwareDog) Timeout() time.Duration { return d.timeout }

func (d hardwareDog) Pet() error {
	_, err := d.f.Write([]byte{0})
	return err
}

// Disarm implements Watchdog, where the driver allows it.
func (d hardwareDog) Disarm() error {
	if _, err := d.f.Write([]byte{'V'}); err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	return d.f.Close()
}
