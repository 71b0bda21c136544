package disk

import "golang.org/x/sys/unix"

// magics are the file systems by what statfs says. FUSE has one for all; which it is
// stands in the table of mounts.
var magics = map[uint32]string{
	unix.EXT4_SUPER_MAGIC:      "ext4", // and ext2 and ext3
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.RAMFS_MAGIC:           "ramfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	0x61756673:                 "aufs",
	unix.MSDOS_SUPER_MAGIC:     "vfat",
	unix.EXFAT_SUPER_MAGIC:     "exfat",
	0xFF534D42:                 "cifs",
	0xFE534D42:                 "cifs", // SMB 2 and above
	unix.CEPH_SUPER_MAGIC:      "ceph",
	unix.V9FS_MAGIC:            "9p",
	0x786F4256:                 "vboxsf",
	unix.FUSE_SUPER_MAGIC:      "fuse",
}

// filesystemName is "" for one that is not known here.
func filesystemName(path string) (string, error) {
	st, err := statfs(path)
	if err != nil {
		return "", err
	}
	name := magics[uint32(st.Type)] // signed, and of 32 bits on some machines
	if name == "fuse" {
		if told := mountTypeOf(path); told != "" { // fuse.fuse-overlayfs, fuse.sshfs, virtiofs
			name = told
		}
	}
	return name, nil
}
