//go:build interop

package container

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// The binaries in the images of other processors run, each on the least processor that
// it is for: publish, kill, restart, read.
func TestForeign(t *testing.T) {
	for platform, emulator := range map[string][]string{
		"linux/arm64":  {"qemu-aarch64-static", "-cpu", "cortex-a53"},
		"linux/arm/v7": {"qemu-arm-static", "-cpu", "cortex-a7"},
		"linux/arm/v6": {"qemu-arm-static", "-cpu", "arm1176"},
	} {
		t.Run(platform, func(t *testing.T) {
			p := processtest.New(t, binaryOf(t, platform), t.TempDir())
			p.Prefix = emulator
			start(t, p)
			var want []string
			for i := range 3 {
				want = append(want, fmt.Sprint("value-", i))
				publish(t, p.NATS, "press1", want[i])
				if err := p.Kill(); err != nil {
					t.Fatal(err)
				}
				start(t, p)
			}
			if got := read(t, p.Kafka); !slices.Equal(got, want) {
				t.Errorf("read %q, want %q", got, want)
			}
		})
	}
}

func start(t *testing.T, p *process.Process) {
	t.Helper()
	if err := p.Start(within(t, patience)); err != nil {
		t.Fatal(err)
	}
}

// binaryOf takes the binary out of the image for a platform, which is not run.
func binaryOf(t *testing.T, platform string) string {
	t.Helper()
	b := prepare(t)
	t.Cleanup(func() { remove(b.name) })
	binary := filepath.Join(t.TempDir(), "headwater")
	// By its digest: with --platform older podman takes what is there for this machine.
	name, _, _ := strings.Cut(image, ":"+imageVersion)
	command(t, "", "podman", "create", "--name", b.name, name+"@"+digests(t)[platform])
	command(t, "", "podman", "cp", b.name+":/headwater", binary)
	return binary
}
