//go:build interop

package firmware

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
)

// The Raspberry Pi's image is a broker on an emulated Pi 3, which has no clock: what
// starts the kernel on a real one is not tried here.
func TestRaspberryPi(t *testing.T) {
	t.Parallel()
	defer took(t, "the Raspberry Pi in all")()
	pi, err := machine.Build(t.Context(), t.TempDir(), "1.0.0", "-machine", "rpi")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachineOf(t, pi, t.TempDir(), 1<<30)
	start := time.Now()
	if err := m.StartRaspberryPi(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The emulated network card is done for when much comes before it is up.
	awaitConsole(t, m, "headwater serve is ready")
	awaitReady(t, m, start)
	answer, err := dial(t, m).Request("telemetry.press3.temp", []byte("21.5"), 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("NATS was answered: %s", answer.Data)
	if got := values(t, m, "telemetry"); !slices.Equal(got, []string{"21.5"}) {
		t.Errorf("kcat read %q", got)
	}
}

func awaitConsole(t *testing.T, m *machine.Machine, text string) {
	t.Helper()
	deadline := time.Now().Add(bootPatience)
	for !strings.Contains(m.Log(), text) {
		if time.Now().After(deadline) {
			t.Fatalf("the console does not say %q within %v", text, bootPatience)
		}
		wait(t, 100*time.Millisecond)
	}
}
