// Package machine runs a firmware image in an emulated machine, from power-on: an arm64
// board with UEFI, 256 MiB of memory, a watchdog, and a network whose ports are
// reached on loopback. It is switched on and cut off; what it writes on its console is
// kept over its lives. It serves tests alone.
//
// A Machine is one goroutine's to start and cut; Log and Ended are any goroutine's.
// What a power cut does to a disk's own cache is not emulated: what the machine wrote
// is there after the cut, synced or not.
package machine

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// Machine is one, with its disk.
type Machine struct {
	// Disk is the file that is its disk.
	Disk string
	// MemoryMiB is 256 unless it is set.
	MemoryMiB int
	// RTC is where its clock chip stands at each start, such as 2020-01-01T00:00:00;
	// empty: at the time of day.
	RTC string
	// Outside has it reach this machine at 10.0.2.2, and whatever this one reaches. It
	// is for tests in a network of their own.
	Outside bool
	// Kafka, NATS, MQTT and Admin are where its ports are reached.
	Kafka, NATS, MQTT, Admin string

	process.Program // of qemu: Log is the console, Kill the power cut
}

// ports of the box itself.
const kafkaPort, natsPort, mqttPort, adminPort = 9092, 4222, 1883, 8080

// New puts a copy of image into dir as the machine's disk, grown to diskBytes if that
// is more, with a site file that opens the ports. more is added to that file's
// settings, one "key: value" each. Nothing is started.
func New(ctx context.Context, dir, image string, diskBytes int64, more ...string) (*Machine, error) {
	m := &Machine{Disk: filepath.Join(dir, "disk.img"), MemoryMiB: 256}
	for _, address := range []*string{&m.Kafka, &m.NATS, &m.MQTT, &m.Admin} {
		var err error
		if *address, err = process.FreeAddress(); err != nil {
			return nil, err
		}
	}
	if err := run(ctx, "cp", "--sparse=always", image, m.Disk); err != nil {
		return nil, err
	}
	if info, err := os.Stat(m.Disk); err != nil || info.Size() < diskBytes {
		if err := os.Truncate(m.Disk, diskBytes); err != nil {
			return nil, err
		}
	}
	return m, m.WriteSite(ctx, m.Site(more...))
}

// Site is a site file that opens the machine's ports.
func (m *Machine) Site(more ...string) string {
	settings := append([]string{
		fmt.Sprintf(`kafka.listen: ":%d"`, kafkaPort),
		fmt.Sprintf("kafka.advertise: %q", m.Kafka),
		fmt.Sprintf(`nats.listen: ":%d"`, natsPort),
		fmt.Sprintf(`mqtt.listen: ":%d"`, mqttPort),
		fmt.Sprintf(`admin.listen: ":%d"`, adminPort),
	}, more...)
	return "hostname: emulated\nsettings:\n  " + strings.Join(settings, "\n  ") + "\n"
}

// sitePath is the site file as mtools find it: the boot partition starts at 1 MiB.
const bootAt, sitePath = "@@1M", "::headwater/site.yaml"

// WriteSite replaces the site file, as an operator does who has the card in a reader.
// The machine is off.
func (m *Machine) WriteSite(ctx context.Context, text string) error {
	file := m.Disk + ".site"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return run(ctx, "mcopy", "-o", "-i", m.Disk+bootAt, file, sitePath)
}

// Entries lists the boot entries on the disk. The machine is off.
func (m *Machine) Entries(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "mdir", "-b", "-i", m.Disk+bootAt, "::loader/entries").Output()
	if err != nil {
		return nil, fmt.Errorf("mdir: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		names = append(names, filepath.Base(strings.TrimSpace(line)))
	}
	return names, nil
}

// uefi is Debian's.
const uefi = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"

// Start switches the machine on.
func (m *Machine) Start() error {
	return m.Launch(exec.Command("qemu-system-aarch64",
		"-M", "virt", "-rtc", "base="+cmp.Or(m.RTC, "utc"), "-cpu", "cortex-a53", "-smp", "1", "-m", fmt.Sprint(m.MemoryMiB),
		"-bios", uefi, "-nographic", "-nodefaults", "-serial", "stdio",
		"-drive", "if=none,id=disk,format=raw,file="+m.Disk, "-device", "virtio-blk-pci,drive=disk",
		"-netdev", m.network(), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset"))
}

// network lets nothing out, unless it is said; what is forwarded comes in.
func (m *Machine) network() string {
	words := []string{"user", "id=net"}
	if !m.Outside {
		words = append(words, "restrict=on")
	}
	for address, port := range map[string]int{m.Kafka: kafkaPort, m.NATS: natsPort, m.MQTT: mqttPort, m.Admin: adminPort} {
		words = append(words, fmt.Sprintf("hostfwd=tcp:%s-:%d", address, port))
	}
	return strings.Join(words, ",")
}

// readyEvery is how often the machine is asked whether it is ready.
const readyEvery = 100 * time.Millisecond

// AwaitReady waits until /readyz says so.
func (m *Machine) AwaitReady(ctx context.Context) error {
	return process.Ready(ctx, m.Admin, readyEvery, m.Ended())
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(said)))
	}
	return nil
}
