package parts

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxPart bounds what is read of a package: the largest part has 2 MB.
const maxPart = 32 << 20

// Files returns the file of the package, and its licence. They are taken from path, a
// package or the file itself, which then comes without one; or fetched when path is
// empty.
func (d Deb) Files(ctx context.Context, path string) (file, notice []byte, err error) {
	switch {
	case path == "":
		if path, err = d.fetch(ctx); err != nil {
			return nil, nil, err
		}
	case !strings.HasSuffix(path, ".deb"):
		file, err = os.ReadFile(path)
		return file, nil, err
	}
	if err := d.check(path); err != nil {
		return nil, nil, err
	}
	archive, err := d.unpack(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	if file, err = member(bytes.NewReader(archive), d.Member); err != nil {
		return nil, nil, err
	}
	notice, err = member(bytes.NewReader(archive), d.Notice)
	return file, notice, err
}

// Name is that of the package's file.
func (d Deb) Name() string { return fmt.Sprintf("%s_%s_%s.deb", d.Package, d.Version, d.Arch) }

// check holds a package against the pin.
func (d Deb) check(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != d.SHA256 {
		return fmt.Errorf("%w: %s has the sha256 %s; pinned is %s with %s. Debian may have a newer one: Debian's snapshot archive keeps the old one, which can be handed over as a file; or test the new one and pin it in firmware/parts", ErrPart, filepath.Base(path), got, d.Name(), d.SHA256)
	}
	return nil
}

// unpack returns the files of the package, as a tar archive.
func (d Deb) unpack(ctx context.Context, path string) ([]byte, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", path)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: dpkg-deb takes %s apart, and failed: %w %s", ErrPart, filepath.Base(path), err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}

func member(archive io.Reader, name string) ([]byte, error) {
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: the package has no file %s", ErrPart, name)
		}
		if err != nil {
			return nil, err
		}
		if strings.TrimPrefix(h.Name, "./") != name {
			continue
		}
		if h.Size > maxPart {
			return nil, fmt.Errorf("%w: %s has %d bytes, which is too much to be right", ErrPart, name, h.Size)
		}
		return io.ReadAll(r)
	}
}

// fetch returns the path of the package in the cache, and puts it there if need be.
func (d Deb) fetch(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "headwater-firmware")
	path := filepath.Join(dir, d.Name())
	if d.check(path) == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	got, cleanUp, err := d.download(ctx, dir)
	if err != nil {
		return "", err
	}
	defer cleanUp()
	if err := d.check(got); err != nil {
		return "", err
	}
	return path, os.Rename(got, path)
}

// aptConfig keeps apt away from the host's own state: it needs neither root nor a
// foreign architecture there. The sources are the host's.
const aptConfig = `Dir::State "%[1]s";
Dir::State::status "%[1]s/status";
Dir::State::lists "%[1]s/lists";
Dir::Cache "%[1]s";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
`

// oneSource is for DEBIAN_MIRROR, which says where the release of the pins is had, on a
// system that is another.
const (
	oneSource = `Dir::Etc::sourcelist "%s/sources.list";
Dir::Etc::sourceparts "-";
`
	aptSource = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm main\n"
)

// download has apt download the package, and returns where it is until cleanUp.
func (d Deb) download(ctx context.Context, cache string) (path string, cleanUp func(), err error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", nil, fmt.Errorf("%w: %s comes by apt-get, which is not here; fetch it from Debian and hand it over as a file", ErrPart, d.Name())
	}
	dir, err := os.MkdirTemp(cache, "apt")
	if err != nil {
		return "", nil, err
	}
	cleanUp = func() { os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			cleanUp()
		}
	}()
	if err := d.prepare(dir); err != nil {
		return "", nil, err
	}
	for _, args := range [][]string{{"-q", "update"}, {"-q", "download", d.Package + ":" + d.Arch}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(dir, "apt.conf"), "LC_ALL=C")
		if said, err := cmd.CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("%w: apt-get %s, for %s: %w\n%s", ErrPart, args[1], d.Name(), err, bytes.TrimSpace(said))
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, d.Package+"_*.deb"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%w: apt-get downloaded %d packages for %s", ErrPart, len(found), d.Name())
	}
	if err != nil {
		return "", nil, err
	}
	return found[0], cleanUp, nil
}

// prepare fills the directory that stands in for the host's.
func (d Deb) prepare(dir string) error {
	config, sources := fmt.Sprintf(aptConfig, dir, d.Arch), ""
	if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
		config, sources = config+fmt.Sprintf(oneSource, dir), fmt.Sprintf(aptSource, mirror)
	}
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(sub)), 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "status"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(sources), 0o644),
		os.WriteFile(filepath.Join(dir, "apt.conf"), []byte(config), 0o644),
	)
}
