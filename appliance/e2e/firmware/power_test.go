//go:build interop

package firmware

import (
	"os"
	"testing"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
	"github.com/headwater/headwater/appliance/e2e/region/card"
)

// noRoot is set where nothing can be mounted.
const noRoot = "HEADWATER_NO_ROOT"

// power is what a machine's disk has: a file system of the host's under it, which
// forgets what was not synced. Where nothing can be mounted, a cut ends the machine
// alone.
type power struct {
	dir  string
	card *card.Card // nil where nothing can be mounted
}

// cardBytes hold a disk and its journal; only what is written is taken.
const cardBytes = 2 << 30

func newPower(t *testing.T) *power {
	t.Helper()
	if os.Getenv(noRoot) == "1" {
		t.Logf("%s=1: nothing is mounted, so what was not synced outlives a power cut", noRoot)
		return &power{dir: t.TempDir()}
	}
	c, err := card.New(t.TempDir(), cardBytes)
	if err != nil {
		t.Fatalf("a power cut needs root, mkfs.ext4 and loop devices, or %s=1: %v", noRoot, err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return &power{dir: c.Dir, card: c}
}

// settle has on the disk what was put there while the machine was off.
func (p *power) settle(t *testing.T, m *machine.Machine) {
	t.Helper()
	f, err := os.OpenFile(m.Disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// cut ends the machine, and all that it had not synced.
func (p *power) cut(t *testing.T, m *machine.Machine) {
	t.Helper()
	if p.card != nil {
		if err := p.card.Cut(); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if p.card != nil {
		if err := p.card.Restore(); err != nil {
			t.Fatal(err)
		}
	}
}
