package machine

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// On a Raspberry Pi the firmware takes these from the boot partition and starts the
// kernel. The emulator knows nothing of it, and is handed them.
const (
	piKernel      = "hw/a/vmlinuz"
	piDeviceTree  = "bcm2710-rpi-3-b.dtb"
	piCommandLine = "cmdline.txt"

	// piSerial is what the firmware makes of serial0. The emulated watchdog resets the
	// machine when it is armed.
	piSerial, piSerialHere = "console=serial0,115200", "console=ttyS0,115200 8250.nr_uarts=1 hw.watchdog=off"
)

// StartRaspberryPi switches the machine on as a Raspberry Pi 3, with kernel, device
// tree and command line from its boot partition. Its disk has a power of two of bytes.
func (m *Machine) StartRaspberryPi(ctx context.Context) error {
	dir := filepath.Dir(m.Disk)
	for _, name := range []string{piKernel, piDeviceTree} {
		if err := run(ctx, "mcopy", "-o", "-i", m.Disk+bootAt, "::"+name, dir); err != nil {
			return err
		}
	}
	line, err := exec.CommandContext(ctx, "mtype", "-i", m.Disk+bootAt, "::"+piCommandLine).Output()
	if err != nil {
		return fmt.Errorf("mtype: %w", err)
	}
	options := strings.Replace(strings.TrimSpace(string(line)), piSerial, piSerialHere, 1)
	return m.Launch(exec.Command("qemu-system-aarch64",
		"-M", "raspi3b", "-display", "none", "-serial", "null", "-serial", "stdio",
		"-kernel", filepath.Join(dir, filepath.Base(piKernel)), "-dtb", filepath.Join(dir, piDeviceTree), "-append", options,
		"-drive", "if=sd,format=raw,file="+m.Disk,
		"-netdev", m.network(), "-device", "usb-net,netdev=net"))
}
