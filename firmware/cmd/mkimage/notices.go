package main

import (
	"fmt"
	"strings"

	"github.com/headwater/headwater/firmware/image"
	"github.com/headwater/headwater/firmware/parts"
)

// Whoever gives an image away gives away programs of others, with their licences and
// an offer of their source. Both lie on the boot partition, where everyone can read
// them.
const licences = "licences/"

// notices are the page that names the parts, and e2fsck's licence.
func notices(machine string, e2fsck []byte) []image.File {
	kernel, boot := parts.KernelARM64, fmt.Sprintf(`systemd-boot, which starts the kernel: LGPL-2.1 or later. Debian's package
  %s, of the source package systemd.
`, parts.SystemdBoot.Name())
	if machine == rpi {
		kernel, boot = parts.KernelRPi, fmt.Sprintf(`The Raspberry Pi's firmware (bootcode.bin, start*.elf, fixup*.dat): Broadcom's
  licence, in LICENSE.broadcom. It may be given away for use with a Raspberry Pi alone.
  From the Go module %s %s.
`, parts.FirmwareRPi.Path, parts.FirmwareRPi.Version)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `This image has programs of others in it, beside headwater; these,
unless who built it put others in their place.

Linux, hw/a/vmlinuz: GPL-2.0. Built by the gokrazy project: the Go module
  %s %s
  has in _build/ where the source is fetched from, all changes and the configuration.
%se2fsck, on the root: GPL-2.0. Debian's package
  %s, of the source package e2fsprogs.

Source of Debian's packages, for each version that ever was: Debian's snapshot archive.
Who gave you this image owes you the source of the GPL and LGPL programs in it, for
three years, at no more than what the copying costs.
`, kernel.Path, kernel.Version, boot, parts.E2fsck.Name())
	files := []image.File{{Path: licences + "README.txt", Data: []byte(b.String())}}
	return append(files, licence("e2fsck", e2fsck)...)
}

// licence is a file with one, if there is one.
func licence(name string, text []byte) []image.File {
	if len(text) == 0 {
		return nil
	}
	return []image.File{{Path: licences + name + ".txt", Data: text}}
}
