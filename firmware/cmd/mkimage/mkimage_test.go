package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/headwater/headwater/firmware/uefi/uefitest"
)

// testBinary builds the smallest program for an architecture.
func testBinary(t *testing.T, arch string) string {
	t.Helper()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, source)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// kernel and loader are what an image needs to start.
var kernel, loader = string(uefitest.Program([]byte("kernel"))), string(uefitest.Program([]byte("loader")))

// buildWith runs mkimage with parts that cost nothing, and returns the image's path.
func buildWith(t *testing.T, binary string, args ...string) (string, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "test.img")
	o, err := readOptions(append([]string{"-headwater", binary, "-o", out, "-kernel", file(t, kernel), "-systemd-boot", file(t, loader), "-e2fsck", noE2fsck}, args...))
	if err != nil {
		return out, err
	}
	return out, build(t.Context(), o)
}

// Two builds of the same are equal, packed ones too; what is packed is the image.
func TestBuildsTheSame(t *testing.T) {
	binary := testBinary(t, "arm64")
	var images, packed [2][]byte
	for i := range images {
		out, err := buildWith(t, binary, "-zst", "-version", "1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		images[i], packed[i] = read(t, out), read(t, out+".zst")
		if got := read(t, strings.TrimSuffix(out, ".img")+".vmlinuz"); string(got) != kernel {
			t.Errorf("the kernel for bundles is %q", got)
		}
		if root := read(t, strings.TrimSuffix(out, ".img")+".squashfs"); !bytes.HasPrefix(root, []byte("hsqs")) {
			t.Error("the root for bundles is no squashfs")
		}
	}
	if !bytes.Equal(images[0], images[1]) || !bytes.Equal(packed[0], packed[1]) {
		t.Error("two builds differ")
	}
	r, err := zstd.NewReader(bytes.NewReader(packed[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if whole, err := io.ReadAll(r); err != nil || !bytes.Equal(whole, images[0]) {
		t.Errorf("unpacked it is another (%v)", err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What a box could not start from, or would not take, is refused before anything is
// written.
func TestRefuses(t *testing.T) {
	arm64 := testBinary(t, "arm64")
	for name, tc := range map[string]struct {
		binary string
		args   []string
		says   string
	}{
		"amd64":   {testBinary(t, "amd64"), nil, "arm64"},
		"text":    {file(t, "#!/bin/sh\n"), nil, "no program"},
		"missing": {filepath.Join(t.TempDir(), "none"), nil, "no such file"},
		"site":    {arm64, []string{"-site", file(t, "hostnam: x\n")}, "hostnam"},
		"keys":    {arm64, []string{"-keys", file(t, "x\n")}, "public keys"},
		"kernel":  {arm64, []string{"-kernel", file(t, "k")}, "kernel: this is no program"},
		"loader":  {arm64, []string{"-systemd-boot", file(t, "l")}, "boot loader: this is no program"},
		"machine": {arm64, []string{"-machine", "pc"}, "pc"},
		"version": {arm64, []string{"-version", "1\n2"}, "one line"},
		"words":   {arm64, []string{"now"}, "now"},
	} {
		out, err := buildWith(t, tc.binary, tc.args...)
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, which does not say %q", name, err, tc.says)
		}
		if left, _ := filepath.Glob(out + "*"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	if _, err := readOptions(nil); !errors.Is(err, errUsage) {
		t.Errorf("without a binary: %v", err)
	}
}

// Who gives up leaves no image.
func TestCancelled(t *testing.T) {
	o, err := readOptions([]string{"-headwater", testBinary(t, "arm64"), "-o", filepath.Join(t.TempDir(), "x.img"), "-kernel", file(t, kernel), "-systemd-boot", file(t, loader), "-e2fsck", noE2fsck})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := build(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(o.out); err == nil {
		t.Error("there is an image")
	}
}
