// Package deb writes Debian packages: the ar archive of deb(5) with its two tar
// archives. The same package is the same bytes wherever and whenever it is written.
//
// It decides nothing about what is in a package. Pure, but for the writer handed in;
// for any goroutine. Sizes are bytes.
package deb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Package is what is installed, and what is said of it.
type Package struct {
	Control  Control
	Files    []File
	Scripts  map[string][]byte // preinst, postinst, prerm, postrm
	Modified time.Time         // of everything in it
}

// File is installed for root, who may change it alone.
type File struct {
	Path     string // absolute, clean
	Mode     fs.FileMode
	Data     []byte
	Conffile bool // an administrator's change of it is kept by upgrades
}

// ErrPackage is wrapped by the complaints about a package that cannot be written.
var ErrPackage = errors.New("no Debian package")

// scripts are those of deb(5) that are written.
var scripts = []string{"preinst", "postinst", "prerm", "postrm"}

// Write writes p.
func (p Package) Write(w io.Writer) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrPackage, err)
	}
	files := slices.Clone(p.Files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	control, err := archive(p.controlFiles(files), p.Modified)
	if err != nil {
		return err
	}
	data, err := archive(files, p.Modified)
	if err != nil {
		return err
	}
	return writeAr(w, p.Modified, []member{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar.gz", control},
		{"data.tar.gz", data},
	})
}

func (p Package) check() error {
	err := p.Control.check()
	seen := map[string]bool{}
	for _, f := range p.Files {
		switch {
		case !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/":
			err = errors.Join(err, fmt.Errorf("%q is no clean absolute path of a file", f.Path))
		case seen[f.Path]:
			err = errors.Join(err, fmt.Errorf("%s is there twice", f.Path))
		case f.Mode&^fs.ModePerm != 0:
			err = errors.Join(err, fmt.Errorf("%s has mode %v; allowed are permissions alone", f.Path, f.Mode))
		}
		seen[f.Path] = true
	}
	for name := range p.Scripts {
		if !slices.Contains(scripts, name) {
			err = errors.Join(err, fmt.Errorf("%q is no script of a package", name))
		}
	}
	return err
}

// controlFiles is what stands in the first archive of a package with files, which are
// sorted.
func (p Package) controlFiles(files []File) []File {
	out := []File{
		{Path: "/control", Mode: 0o644, Data: p.Control.text(installedKiB(files))},
		{Path: "/md5sums", Mode: 0o644, Data: sums(files)},
	}
	var conffiles bytes.Buffer
	for _, f := range files {
		if f.Conffile {
			fmt.Fprintln(&conffiles, f.Path)
		}
	}
	if conffiles.Len() > 0 {
		out = append(out, File{Path: "/conffiles", Mode: 0o644, Data: conffiles.Bytes()})
	}
	for name, text := range p.Scripts {
		out = append(out, File{Path: "/" + name, Mode: 0o755, Data: text})
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// installedKiB counts as Debian does: each file in whole KiB.
func installedKiB(files []File) (kib int64) {
	for _, f := range files {
		kib += (int64(len(f.Data)) + 1023) / 1024
	}
	return kib
}
