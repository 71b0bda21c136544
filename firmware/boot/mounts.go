package boot

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/layout"
)

// runDir is where PID 1 keeps what lasts until the next boot.
const runDir = "/run/headwater"

// kernelMounts come first: without them nothing can be found. What is in memory is
// bounded, since the box's is small.
var kernelMounts = []Mount{
	{Source: "proc", Target: "/proc", Type: "proc"},
	{Source: "sysfs", Target: "/sys", Type: "sysfs"},
	{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Options: "mode=0755", Devices: true},
	{Source: "tmpfs", Target: "/run", Type: "tmpfs", Options: "mode=0755,size=16m"},
	{Source: "tmpfs", Target: "/tmp", Type: "tmpfs", Options: "mode=1777,size=16m"},
}

func bootMount(device string) Mount {
	return Mount{Source: device, Target: layout.BootMount, Type: "vfat", Options: "umask=0077", ReadOnly: true}
}

// dataMount: after an error of the disk it is read-only, and nothing believes that a
// write has worked.
func dataMount(device string) Mount {
	return Mount{Source: device, Target: layout.DataMount, Type: "ext4", Options: "errors=remount-ro"}
}

// etcFiles are put over files of the root, which is read-only.
func etcFiles(s site.Site) map[string]string {
	return map[string]string{
		"/etc/resolv.conf": "",
		"/etc/hosts":       fmt.Sprintf("127.0.0.1 localhost %[1]s\n::1 localhost %[1]s\n", s.Hostname),
	}
}

// etcDir is where the files lie that are put over those of the root.
func (b *box) etcDir() string { return filepath.Join(b.places.run, "etc") }

func (b *box) resolvConf() string { return filepath.Join(b.etcDir(), "resolv.conf") }

// mountEtc makes the files, and mounts them.
func (b *box) mountEtc(s site.Site) error {
	if err := os.MkdirAll(b.etcDir(), 0o755); err != nil {
		return err
	}
	for _, target := range layout.MountFiles {
		path := filepath.Join(b.etcDir(), filepath.Base(target))
		if err := os.WriteFile(path, []byte(etcFiles(s)[target]), 0o644); err != nil {
			return err
		}
		if err := b.m.Mount(Mount{Source: path, Target: target, Bind: true}); err != nil {
			return fmt.Errorf("put %s in place: %w", target, err)
		}
	}
	return nil
}
