//go:build interop

package firmware

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
)

// cuts is how often the power goes in TestPowerCuts.
const cuts, cutsVariable = 2, "HEADWATER_FIRMWARE_CUTS"

// dataAtMiB is where the data partition starts.
const dataAtMiB = 1 + 192 + 2*64

// The power goes at random moments while devices publish, and now and then while the
// box starts. What it had not synced to its disk is gone with it. Each time it is ready
// again without help, and whatever was acknowledged is where it was said to be.
func TestPowerCuts(t *testing.T) {
	rounds := cuts
	if text := os.Getenv(cutsVariable); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", cutsVariable, err)
		}
	}
	p := newPower(t)
	m := newMachine(t, p.dir, 1<<30)
	p.settle(t, m)
	powerOn(t, m)
	acked := map[int64]string{} // by offset
	for round := range rounds {
		l := startLoad(t, m, round)
		wait(t, time.Second+rand.N(4*time.Second))
		l.end() // before the cut begins: a promise may come while it does
		p.cut(t, m)
		maps.Copy(acked, l.stop())
		if round%3 == 2 { // and again, before it is up
			if err := m.Start(); err != nil {
				t.Fatal(err)
			}
			wait(t, rand.N(12*time.Second))
			p.cut(t, m)
		}
		powerOn(t, m)
		checkAcked(t, m, acked)
		t.Logf("round %d: %d records acknowledged so far", round, len(acked))
	}
	if len(acked) < 10*rounds {
		t.Errorf("only %d records were acknowledged: that shows little", len(acked))
	}
	p.cut(t, m)
	part := onCard(t, m, dataAtMiB)
	if said, err := exec.CommandContext(t.Context(), "e2fsck", "-fy", part).CombinedOutput(); err != nil && !strings.Contains(string(said), "recovering journal") {
		t.Errorf("e2fsck: %v\n%s", err, said)
	}
	if said, err := exec.CommandContext(t.Context(), "e2fsck", "-fn", part).CombinedOutput(); err != nil {
		t.Errorf("with its journal replayed the data partition is damaged: %v\n%s", err, said)
	}
}

// wait lets the machine run: when the power goes is the test's to choose.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// load publishes from several devices, each with one message on its way, until the
// machine is gone.
type load struct {
	devices sync.WaitGroup

	mu    sync.Mutex // guards all below
	acked map[int64]string
	ended bool
}

const devices = 8

func startLoad(t *testing.T, m *machine.Machine, round int) *load {
	t.Helper()
	l := &load{acked: map[int64]string{}}
	for device := range devices {
		conn := dial(t, m)
		l.devices.Go(func() {
			for i := 0; ; i++ {
				value := fmt.Sprintf("%d/%d/%d", round, device, i)
				answer, err := conn.Request(fmt.Sprintf("telemetry.device%d.n", device), []byte(value), 5*time.Second)
				if err != nil {
					return // the power went
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
