package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The machines that images are for.
const (
	efi = "efi"
	rpi = "rpi"
)

// options are the flags.
type options struct {
	machine   string
	out       string
	headwater string // the arm64 binary
	version   string
	more      string
	site      string
	keys      string
	when      int64 // seconds since 1970
	zst       bool

	kernel, loader, e2fsck string // files in the place of those that are fetched
	goCommand              string
}

// defaultMore is the consoles: the screen, and the serial port, which is also PID 1's.
var defaultMore = map[string]string{
	efi: "console=tty0 console=ttyAMA0",
	rpi: "console=tty1 console=serial0,115200",
}

// noE2fsck leaves it off.
const noE2fsck = "none"

func readOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	f.StringVar(&o.machine, "machine", efi, "what the image is for: efi, any arm64 machine with UEFI; rpi, a Raspberry Pi")
	f.StringVar(&o.out, "o", "headwater-arm64.img", "the image; the kernel and the root stand beside it, as .vmlinuz and .squashfs, for bundles of updates")
	f.StringVar(&o.headwater, "headwater", "", "the static binary for linux/arm64")
	f.StringVar(&o.version, "version", "", "version of the binary, as status tells it")
	f.StringVar(&o.more, "cmdline", "", "what the machine needs on the kernel's command line (default: its consoles)")
	f.StringVar(&o.site, "site", "", "site file to put on the boot partition (default: a template, everything commented)")
	f.StringVar(&o.keys, "keys", "", "public keys of updates that boxes take, one a line, as headwater firmware keygen prints them (default: none, and no updates)")
	f.Int64Var(&o.when, "time", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), "time of all that is in the image, in seconds since 1970; the same time and parts make the same bytes")
	f.BoolVar(&o.zst, "zst", false, "write the image packed with zstd too, as .zst")
	f.StringVar(&o.kernel, "kernel", "", "kernel to take in place of the pinned one")
	f.StringVar(&o.loader, "systemd-boot", "", "Debian's package systemd-boot-efi, or systemd-bootaa64.efi itself, in place of fetching it")
	f.StringVar(&o.e2fsck, "e2fsck", "", "Debian's package e2fsck-static, or a static e2fsck itself, in place of fetching it; none leaves it off")
	f.StringVar(&o.goCommand, "go", "go", "the go command, which fetches the kernel")
	if err := f.Parse(args); err != nil {
		return o, usage(err)
	}
	if o.more == "" {
		o.more = defaultMore[o.machine]
	}
	return o, o.check(f.Args())
}

func usage(err error) error {
	if err == flag.ErrHelp {
		return err
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%w: takes flags alone, and was given %q", errUsage, rest[0])
	case !slices.Contains([]string{efi, rpi}, o.machine):
		return fmt.Errorf("%w: -machine is %s or %s, not %q", errUsage, efi, rpi, o.machine)
	case o.headwater == "":
		return fmt.Errorf("%w: -headwater says where the binary for linux/arm64 is; make firmware builds it", errUsage)
	case strings.ContainsAny(o.version, "\r\n") || strings.ContainsAny(o.more, "\r\n"):
		return fmt.Errorf("%w: -version and -cmdline are one line each", errUsage)
	}
	return nil
}
