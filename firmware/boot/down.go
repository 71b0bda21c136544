package boot

import (
	"time"

	"github.com/headwater/headwater/firmware/layout"
)

const killGrace = 5 * time.Second

// takeDown puts everything on stable storage, when headwater serve and all that ran in
// the background has ended.
func (b *box) takeDown(how Ending) {
	b.guard.well(stageLimit)
	b.log.Info("machine goes down", "to", how)
	b.m.KillOthers(killGrace)
	b.ring.Close()
	if b.mounted {
		b.try("data partition not unmounted", b.m.Unmount(layout.DataMount))
	}
	b.try("boot partition not unmounted", b.m.Unmount(layout.BootMount))
	b.m.Sync()
	if how == PowerOff && b.guard.dog != nil { // or it would start the machine again
		b.try("watchdog not disarmed", b.guard.dog.Disarm())
	}
}
