package boot

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	watchdogTimeout = 30 * time.Second // asked for; the hardware may grant less
	stageLimit      = 2 * time.Minute  // a step of the start that takes longer hangs
	checkLimit      = 30 * time.Minute // but for the check of a large disk
	passLimit       = time.Minute      // a pass of the supervision
)

// guard pets the watchdog for as long as it has been promised that all is well.
// Whoever does something that may hang promises for how long at most, and the machine
// is reset if it does.
type guard struct {
	dog Watchdog // nil: none
	log *slog.Logger

	mu    sync.Mutex // guards until
	until time.Time
}

// well promises that within d there is another promise.
func (g *guard) well(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Now().Add(d)
}

func (g *guard) isWell() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.until)
}

// run pets until ctx is done.
func (g *guard) run(ctx context.Context) {
	if g.dog == nil {
		return
	}
	ticker := time.NewTicker(max(g.dog.Timeout()/4, time.Second))
	defer ticker.Stop()
	for told := false; ; {
		if well := g.isWell(); well {
			told = false
			if err := g.dog.Pet(); err != nil {
				g.log.Error("watchdog not petted", "err", err)
			}
		} else if !told {
			told = true
			g.log.Error("nothing has gone on for too long; the watchdog will reset the machine")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
