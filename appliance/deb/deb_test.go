package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() Package {
	return Package{
		Control: Control{
			Name: "box", Version: "1.2", Architecture: "armhf", Maintainer: "A B <a@b.example>",
			Summary: "A box", Description: "with\n\nlines",
		},
		Files: []File{
			{Path: "/usr/bin/box", Mode: 0o755, Data: bytes.Repeat([]byte("x"), 1025)},
			{Path: "/etc/box/box.yaml", Mode: 0o644, Data: []byte("a: 1\n"), Conffile: true},
		},
		Scripts:  map[string][]byte{"postinst": []byte("#!/bin/sh\n"), "prerm": []byte("#!/bin/sh\n")},
		Modified: time.Unix(1_700_000_000, 5),
	}
}

// parts reads a package back: its members by name, and those in the two archives.
func parts(t *testing.T, text []byte) map[string]string {
	t.Helper()
	rest, ok := bytes.CutPrefix(text, []byte("!<arch>\n"))
	if !ok {
		t.Fatal("it does not begin as an ar archive")
	}
	found := map[string]string{}
	var order []string
	for len(rest) > 0 {
		var size int
		name := strings.TrimSpace(string(rest[:16]))
		if _, err := fmt.Sscan(string(rest[48:58]), &size); err != nil || string(rest[58:60]) != "`\n" {
			t.Fatalf("header %q: %v", rest[:60], err)
		}
		data := rest[60 : 60+size]
		rest = rest[60+size+size%2:]
		order = append(order, name)
		if !strings.HasSuffix(name, ".tar.gz") {
			found[name] = string(data)
			continue
		}
		untar(t, name, data, found)
	}
	if want := []string{"debian-binary", "control.tar.gz", "data.tar.gz"}; !slices.Equal(order, want) {
		t.Errorf("members are %q, want %q", order, want)
	}
	return found
}

func untar(t *testing.T, name string, data []byte, found map[string]string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 1_700_000_000 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: %v, of %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(name, ".tar.gz")+":"+h.Name] = fmt.Sprintf("%o %s", h.Mode, text)
	}
}

// A package holds what dpkg looks for, and directories before what is in them.
func TestWrite(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Write(&b); err != nil {
		t.Fatal(err)
	}
	got := parts(t, b.Bytes())
	for name, want := range map[string]string{
		"debian-binary":           "2.0\n",
		"data:./":                 "755 ",
		"data:./usr/":             "755 ",
		"data:./usr/bin/":         "755 ",
		"data:./etc/box/box.yaml": "644 a: 1\n",
		"data:./usr/bin/box":      "755 " + strings.Repeat("x", 1025),
		"control:./conffiles":     "644 /etc/box/box.yaml\n",
		"control:./postinst":      "755 #!/bin/sh\n",
		"control:./control":       "644 Package: box\nVersion: 1.2\nArchitecture: armhf\nMaintainer: A B <a@b.example>\nInstalled-Size: 3\nPriority: optional\nDescription: A box\n with\n .\n lines\n",
	} {
		if got[name] != want {
			t.Errorf("%s is %.200q, want %.200q", name, got[name], want)
		}
	}
	if sum := got["control:./md5sums"]; len(sum) != len("644 ")+32+len("  usr/bin/box\n") || !strings.HasSuffix(sum, "  usr/bin/box\n") {
		t.Errorf("sums are %q, want one of the file that is no setting", sum)
	}
	if _, there := got["control:./preinst"]; there {
		t.Error("there is a script that nobody gave")
	}
}

// The same package is the same bytes, however its parts are ordered.
func TestWriteIsReproducible(t *testing.T) {
	var first, second bytes.Buffer
	p := sample()
	if err := p.Write(&first); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(p.Files)
	if err := p.Write(&second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two packages of the same differ")
	}
}

// What dpkg would not take is not written.
func TestWriteRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Package){
		"name":       func(p *Package) { p.Control.Name = "Box" },
		"version":    func(p *Package) { p.Control.Version = "v1" },
		"dash":       func(p *Package) { p.Control.Version = "1-2" },
		"maintainer": func(p *Package) { p.Control.Maintainer = "nobody" },
		"lines":      func(p *Package) { p.Control.Summary = "a\nDepends: x" },
		"relative":   func(p *Package) { p.Files[0].Path = "usr/bin/box" },
		"upward":     func(p *Package) { p.Files[0].Path = "/usr/../../box" },
		"twice":      func(p *Package) { p.Files[1].Path = p.Files[0].Path },
		"setuid":     func(p *Package) { p.Files[0].Mode |= fs.ModeSetuid },
		"script":     func(p *Package) { p.Scripts["install"] = nil },
	} {
		p := sample()
		spoil(&p)
		var b bytes.Buffer
		if err := p.Write(&b); !errors.Is(err, ErrPackage) || b.Len() > 0 {
			t.Errorf("%s: %v, %d bytes", name, err, b.Len())
		}
	}
}

// Versions are Debian's, and stand there as they would be sorted.
func TestVersion(t *testing.T) {
	for git, want := range map[string]string{
		"v1.2.3":                 "1.2.3",
		"v1.2.3-rc.1":            "1.2.3~rc.1",
		"v1.2.3-4-g89abcde":      "1.2.3+4.g89abcde",
		"v1.2.3-rc.1-4-g89abcde": "1.2.3~rc.1+4.g89abcde",
		"v1.2.3-dirty":           "1.2.3+dirty",
		"3b816fb":                "0~g3b816fb",
		"07afb81-dirty":          "0~g07afb81+dirty",
		"1234567":                "0~g1234567",
		"unknown":                "0~unknown",
		"":                       "0~",
		"v2 beta":                "2.beta",
	} {
		if got := Version(git); got != want || !debianVersion.MatchString(got) {
			t.Errorf("%q is %q, want %q", git, got, want)
		}
	}
}
