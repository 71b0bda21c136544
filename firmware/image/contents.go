package image

import (
	_ "embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/headwater/headwater/firmware/layout"
)

// What an image says it is, for updates to compare.
const (
	CompatibleEFI = "headwater-arm64-efi"
	CompatibleRPi = "headwater-arm64-rpi"
)

// SiteTemplate is the site file of an image that nobody gave one: every key, commented.
//
//go:embed site.yaml
var SiteTemplate []byte

// e2fsckPath is where PID 1 looks for it.
const e2fsckPath = "e2fsck"

// RootFiles are those of a root: the binary, e2fsck if it is there, and what PID 1
// mounts on.
func RootFiles(headwater, e2fsck []byte) []File {
	files := []File{{Path: inside(layout.Binary), Data: headwater, Exec: true}}
	if len(e2fsck) > 0 {
		files = append(files, File{Path: e2fsckPath, Data: e2fsck, Exec: true})
	}
	for _, dir := range layout.MountPoints {
		files = append(files, File{Path: inside(dir), Dir: true})
	}
	for _, name := range layout.MountFiles {
		files = append(files, File{Path: inside(name)})
	}
	return files
}

// inside is an absolute path as File has it.
func inside(path string) string { return strings.TrimPrefix(path, "/") }

// Boot is what a boot partition is made of, beside what the machine needs to start.
type Boot struct {
	Kernel []byte
	// Version is that of what is in slot a.
	Version string
	// More is what this machine needs on the kernel's command line.
	More string
	// Site and Keys are files of the operator's; without Site it is SiteTemplate.
	Site, Keys []byte
}

// EFI are the files for machines with UEFI. loader is systemd-boot. The first entry is
// good from the start: a new box has nothing to go back to.
func (b Boot) EFI(loader []byte) []File {
	entry := layout.EntryFile{Slot: layout.A, Version: b.Version, Sequence: 1, Options: layout.CommandLine(layout.A, b.More)}
	return append(b.common(CompatibleEFI),
		File{Path: layout.LoaderPath, Data: loader},
		File{Path: layout.LoaderConfPath, Data: []byte("timeout 0\neditor no\nconsole-mode keep\n")},
		File{Path: join(layout.EntriesDir, layout.Entry{Slot: layout.A}.Name()), Data: []byte(entry.Text())})
}

// rpiConfig is config.txt. The kernel is for 64 bits; the serial port is the console.
const rpiConfig = `# Read by the Raspberry Pi's firmware. headwater's settings are in ` + layout.SitePath + `.
arm_64bit=1
enable_uart=1
disable_splash=1
gpu_mem=16
kernel=%s
`

// RPi are the files for a Raspberry Pi. blobs are those of its firmware, the device
// trees and overlays among them.
func (b Boot) RPi(blobs []File) []File {
	return append(append(b.common(CompatibleRPi), blobs...),
		File{Path: "config.txt", Data: fmt.Appendf(nil, rpiConfig, layout.A.KernelPath())},
		File{Path: "cmdline.txt", Data: []byte(layout.CommandLine(layout.A, b.More) + "\n")})
}

func (b Boot) common(compatible string) []File {
	site := b.Site
	if len(site) == 0 {
		site = SiteTemplate
	}
	files := []File{
		{Path: layout.A.KernelPath(), Data: b.Kernel},
		{Path: dirOf(layout.B.KernelPath()), Dir: true},
		{Path: layout.SitePath, Data: site},
		{Path: layout.CompatiblePath, Data: []byte(compatible + "\n")},
	}
	if len(b.Keys) > 0 {
		files = append(files, File{Path: layout.KeysPath, Data: b.Keys})
	}
	return files
}

func join(elem ...string) string { return strings.Join(elem, "/") }

func dirOf(path string) string { return path[:strings.LastIndexByte(path, '/')] }

// FilesMatching reads the files of fsys that a pattern matches, under the same names.
func FilesMatching(fsys fs.FS, patterns ...string) ([]File, error) {
	var files []File
	for _, pattern := range patterns {
		names, err := fs.Glob(fsys, pattern)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%w: there is no file %s where there should be one", ErrSpec, pattern)
		}
		for _, name := range names {
			data, err := fs.ReadFile(fsys, name)
			if err != nil {
				return nil, err
			}
			files = append(files, File{Path: name, Data: data})
		}
	}
	return files, nil
}
