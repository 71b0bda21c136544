package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/firmware/layout"
)

var testTime = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// noise is data that no packer makes smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// rootFiles has what is hard about a root: files of no byte, of one block, of a block
// and a bit, of what packs well and what does not; more names than stand below one
// header; more inodes than fit one block.
func rootFiles() []File {
	files := RootFiles(noise(3*squashBlock+17), bytes.Repeat([]byte("e2fsck "), 50_000))
	files = append(files, File{Path: "one", Data: noise(squashBlock)}, File{Path: "a/b/c/d", Data: []byte("deep")})
	for i := range 600 {
		files = append(files, File{Path: fmt.Sprintf("many/file-%d", i), Data: fmt.Appendf(nil, "%d", i)})
	}
	return files
}

// bootFiles has what is hard about a boot partition: long names, such as differ late,
// and a directory of many clusters.
func bootFiles() []File {
	b := Boot{Kernel: noise(5_000_001), Version: "1.2.3", More: "console=ttyAMA0", Keys: []byte("x")}
	files := append(b.EFI(noise(4000)), File{Path: "none"}, File{Path: "UPPER.TXT", Data: []byte("short")})
	for i := range 150 {
		files = append(files, File{Path: fmt.Sprintf("overlays/a-long-name-that-ends-in-%d.dtbo", i), Data: fmt.Appendf(nil, "%d", i)})
	}
	return files
}

func testSpec(t *testing.T) Spec {
	t.Helper()
	root, err := Squashfs(rootFiles(), testTime)
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Boot: bootFiles(), Root: root, Time: testTime}
}

func create(t *testing.T, s Spec) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "test.img")
	if err := Create(t.Context(), path, s); err != nil {
		t.Fatal(err)
	}
	return path
}

// The same input makes the same bytes, whenever it is built.
func TestSameBytes(t *testing.T) {
	for name, visible := range map[string]bool{"efi": false, "rpi": true} {
		s := testSpec(t)
		s.VisibleBoot = visible
		first := create(t, s)
		again := testSpec(t)
		again.VisibleBoot = visible
		if at := firstDifference(t, first, create(t, again)); at >= 0 {
			t.Errorf("%s: two builds differ at byte %d", name, at)
		}
	}
}

// firstDifference of two files, or -1.
func firstDifference(t *testing.T, a, b string) int64 {
	t.Helper()
	var files [2]*os.File
	for i, name := range []string{a, b} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	var pages [2][1 << 16]byte
	for at := int64(0); ; at += 1 << 16 {
		n, err := io.ReadFull(files[0], pages[0][:])
		m, _ := io.ReadFull(files[1], pages[1][:])
		if n != m || !bytes.Equal(pages[0][:n], pages[1][:m]) {
			return at
		}
		if err != nil {
			return -1
		}
	}
}

// Tools of others find on the disk what was put there, and nothing to complain of.
func TestReadBack(t *testing.T) {
	for name, visible := range map[string]bool{"efi": false, "rpi": true} {
		t.Run(name, func(t *testing.T) {
			s := testSpec(t)
			s.VisibleBoot = visible
			disk := create(t, s)
			checkTable(t, disk)
			parts := s.Partitions()
			checkBoot(t, extract(t, disk, parts[0]), s.Boot)
			checkRoot(t, extract(t, disk, parts[1]), rootFiles())
			checkData(t, extract(t, disk, parts[3]))
		})
	}
}

func checkTable(t *testing.T, disk string) {
	t.Helper()
	if said := tool(t, "sgdisk", "-v", disk); !strings.Contains(said, "No problems found") {
		t.Errorf("sgdisk says:\n%s", said)
	}
	said := tool(t, "sgdisk", "-p", disk)
	for _, label := range []string{layout.BootLabel, layout.RootALabel, layout.RootBLabel, layout.DataLabel} {
		if !strings.Contains(said, label+"\n") {
			t.Errorf("no partition %s:\n%s", label, said)
		}
	}
}

func checkBoot(t *testing.T, part string, want []File) {
	t.Helper()
	if said := tool(t, "fsck.vfat", "-n", "-v", part); strings.Contains(said, "Would") || strings.Contains(said, "ifference") {
		t.Errorf("fsck.vfat says:\n%s", said)
	}
	to := t.TempDir()
	tool(t, "mcopy", "-s", "-n", "-Q", "-i", part, "::*", to)
	checkFiles(t, to, want)
}

func checkRoot(t *testing.T, part string, want []File) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "root")
	tool(t, "unsquashfs", "-no-progress", "-d", to, part)
	checkFiles(t, to, want)
	info, err := os.Stat(filepath.Join(to, "headwater"))
	if err != nil || info.Mode().Perm() != 0o555 || !info.ModTime().Equal(testTime) {
		t.Errorf("/headwater has mode %v and time %v (%v)", info.Mode(), info.ModTime(), err)
	}
}

func checkData(t *testing.T, part string) {
	t.Helper()
	tool(t, "e2fsck", "-fn", part)
	said := tool(t, "dumpe2fs", "-h", part)
	for _, want := range []string{"hw-data", "resize_inode", "has_journal", "metadata_csum", "Block size:               4096", "Reserved block count:     0\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("of the data partition dumpe2fs does not say %q:\n%s", want, said)
		}
	}
}

func checkFiles(t *testing.T, dir string, want []File) {
	t.Helper()
	for _, f := range want {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if f.Dir {
			if info, err := os.Stat(path); err != nil || !info.IsDir() {
				t.Errorf("%s is no directory: %v", f.Path, err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, f.Data) {
			t.Errorf("%s has %d bytes, not the %d that it was given (%v)", f.Path, len(got), len(f.Data), err)
		}
	}
}

// extract copies a partition out of the disk.
func extract(t *testing.T, disk string, p Partition) string {
	t.Helper()
	in, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(t.TempDir(), p.Label)
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, io.NewSectionReader(in, p.Start, p.Bytes))
	if err = errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// tool runs a program of others', which must end well, and returns what it says.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "MTOOLS_SKIP_CHECK=1")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s (make test gets it): %v\n%s", name, err, said)
	}
	return string(said)
}

// What cannot be an image is refused in a sentence, and no file is left.
func TestRefuses(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"rootTooLarge": func(s *Spec) { s.Root = make([]byte, layout.RootBytes+1) },
		"bootTooLarge": func(s *Spec) { s.Boot = []File{{Path: "vmlinuz", Data: make([]byte, layout.BootBytes)}} },
		"twoOfOne":     func(s *Spec) { s.Boot = []File{{Path: "a/b"}, {Path: "a/b"}} },
		"belowAFile":   func(s *Spec) { s.Boot = []File{{Path: "a"}, {Path: "a/b"}} },
		"upwards":      func(s *Spec) { s.Boot = []File{{Path: "../a"}} },
		"colon":        func(s *Spec) { s.Boot = []File{{Path: "a:b"}} },
		"umlaut":       func(s *Spec) { s.Boot = []File{{Path: "ä"}} },
		"tooLong":      func(s *Spec) { s.Boot = []File{{Path: strings.Repeat("n", 256)}} },
		"year":         func(s *Spec) { s.Time = time.Unix(0, 0) },
	} {
		s := Spec{Time: testTime}
		change(&s)
		path := filepath.Join(t.TempDir(), "test.img")
		if err := Create(t.Context(), path, s); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v, want one of %v", name, err, ErrSpec)
		}
		if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// One who gives up while mke2fs runs is left with nothing half done.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "test.img")
	if err := Create(ctx, path, Spec{Time: testTime}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
