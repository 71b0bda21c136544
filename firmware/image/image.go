// Package image writes firmware images: a disk with a boot partition, two roots and a
// data partition, as firmware/layout says, that is copied onto a card or a disk as it
// is.
//
// What goes in is handed in as bytes; nothing is fetched here. It needs neither root
// nor loop devices: the partition table, FAT32 and squashfs are written by this
// package, ext4 by the host's mke2fs, in a file. The same input makes the same bytes:
// every identity is derived from a name, every time is the Spec's.
//
// The functions keep no state, and may be called from any goroutine. Sizes and
// offsets are bytes; a sector has 512.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/headwater/headwater/firmware/layout"
)

// ErrSpec is what is asked for and cannot be an image.
var ErrSpec = errors.New("no image can be made of this")

// Spec is one image.
type Spec struct {
	// Boot is what lies on the boot partition.
	Boot []File
	// Root is the root of slot a, by Squashfs. Slot b is empty.
	Root []byte
	// Time is on every file and file system.
	Time time.Time
	// VisibleBoot has the boot partition stand in the MBR too, for machines whose
	// ROM reads nothing newer: the Raspberry Pi's.
	VisibleBoot bool
	// Progress is told what is done next; it may be nil.
	Progress func(step string)
}

const (
	sector = 512
	// alignment of partitions: erase blocks of cards are no larger, mostly
	alignment = 1 << 20
)

// Bytes is how long an image is.
const Bytes = alignment + layout.BootBytes + 2*layout.RootBytes + layout.DataBytes + alignment

// Partitions are those of an image, in their order on the disk.
func (s Spec) Partitions() []Partition {
	boot := Partition{Label: layout.BootLabel, Type: espType, Bytes: layout.BootBytes}
	if s.VisibleBoot {
		boot.Type, boot.MBRType = basicDataType, mbrFAT32LBA
	}
	parts := []Partition{
		boot,
		{Label: layout.RootALabel, Type: linuxType, Bytes: layout.RootBytes},
		{Label: layout.RootBLabel, Type: linuxType, Bytes: layout.RootBytes},
		{Label: layout.DataLabel, Type: linuxType, Bytes: layout.DataBytes},
	}
	start := int64(alignment)
	for i := range parts {
		parts[i].ID = derivedGUID("partition " + parts[i].Label)
		parts[i].Start = start
		start += parts[i].Bytes
	}
	return parts
}

// Create writes the image to path, which is replaced once the image is whole. The
// file is sparse where it is zero.
func Create(ctx context.Context, path string, s Spec) (err error) {
	part := path + ".part"
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("image %s: %w", path, err), ignoreMissing(os.Remove(part)))
		}
	}()
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = s.write(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	data := s.Partitions()[3]
	s.progress("data: ext4, %d MiB, by mke2fs", data.Bytes>>20)
	if err := makeExt4(ctx, part, data, s.Time); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// write writes all but the data partition.
func (s Spec) write(f *os.File) error {
	if s.Time.Year() < 1980 || s.Time.Year() > 2099 {
		return fmt.Errorf("%w: its time %v is not between the years 1980 and 2099, as FAT must have it", ErrSpec, s.Time)
	}
	if err := f.Truncate(Bytes); err != nil {
		return err
	}
	parts := s.Partitions()
	if err := writeTable(f, Bytes, parts); err != nil {
		return err
	}
	s.progress("%s: FAT32, %d files, %.1f MB", parts[0].Label, len(s.Boot), megabytes(s.Boot))
	if err := writeFAT(io.NewOffsetWriter(f, parts[0].Start), parts[0].Bytes, s.Boot, s.Time); err != nil {
		return fmt.Errorf("%s: %w", parts[0].Label, err)
	}
	if int64(len(s.Root)) > parts[1].Bytes {
		return fmt.Errorf("%w: the root has %.1f MB, and its partition room for %.1f MB", ErrSpec, float64(len(s.Root))/1e6, float64(parts[1].Bytes)/1e6)
	}
	s.progress("%s: squashfs, %.1f MB", parts[1].Label, float64(len(s.Root))/1e6)
	_, err := f.WriteAt(s.Root, parts[1].Start)
	return err
}

func (s Spec) progress(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(fmt.Sprintf(format, args...))
	}
}

func megabytes(files []File) float64 {
	n := 0
	for _, f := range files {
		n += len(f.Data)
	}
	return float64(n) / 1e6
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
