//go:build interop

package container

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/fleet"
	"github.com/headwater/headwater/appliance/e2e/region/card"
	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// On each file system that this kernel can be asked for, what a crowd was told is stored
// outlives a power cut, and the program starts again by itself. Btrfs knows no way to cut
// its power: there it is killed, and the card taken out.
func TestFileSystems(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "headwater")
	if err := process.Build(within(t, 5*time.Minute), binary, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(name, func(t *testing.T) {
			c, err := card.NewOn(name, t.TempDir(), 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
			p := processtest.New(t, binary, filepath.Join(c.Dir, "data"), "HEADWATER_TOPICS_RETENTION_BYTES=-1")
			start(t, p)
			crowd := fleet.Crowd{NATS: p.NATS, MQTT: p.MQTT, Kafka: p.Kafka, Devices: 20, Readers: 1, Payload: 128, Window: 8, For: 2 * time.Second}
			result, err := crowd.Run(within(t, 3*patience))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Cut(); err != nil && (name != "btrfs" || !errors.Is(err, syscall.ENOTTY)) {
				t.Fatal(err)
			}
			if err := errors.Join(p.Kill(), c.Restore()); err != nil {
				t.Fatal(err)
			}
			start(t, p)
			out := command(t, "", "kcat", "-C", "-b", p.Kafka, "-t", fleet.Topic, "-o", "beginning", "-e", "-q", "-f", `%o\n`)
			if got := int64(strings.Count(out, "\n")); got < result.Acked {
				t.Errorf("%d records, and %d messages were acked", got, result.Acked)
			}
			t.Logf("%v", result)
			if err := p.Kill(); err != nil { // before the card goes
				t.Fatal(err)
			}
		})
	}
}
