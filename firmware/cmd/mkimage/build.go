package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/image"
	"github.com/headwater/headwater/firmware/parts"
	"github.com/headwater/headwater/firmware/uefi"
	"github.com/headwater/headwater/firmware/update"
)

func build(ctx context.Context, o options) error {
	headwater, err := os.ReadFile(o.headwater)
	if err != nil {
		return err
	}
	if err := checkBinary(o.headwater, headwater); err != nil {
		return err
	}
	boot, err := o.bootFiles(ctx)
	if err != nil {
		return err
	}
	e2fsck, notice, err := o.checker(ctx)
	if err != nil {
		return err
	}
	boot = append(boot, notices(o.machine, notice)...)
	when := time.Unix(o.when, 0).UTC()
	say("packing the root: headwater %.1f MB, e2fsck %.1f MB", float64(len(headwater))/1e6, float64(len(e2fsck))/1e6)
	root, err := image.Squashfs(image.RootFiles(headwater, e2fsck), when)
	if err != nil {
		return err
	}
	spec := image.Spec{Boot: boot, Root: root, Time: when, VisibleBoot: o.machine == rpi, Progress: func(step string) { say("%s", step) }}
	if err := image.Create(ctx, o.out, spec); err != nil {
		return err
	}
	if err := os.WriteFile(o.beside(".squashfs"), root, 0o644); err != nil {
		return err
	}
	say("%s is there: %d MiB", o.out, image.Bytes>>20)
	if !o.zst {
		return nil
	}
	return pack(o.out)
}

// beside is a file that stands beside the image.
func (o options) beside(ext string) string { return strings.TrimSuffix(o.out, ".img") + ext }

// say tells the user what is done.
func say(format string, args ...any) { fmt.Printf("mkimage: "+format+"\n", args...) }

// checkBinary refuses what would not start as PID 1.
func checkBinary(name string, data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s is no program for Linux: %w", name, err)
	}
	if f.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("%s is for %v, and the image is for arm64: build it with GOOS=linux GOARCH=arm64", name, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static, and there is no library in an image: build it with CGO_ENABLED=0", name)
		}
	}
	return nil
}

// bootFiles gathers what lies on the boot partition.
func (o options) bootFiles(ctx context.Context) ([]image.File, error) {
	boot := image.Boot{Version: o.version, More: o.more}
	var err error
	for _, file := range []struct {
		name string
		data *[]byte
	}{{o.site, &boot.Site}, {o.keys, &boot.Keys}} {
		if file.name == "" {
			continue
		}
		if *file.data, err = os.ReadFile(file.name); err != nil {
			return nil, err
		}
	}
	if _, err := site.Parse(boot.Site); err != nil {
		return nil, fmt.Errorf("%s: %w", o.site, err)
	}
	if o.keys != "" {
		if _, err := update.ParsePublicKeys(string(boot.Keys)); err != nil {
			return nil, fmt.Errorf("public keys %s: %w", o.keys, err)
		}
	}
	if o.machine == rpi {
		return o.rpiFiles(ctx, boot)
	}
	return o.efiFiles(ctx, boot)
}

func (o options) efiFiles(ctx context.Context, boot image.Boot) (files []image.File, err error) {
	if boot.Kernel, err = o.kernelOf(ctx, parts.KernelARM64); err != nil {
		return nil, err
	}
	sayFetched(parts.SystemdBoot, o.loader)
	loader, notice, err := parts.SystemdBoot.Files(ctx, o.loader)
	if err != nil {
		return nil, err
	}
	if err := uefi.CheckFile(boot.Kernel); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	if loader, err = uefi.ResetAtReturn(loader); err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	files = append(boot.EFI(loader), licence("systemd-boot", notice)...)
	return o.withKernelLicence(ctx, parts.KernelARM64, files)
}

// rpiFiles takes the firmware of all models: which one it is does not show before the
// card is in it.
func (o options) rpiFiles(ctx context.Context, boot image.Boot) (files []image.File, err error) {
	if boot.Kernel, err = o.kernelOf(ctx, parts.KernelRPi); err != nil {
		return nil, err
	}
	say("firmware: %s %s", parts.FirmwareRPi.Path, parts.FirmwareRPi.Version)
	var blobs []image.File
	for _, from := range []struct {
		module parts.Module
		match  []string
	}{
		{parts.FirmwareRPi, []string{"*.bin", "*.elf", "*.dat", "LICENSE.broadcom"}},
		{parts.KernelRPi, []string{"*.dtb", "overlays/*"}},
	} {
		dir, err := from.module.Dir(ctx, o.goCommand)
		if err != nil {
			return nil, err
		}
		found, err := image.FilesMatching(os.DirFS(dir), from.match...)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, found...)
	}
	return o.withKernelLicence(ctx, parts.KernelRPi, boot.RPi(blobs))
}

// withKernelLicence adds it, unless the kernel is one that was handed over.
func (o options) withKernelLicence(ctx context.Context, m parts.Module, files []image.File) ([]image.File, error) {
	if o.kernel != "" {
		return files, nil
	}
	text, err := m.File(ctx, o.goCommand, "LICENSE.linux")
	return append(files, licence("linux", text)...), err
}

// kernelOf reads the kernel, and leaves a copy for bundles.
func (o options) kernelOf(ctx context.Context, m parts.Module) (kernel []byte, err error) {
	if o.kernel != "" {
		say("kernel: %s", o.kernel)
		kernel, err = os.ReadFile(o.kernel)
	} else {
		say("kernel: %s %s", m.Path, m.Version)
		kernel, err = m.File(ctx, o.goCommand, "vmlinuz")
	}
	if err != nil {
		return nil, err
	}
	return kernel, os.WriteFile(o.beside(".vmlinuz"), kernel, 0o644)
}

func (o options) checker(ctx context.Context) (e2fsck, notice []byte, err error) {
	if o.e2fsck == noE2fsck {
		return nil, nil, nil
	}
	sayFetched(parts.E2fsck, o.e2fsck)
	return parts.E2fsck.Files(ctx, o.e2fsck)
}

func sayFetched(d parts.Deb, file string) {
	if file == "" {
		file = "Debian's"
	}
	say("%s: %s (%s)", path.Base(d.Member), d.Name(), file)
}

// pack writes the image again, with zstd.
func pack(name string) (err error) {
	say("packing %s.zst", name)
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	part := name + ".zst.part"
	out, err := os.Create(part)
	if err != nil {
		return err
	}
	w, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err == nil {
		_, err = io.Copy(w, in)
		err = firstError(err, w.Close())
	}
	if err = firstError(err, out.Close()); err != nil {
		return fmt.Errorf("%s.zst: %w", name, firstError(err, os.Remove(part)))
	}
	return os.Rename(part, name+".zst")
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
