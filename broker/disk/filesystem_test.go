package disk

import "testing"

// A mount is the one with the longest place that a path lies below, the last of those
// on one place.
func TestMountType(t *testing.T) {
	const table = `21 1 254:0 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a
22 21 0:5 / /proc rw - proc proc rw
30 21 254:1 / /data rw,relatime - ext4 /dev/vdb rw
31 30 0:40 / /data/with\040space rw - fuse.sshfs host: rw
32 30 0:41 / /data/twice rw - tmpfs tmpfs rw
33 32 0:42 / /data/twice rw shared:2 master:1 - xfs /dev/vdc rw
nonsense
40 21 0:43 / /short
`
	for path, want := range map[string]string{
		"/": "overlay", "/database": "overlay", "/data": "ext4", "/data/x/y": "ext4", "/data/with space/x": "fuse.sshfs",
		"/data/twice": "xfs", "/short": "overlay",
	} {
		if got := mountType(table, path); got != want {
			t.Errorf("%s lies on %q, want %q", path, got, want)
		}
	}
	if got := mountType("", "/data"); got != "" {
		t.Errorf("without a table: %q", got)
	}
}

// What goes with the machine's memory or with a container is volatile, what another
// keeps is in doubt, and disks are neither; nor is what is not known.
func TestJudge(t *testing.T) {
	for name, want := range map[string]Filesystem{
		"tmpfs": {Volatile: inMemory}, "ramfs": {Volatile: inMemory},
		"overlay": {Volatile: ofOthers}, "fuse.fuse-overlayfs": {Volatile: ofOthers},
		"nfs": {Doubt: remote}, "virtiofs": {Doubt: fromHost}, "fuse.sshfs": {Doubt: fromHost}, "vfat": {Doubt: noLog},
		"ext4": {}, "xfs": {}, "btrfs": {}, "f2fs": {}, "zfs": {}, "": {},
	} {
		want.Name = name
		if got := judge(name); got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
	}
}
