package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// Image is an image with the parts that bundles are made of.
type Image struct {
	Path, Kernel, Root string
	Version            string
}

// Built is when programs of Build say that they were made.
var Built = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Build builds an image of this module, as make firmware does, into dir. args are more
// flags of mkimage.
func Build(ctx context.Context, dir, version string, args ...string) (Image, error) {
	binary := filepath.Join(dir, "headwater-"+version)
	flags := []string{"-trimpath", "-ldflags", fmt.Sprintf("-s -w -X main.version=%s -X main.built=%d", version, Built.Unix())}
	if err := process.Build(ctx, binary, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64"}, flags); err != nil {
		return Image{}, err
	}
	return Make(ctx, dir, version, binary, args...)
}

// Make makes an image of any program for arm64: it becomes PID 1.
func Make(ctx context.Context, dir, version, binary string, args ...string) (Image, error) {
	base := filepath.Join(dir, "image-"+version)
	img := Image{Path: base + ".img", Kernel: base + ".vmlinuz", Root: base + ".squashfs", Version: version}
	mkimage := filepath.Join(dir, "mkimage")
	if _, err := os.Stat(mkimage); err != nil {
		if err := process.BuildPackage(ctx, "./firmware/cmd/mkimage", mkimage, nil, nil); err != nil {
			return Image{}, err
		}
	}
	cmd := exec.CommandContext(ctx, mkimage, append([]string{"-headwater", binary, "-version", version, "-o", img.Path}, args...)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return Image{}, fmt.Errorf("mkimage: %w\n%s", err, said)
	}
	return img, nil
}
