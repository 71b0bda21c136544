// Package parts gets what others made and an image has in it: the kernel, the boot
// loader, e2fsck, the Raspberry Pi's blobs. Nothing of it is committed: each is pinned
// by version and checksum, and fetched by who builds, from the Go module proxy and
// from Debian.
//
// What was fetched stays in the user's cache directory; the next build needs no
// network. The functions may be called from any goroutine, but two at a time for one
// part fetch it twice.
package parts

import "errors"

// ErrPart is a part that cannot be had, or is not the one that was pinned.
var ErrPart = errors.New("part of the image")

// Module is a Go module with files in it.
type Module struct {
	Path, Version string
	Sum           string // as go.sum has it
}

// Deb is a file of a Debian package.
type Deb struct {
	Package, Arch, Version string
	SHA256                 string // of the package
	Member                 string // path of the file in it
	Notice                 string // path of its licence in it
}

// The parts. A new version is one that the image's tests were run with.
var (
	KernelARM64 = Module{"github.com/gokrazy/kernel.arm64", "v0.0.0-20260705071517-37841c4d6ff1", "h1:MYq3OcTlEz46i/DZxG3c6ePjE6Te/024cPW2VHTBVAs="}
	KernelRPi   = Module{"github.com/gokrazy/kernel.rpi", "v0.0.0-20251127164438-9778ec0261de", "h1:RSLWj1Ska9s4cl+n/bC5LY4s8vLr+tZoO2vMm/wGP64="}
	FirmwareRPi = Module{"github.com/gokrazy/firmware", "v0.0.0-20260522070551-527ce0ed43cf", "h1:WRmvIwhtcWJfHnrfpfXWPh3Xq6Lztn0y5l3li+NjaYw="}

	SystemdBoot = Deb{
		Package: "systemd-boot-efi", Arch: "arm64", Version: "252.39-1~deb12u2",
		SHA256: "d75fbbfa90d37d409e7e65f1149afd770bc17daa3f15f49ef651f608fe7e1dbc",
		Member: "usr/lib/systemd/boot/efi/systemd-bootaa64.efi",
		Notice: "usr/share/doc/systemd-boot-efi/copyright",
	}
	E2fsck = Deb{
		Package: "e2fsck-static", Arch: "arm64", Version: "1.47.0-2+b2",
		SHA256: "c737ccfa53974dcbe1b5d44fdaf64d8127c050aad6ebd25309d1b74636fa9949",
		Member: "sbin/e2fsck.static",
		Notice: "usr/share/doc/e2fsck-static/copyright",
	}
)
