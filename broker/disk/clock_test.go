package disk

import (
	"testing"
	"testing/synctest"
	"time"
)

// The boot time goes on by the process's clock between two questions to the
// kernel, and never goes back, though the kernel says less.
func TestBoottime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time.Now runs ahead of the kernel here
		c := NewMachineClock()
		last := c.Boottime()
		if kernel := boottime(); last <= 0 || last > kernel {
			t.Fatalf("boot time %v, the kernel says %v", last, kernel)
		}
		for _, step := range []time.Duration{askEvery / 2, askEvery, 5 * askEvery, time.Millisecond} {
			time.Sleep(step)
			if now := c.Boottime(); now != last+step {
				t.Errorf("%v after %v: %v", step, last, now)
			}
			last += step
		}
	})
}

// A machine that slept has been up for longer than the process's clock says: the
// kernel is believed, at most askEvery later.
func TestBoottimeAfterSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewMachineClock()
		c.Boottime()
		c.last.Store(&bootReading{c.last.Load().boottime - time.Minute, time.Now()}) // as if it had slept since
		before := c.Boottime()
		time.Sleep(askEvery)
		if passed := c.Boottime() - before; passed < time.Minute {
			t.Errorf("%v passed, want a minute at least", passed)
		}
	})
}

func TestMachineClock(t *testing.T) {
	a, b := NewMachineClock(), NewMachineClock()
	if a.BootID() == "" || bootID() != "" && a.BootID() != b.BootID() {
		t.Errorf("boot %q, then %q", a.BootID(), b.BootID())
	}
	if wall := a.Wall(); wall != wall.Round(0) {
		t.Errorf("wall clock %v has the process's clock in it", wall)
	}
}
