//go:build interop

package firmware

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// timePatience is until a box that was not answered asks for the time again, and the
// broker has noticed: well above both.
const timePatience = 3 * time.Minute

// A box whose clock chip is years behind starts from when its program was built, and
// marks what it records. Once chrony tells it the time, its records have that, and no
// mark.
func TestTime(t *testing.T) {
	t.Parallel()
	if !processtest.OwnNetwork(t, 2*bootPatience+timePatience, builtImage+"="+image.Path) {
		return
	}
	if said, err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	m := newMachine(t, t.TempDir(), 1<<30)
	m.RTC, m.Outside = "2020-01-01T00:00:00", true
	if err := m.WriteSite(t.Context(), m.Site()+"ntp: [10.0.2.2]\n"); err != nil {
		t.Fatal(err)
	}
	powerOn(t, m)
	early := publishTimed(t, m)
	if !early.marked || early.at.Before(machine.Built) || early.at.After(machine.Built.Add(time.Hour)) {
		t.Errorf("before it knows the time a record has %+v; want it marked, and from %v on", early, machine.Built)
	}
	serveTime(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), timePatience, fmt.Errorf("records are marked after %v", timePatience))
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	late := publishTimed(t, m)
	for ; late.marked; late = publishTimed(t, m) {
		select {
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-tick.C:
		}
	}
	if off := time.Since(late.at); off < -2*time.Second || off > 10*time.Second {
		t.Errorf("a record that is not marked says %v, %v ago", late.at, off)
	}
}

// timed is when a record says that it was received, and whether that is in doubt.
type timed struct {
	at     time.Time
	marked bool
}

// publishTimed has the box store a message, and reads its record.
func publishTimed(t *testing.T, m *machine.Machine) (r timed) {
	t.Helper()
	if _, err := dial(t, m).Request("telemetry.press3.temp", []byte("21.5"), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(kcat(t, m, "telemetry", "%h\n")), "\n")
	for header := range strings.SplitSeq(lines[len(lines)-1], ",") {
		name, value, _ := strings.Cut(header, "=")
		switch name {
		case "hw-time":
			ms, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			r.at = time.UnixMilli(ms).UTC()
		case "hw-clock":
			r.marked = value == "unsynchronized"
		}
	}
	return r
}

// serveTime starts chrony as a server of this machine's time. It does not touch the clock.
func serveTime(t *testing.T) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "chrony.conf")
	text := "local stratum 3\nallow 127.0.0.1\nbindaddress 127.0.0.1\ncmdport 0\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := &process.Program{}
	if err := server.Launch(exec.Command("chronyd", "-d", "-x", "-u", "root", "-f", config)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Errorf("chronyd: %v", err)
		}
		if t.Failed() {
			t.Logf("chronyd says:\n%s", server.Log())
		}
	})
}
