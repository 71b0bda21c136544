//go:build interop

// Package debian tests the Debian packages as dpkg sees them: what they say, that two
// builds are equal, and that one can be installed, upgraded, removed and purged, in a
// copy of this machine's system that goes with the test. It holds tests only, for `make
// interop`.
package debian

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

const version, debianVersion = "v1.2.3-rc.1-4-gabcdef0", "1.2.3~rc.1+4.gabcdef0"

// build has mkdeb make packages of one binary for all processors: it is the same to dpkg.
func build(t *testing.T, binary, out string) {
	t.Helper()
	root, err := process.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	binaries := t.TempDir()
	for _, arch := range []string{"amd64", "arm64", "armv7", "armv6"} {
		dir := filepath.Join(binaries, arch)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "headwater"), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, root, "go", "run", "./appliance/cmd/mkdeb", "-binaries", binaries, "-out", out, "-version", version, "-date", "1700000000")
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// dpkg-deb reads the packages for four processors, and what they say of themselves; and
// they are built the same again.
func TestPackages(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "binary")
	if err := os.WriteFile(binary, bytes.Repeat([]byte("headwater"), 1000), 0o755); err != nil {
		t.Fatal(err)
	}
	first, second := t.TempDir(), t.TempDir()
	build(t, binary, first)
	build(t, binary, second)
	for name, want := range map[string][]string{
		"headwater_%s_amd64.deb":       {"Package: headwater\n", "Architecture: amd64\n"},
		"headwater_%s_arm64.deb":       {"Package: headwater\n", "Architecture: arm64\n"},
		"headwater_%s_armhf.deb":       {"Package: headwater\n", "Architecture: armhf\n", "preinst", "Conflicts: headwater-armv6\n"},
		"headwater-armv6_%s_armhf.deb": {"Package: headwater-armv6\n", "Architecture: armhf\n", "Provides: headwater\n", "Conflicts: headwater\n"},
	} {
		name = fmt.Sprintf(name, debianVersion)
		info := run(t, first, "dpkg-deb", "--info", name)
		for _, line := range append(want, "Version: "+debianVersion+"\n", "conffiles", "Depends: systemd") {
			if !strings.Contains(info, line) {
				t.Errorf("%s does not say %q:\n%s", name, line, info)
			}
		}
		if list := run(t, first, "dpkg-deb", "--contents", name); !strings.Contains(list, "root/root      9000 2023-11-14 ") || strings.Count(list, "./usr/bin/headwater\n") != 1 {
			t.Errorf("%s holds\n%s", name, list)
		}
		a, errA := os.ReadFile(filepath.Join(first, name))
		b, errB := os.ReadFile(filepath.Join(second, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not built the same twice: %v, %v", name, errA, errB)
		}
	}
}

// installed is run inside of the copy, as root, and says what it does by its last line.
const installed = `set -e
mount -t proc proc /proc
for name in $(env | sed -n 's/^\(HEADWATER_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
dpkg -i /hw.deb
getent passwd headwater
test "$(stat -c '%U:%G %a' /etc/headwater)" = "root:headwater 750"
test "$(stat -c %U /usr/bin/headwater)" = root
setpriv --reuid=headwater --regid=headwater --clear-groups headwater check-config /etc/headwater/headwater.yaml >/dev/null
systemd-analyze verify --man=no /usr/lib/systemd/system/headwater.service
test "$(systemctl is-enabled headwater)" = enabled
echo 'log: {level: debug}' >/etc/headwater/headwater.yaml
dpkg -i --force-confold /hw.deb
grep -q debug /etc/headwater/headwater.yaml
mkdir -p /var/lib/headwater
dpkg -r headwater
test ! -e /usr/bin/headwater
test -e /etc/headwater/headwater.yaml
dpkg -P headwater 2>&1 | grep 'headwater stays, with all records'
test -d /var/lib/headwater
test ! -e /etc/headwater
echo all well
`

// An administrator's settings outlive an upgrade and a removal, and records a purge.
func TestInstall(t *testing.T) {
	if os.Getenv("HEADWATER_NO_ROOT") == "1" {
		t.Skip("HEADWATER_NO_ROOT=1: mounts nothing")
	}
	if text, err := os.ReadFile("/etc/debian_version"); err != nil {
		t.Fatalf("this is no Debian, which the packages are for (%v); set HEADWATER_NO_ROOT=1 to do without it", err)
	} else {
		t.Logf("Debian %s", bytes.TrimSpace(text))
	}
	binary, out := filepath.Join(t.TempDir(), "headwater"), t.TempDir()
	if err := process.Build(t.Context(), binary, []string{"CGO_ENABLED=0"}, nil); err != nil {
		t.Fatal(err)
	}
	build(t, binary, out)
	arch := strings.TrimSpace(run(t, out, "dpkg", "--print-architecture"))
	deb := filepath.Join(out, fmt.Sprintf("headwater_%s_%s.deb", debianVersion, arch))
	// All is mounted in a namespace of its own, which goes with the shell: a file system in
	// memory that takes what changes, and over this machine's system the two together.
	script := `set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
cp "$2" "$1/root/hw.deb"
exec chroot "$1/root" /bin/sh -c "$3"`
	said := run(t, out, "unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", t.TempDir(), deb, installed)
	if !strings.HasSuffix(said, "all well\n") {
		t.Errorf("it says\n%s", said)
	}
}
