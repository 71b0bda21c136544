package parts

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A module is taken when it has the checksum that is pinned; else a sentence says what
// it has, or what the go command said.
func TestModule(t *testing.T) {
	m := Module{"example.org/kernel", "v1.0.0", "h1:right"}
	for name, tc := range map[string]struct {
		answer string
		runErr error
		dir    string
		says   string
	}{
		"right":    {`{"Dir":"/cache/kernel","Sum":"h1:right"}`, nil, "/cache/kernel", ""},
		"other":    {`{"Dir":"/cache/kernel","Sum":"h1:other"}`, nil, "", "h1:other"},
		"refused":  {`{"Error":"403 Forbidden"}`, errors.New("exit status 1"), "", "403 Forbidden"},
		"nothing":  {``, errors.New("no such command"), "", "no such command"},
		"withSum":  {`{"Dir":"/d","Sum":"h1:right","Error":"bad zip"}`, nil, "", "bad zip"},
		"failedOK": {`{"Dir":"/d","Sum":"h1:right"}`, errors.New("exit status 1"), "", "exit status 1"},
	} {
		dir, err := m.judge([]byte(tc.answer), "", tc.runErr)
		if dir != tc.dir || (err == nil) != (tc.says == "") {
			t.Errorf("%s: %q (%v)", name, dir, err)
		}
		if err != nil && (!errors.Is(err, ErrPart) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s: %v, which does not say %q", name, err, tc.says)
		}
	}
}

// testDeb makes a package with one file, and the pin for it.
func testDeb(t *testing.T, text string) (d Deb, path string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for name, data := range map[string]string{
		"DEBIAN/control": "Package: part\nVersion: 1.0\nArchitecture: arm64\nMaintainer: nobody <nobody@example.org>\nDescription: a part\n",
		"usr/lib/part":   text,
		"usr/doc/part":   "its licence",
	} {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(t.TempDir(), "part_1.0_arm64.deb")
	if said, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "-b", root, path).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb (Debian has it in dpkg): %v\n%s", err, said)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Deb{Package: "part", Arch: "arm64", Version: "1.0", SHA256: fmt.Sprintf("%x", sha256.Sum256(data)), Member: "usr/lib/part", Notice: "usr/doc/part"}, path
}

// fakeApt stands first on the PATH as apt-get, and downloads deb when it is asked to.
// It notes its calls in the file that is returned.
func fakeApt(t *testing.T, deb string) (calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	script := fmt.Sprintf("#!/bin/sh\necho \"$2\" >>%q\n[ \"$2\" != download ] || cp %q .\n", calls, deb)
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return calls
}

// A package is fetched once; what apt left behind is gone.
func TestDebIsFetchedOnce(t *testing.T) {
	d, path := testDeb(t, "the part")
	calls := fakeApt(t, path)
	for range 2 {
		got, notice, err := d.Files(t.Context(), "")
		if err != nil || string(got) != "the part" || string(notice) != "its licence" {
			t.Fatalf("got %q and %q (%v)", got, notice, err)
		}
	}
	if said, err := os.ReadFile(calls); err != nil || string(said) != "update\ndownload\n" {
		t.Errorf("apt-get was called for %q (%v), want once each", said, err)
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "headwater-firmware", "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != d.Name() {
		t.Errorf("the cache has %q (%v)", left, err)
	}
}

// Another package than the pinned one is refused, fetched or handed over, in a sentence
// that names both checksums. What is no package is taken as it is: who hands it over
// knows why.
func TestDebOther(t *testing.T) {
	d, path := testDeb(t, "the part")
	got, _ := testDeb(t, "another")
	d, other := got, d.SHA256
	fakeApt(t, path)
	for name, from := range map[string]string{"fetched": "", "handed over": path} {
		_, _, err := d.Files(t.Context(), from)
		if !errors.Is(err, ErrPart) || !strings.Contains(err.Error(), d.SHA256) || !strings.Contains(err.Error(), other) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bare := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(bare, []byte("own"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, _, err := d.Files(t.Context(), bare); err != nil || string(got) != "own" {
		t.Errorf("a bare file: %q (%v)", got, err)
	}
}

// Where there is no apt-get, a sentence says what to do.
func TestDebWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, _, err := SystemdBoot.Files(t.Context(), ""); !errors.Is(err, ErrPart) || !strings.Contains(err.Error(), "hand it over") {
		t.Errorf("got %v", err)
	}
}

// No length that an archive claims is believed.
func TestMember(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "./huge", Size: maxPart + 1, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := member(bytes.NewReader(b.Bytes()), "huge"); !errors.Is(err, ErrPart) {
		t.Errorf("a huge file: %v", err)
	}
	if _, err := member(bytes.NewReader(nil), "none"); !errors.Is(err, ErrPart) {
		t.Errorf("an empty archive: %v", err)
	}
}
