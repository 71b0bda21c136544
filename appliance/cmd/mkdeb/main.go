// Command mkdeb makes Debian packages of headwater, one for each processor: the binary,
// a systemd unit, a user and the settings. It owns what is in a package and where.
//
// It reads binaries from -binaries and the rest from configs, and writes
// headwater_VERSION_ARCHITECTURE.deb into -out. It exits with 1 if something failed.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headwater/headwater/appliance/deb"
)

// target is a processor: Debian's word for it, and where its binary is.
type target struct {
	name    string // of the package
	arch    string
	binary  string // directory below -binaries
	preinst string // file below configs/debian; "": none
	note    string // end of the description
}

var targets = []target{
	{"headwater", "amd64", "amd64", "", ""},
	{"headwater", "arm64", "arm64", "", ""},
	{"headwater", "armhf", "armv7", "preinst.armhf", "This build needs an ARMv7 processor, as Debian's armhf does."},
	// Raspberry Pi OS calls ARMv6 armhf too, so that one name would be two builds.
	{"headwater-armv6", "armhf", "armv6", "", "This build is for ARMv6, such as the Raspberry Pi 1 and Zero."},
}

// options are the flags.
type options struct {
	binaries, configs, out string
	version, maintainer    string
	date                   int64
}

func main() {
	var o options
	flag.StringVar(&o.binaries, "binaries", "bin/linux", "directory with ARCHITECTURE/headwater")
	flag.StringVar(&o.configs, "configs", "configs", "directory with headwater.yaml and debian/")
	flag.StringVar(&o.out, "out", "bin", "directory for the packages")
	flag.StringVar(&o.version, "version", "", "what git describe says")
	flag.StringVar(&o.maintainer, "maintainer", "The headwater authors <headwater@example.org>", "whom a package names")
	flag.Int64Var(&o.date, "date", 0, "Unix time of everything in a package: the commit's, so that two builds are equal")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "mkdeb:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	for _, t := range targets {
		p, err := assemble(o, t)
		if err != nil {
			return err
		}
		name := filepath.Join(o.out, fmt.Sprintf("%s_%s_%s.deb", t.name, p.Control.Version, t.arch))
		if err := write(p, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(name)
	}
	return nil
}

func write(p deb.Package, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := p.Write(f); err != nil {
		f.Close()
		os.Remove(name)
		return err
	}
	return f.Close()
}

const description = `Devices publish by NATS or MQTT, each reading is a record on the box's own
flash before the device is told "stored", and any Kafka client reads it by
offset. One static binary; nothing else is needed beside it.`

// assemble reads what is in the package for t.
func assemble(o options, t target) (deb.Package, error) {
	p := deb.Package{
		Control: deb.Control{
			Name: t.name, Version: deb.Version(o.version), Architecture: t.arch, Maintainer: o.maintainer,
			Depends: "systemd | systemd-standalone-sysusers", Section: "net", Homepage: "https://github.com/headwater/headwater",
			Summary: "Kafka-compatible broker for edge gateways", Description: strings.TrimSpace(description + "\n" + t.note),
		},
		Scripts:  map[string][]byte{},
		Modified: time.Unix(o.date, 0).UTC(),
	}
	if t.name != "headwater" {
		p.Control.Provides, p.Control.Conflicts, p.Control.Replaces = "headwater", "headwater", "headwater"
	} else {
		p.Control.Conflicts, p.Control.Replaces = "headwater-armv6", "headwater-armv6"
	}
	debian := filepath.Join(o.configs, "debian")
	r := reader{}
	p.Files = []deb.File{
		{Path: "/usr/bin/headwater", Mode: 0o755, Data: r.read(filepath.Join(o.binaries, t.binary, "headwater"))},
		{Path: "/usr/lib/systemd/system/headwater.service", Mode: 0o644, Data: r.read(filepath.Join(debian, "headwater.service"))},
		{Path: "/usr/lib/sysusers.d/headwater.conf", Mode: 0o644, Data: r.read(filepath.Join(debian, "headwater.sysusers"))},
		{Path: "/usr/share/doc/" + t.name + "/copyright", Mode: 0o644, Data: r.read(filepath.Join(debian, "copyright"))},
		{Path: "/etc/headwater/headwater.yaml", Mode: 0o644, Data: r.read(filepath.Join(o.configs, "headwater.yaml")), Conffile: true},
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		p.Scripts[script] = r.read(filepath.Join(debian, script))
	}
	if t.preinst != "" {
		p.Scripts["preinst"] = r.read(filepath.Join(debian, t.preinst))
	}
	return p, r.err
}

// reader reads files until one cannot be read.
type reader struct{ err error }

func (r *reader) read(name string) []byte {
	if r.err != nil {
		return nil
	}
	var data []byte
	data, r.err = os.ReadFile(name)
	return data
}
