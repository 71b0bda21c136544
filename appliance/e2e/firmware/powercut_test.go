//go:build interop

package firmware

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
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
// again without help, and whatever was acknowledged is where it was said to be. Two
// machines have half of the cuts each.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	rounds := number(t, cutsVariable, cuts)
	for i := range 2 {
		half := (rounds + i) / 2
		if half == 0 {
			continue
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			cutPower(t, half)
		})
	}
}

// number is what a variable of the environment says, or otherwise.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// cutPower cuts the power of one machine.
func cutPower(t *testing.T, rounds int) {
	defer took(t, "%d cuts in all", rounds)()
	p := newPower(t)
	m := newMachine(t, p.dir, 1<<30)
	p.settle(t, m)
	powerOn(t, m)
	acked := map[int64]string{} // by offset
	for round := range rounds {
		l := startLoad(t, m, fmt.Sprint(round), devices)
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
	checkData(t, m)
}

// checkData holds the data partition to be whole, once its journal is replayed. m is off.
func checkData(t *testing.T, m *machine.Machine) {
	t.Helper()
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
