package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrTool is a program of the host's that is missing or failed.
var ErrTool = errors.New("mke2fs")

// ext4Config is in the place of the host's /etc/mke2fs.conf, so that each host makes
// the same. Growing while mounted needs resize_inode and blocks of 4 KiB.
const ext4Config = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 32768
	no_discard = 1
	lazy_itable_init = 0
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
`

// journalMiB is enough for a data partition of any size: what waits there is about
// files, and a broker's are few.
const journalMiB = 16

// makeExt4 has mke2fs make the data partition's file system in the image.
func makeExt4(ctx context.Context, image string, p Partition, when time.Time) error {
	mke2fs, err := findMke2fs()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mkimage")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "mke2fs.conf")
	if err := os.WriteFile(config, []byte(ext4Config), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mke2fs, ext4Args(image, p)...)
	seconds := strconv.FormatInt(when.Unix(), 10)
	cmd.Env = append(os.Environ(), "MKE2FS_CONFIG="+config, "LC_ALL=C",
		"E2FSPROGS_FAKE_TIME="+seconds, // up to 1.47.0
		"SOURCE_DATE_EPOCH="+seconds)   // from 1.47.1 on
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %w: %s", ErrTool, err, strings.TrimSpace(said.String()))
	}
	return nil
}

func ext4Args(image string, p Partition) []string {
	extended := fmt.Sprintf("offset=%d,hash_seed=%s,lazy_itable_init=0,nodiscard,root_owner=0:0", p.Start, derivedGUID("hash seed"))
	return []string{
		"-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0",
		"-L", p.Label, "-U", derivedGUID("file system " + p.Label).String(),
		"-J", fmt.Sprintf("size=%d", journalMiB), "-E", extended,
		image, strconv.FormatInt(p.Bytes>>10, 10) + "k",
	}
}

// findMke2fs looks where Debian has it too, which is not on everybody's PATH.
func findMke2fs() (string, error) {
	for _, name := range []string{"mke2fs", "/usr/sbin/mke2fs", "/sbin/mke2fs"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w is not here: it makes the data partition; Debian has it in e2fsprogs", ErrTool)
}
