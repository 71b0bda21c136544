package e2e

import (
	"path/filepath"
	"testing"
)

const truthCutsDefault = 5

// The power is cut under the same crowds, and what they were told holds: this is
// what syncs are for.
func TestAckTruthPowerCut(t *testing.T) {
	cutTruthRig(t, "sync").run(t, rounds(t, "HEADWATER_TRUTH_CUTS", truthCutsDefault))
}

// With acks before the sync the same cuts lose what devices were told is stored,
// and the checkers say so.
func TestAckTruthPowerCutIsFelt(t *testing.T) {
	const atMost = 10
	r := cutTruthRig(t, "os")
	r.crowds = r.crowds[:2] // those of NATS, which are told where a record is
	for n := range atMost {
		r.round(t)
		if lost := r.found(lostWrite); lost > 0 {
			t.Logf("durability=os: %d acked messages lost in %d power cuts", lost, n+1)
			return
		}
	}
	t.Errorf("%d power cuts with durability=os, and no loss found", atMost)
}

// cutTruthRig is a truthRig on a card whose power is cut in each round.
func cutTruthRig(t *testing.T, durability string) *truthRig {
	t.Helper()
	card := newCard(t, cutCardBytes)
	r := newTruthRig(t, filepath.Join(card.dir, "data"), "HEADWATER_DATA_DURABILITY="+durability)
	r.fall = func() {
		r.dark.Store(true)
		if err := card.cut(); err != nil {
			t.Fatalf("%v; where that is not permitted, set %s=1 to do without this test", err, noRoot)
		}
		kill(t, r.p)
	}
	r.rise = func() {
		card.unmount(t)
		card.mount(t)
		r.dark.Store(false)
	}
	return r
}
