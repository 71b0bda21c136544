//go:build interop

package firmware

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
)

// load publishes from several devices, each with one message on its way, until the
// machine is gone.
type load struct {
	devices sync.WaitGroup

	mu    sync.Mutex // guards all below
	acked map[int64]string
	ended bool
}

// devices is how many publish at once where that is what a test is about.
const devices = 8

// startLoad publishes what begins with name, which is no other load's.
func startLoad(t *testing.T, m *machine.Machine, name string, devices int) *load {
	t.Helper()
	l := &load{acked: map[int64]string{}}
	for device := range devices {
		conn := dial(t, m)
		l.devices.Go(func() {
			for i := 0; ; i++ {
				value := fmt.Sprintf("%s/%d/%d", name, device, i)
				answer, err := conn.Request(fmt.Sprintf("telemetry.device%d.n", device), []byte(value), 5*time.Second)
				if err != nil {
					return // the machine went
				}
				l.note(answer.Data, value)
			}
		})
	}
	return l
}

func (l *load) note(answer []byte, value string) {
	var stored struct {
		Offset *int64
		Error  any
	}
	if json.Unmarshal(answer, &stored) != nil || stored.Offset == nil || stored.Error != nil {
		return // refused
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.acked[*stored.Offset] = value
	}
}

// end has nothing count that is acknowledged from now on.
func (l *load) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// stop returns what was acknowledged, once the devices have noticed.
func (l *load) stop() map[int64]string {
	l.devices.Wait()
	return l.acked
}

func checkAcked(t *testing.T, m *machine.Machine, acked map[int64]string) {
	t.Helper()
	stored := map[int64]string{}
	for line := range strings.Lines(kcat(t, m, "telemetry", "%o %s\n")) {
		text, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		offset, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("kcat printed %q", line)
		}
		stored[offset] = value
	}
	lost := 0
	for offset, value := range acked {
		if stored[offset] != value {
			lost++
			if lost <= 5 {
				t.Errorf("offset %d was acknowledged with %q, and has %q", offset, value, stored[offset])
			}
		}
	}
	if lost > 0 {
		t.Fatalf("%d of %d acknowledged records are lost", lost, len(acked))
	}
}
