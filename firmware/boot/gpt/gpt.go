// Package gpt grows the last partition of a disk to the disk's end, in the partition
// table alone: an image is written to cards of all sizes. It knows of the table what
// that needs, and makes none. One caller at a time; sizes are bytes unless they say
// sectors.
package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unicode/utf16"
)

// Errors of Grow. It wrote nothing then.
var (
	ErrNoTable = errors.New("no partition table that is whole")
	ErrNotLast = errors.New("another partition lies behind it")
	ErrNoPart  = errors.New("no such partition")
)

// Disk is what Grow works on.
type Disk interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Sync() error
}

// Where each field of the header starts (UEFI 5.3.2); numbers are little-endian.
const (
	atSignature    = 0  // "EFI PART"
	atHeaderBytes  = 12 // uint32
	atHeaderCRC    = 16 // uint32, over the header with this field zero
	atThisLBA      = 24 // uint64
	atOtherLBA     = 32 // uint64, of the other header
	atLastUsable   = 48 // uint64
	atEntriesLBA   = 72 // uint64
	atEntries      = 80 // uint32, how many
	atEntryBytes   = 84 // uint32
	atEntriesCRC   = 88 // uint32
	minHeaderBytes = 92
)

// Where each field of an entry starts (UEFI 5.3.3).
const (
	atFirstLBA    = 32 // uint64
	atLastLBA     = 40 // uint64, inclusive
	atName        = 56 // 36 UTF-16 units
	minEntryBytes = 128
)

const (
	maxEntriesBytes = 64 << 10 // four times the usual
	alignment       = 1 << 20  // partitions end where erase blocks may
)

// Extent is where a partition lies, in bytes, and its number, from 1.
type Extent struct {
	Number       int
	Start, Bytes int64
}

// table is a header with its entries.
type table struct {
	sector  int64 // bytes
	header  []byte
	entries []byte
}

// Grow makes the partition with that label end where the disk does, and returns where
// it lies then; grown is false if it did before, and then nothing was written. The
// copy at the end is written first, and the table at the start in one piece once that
// copy is on stable storage: wherever the power is cut, one of the two is whole.
func Grow(disk Disk, diskBytes, sectorBytes int64, label string) (e Extent, grown bool, err error) {
	t, err := read(disk, diskBytes, sectorBytes)
	if err != nil {
		return e, false, err
	}
	entry, number, err := t.find(label)
	if err != nil {
		return e, false, err
	}
	first, last := t.lbas(entry)
	sectors := diskBytes / sectorBytes
	entriesSectors := (int64(len(t.entries)) + sectorBytes - 1) / sectorBytes
	lastUsable := sectors - 1 - entriesSectors - 1
	end := (lastUsable + 1) / (alignment / sectorBytes) * (alignment / sectorBytes)
	extent := func() Extent {
		return Extent{number, first * sectorBytes, (last - first + 1) * sectorBytes}
	}
	if end-1 <= last {
		return extent(), false, nil
	}
	last = end - 1
	binary.LittleEndian.PutUint64(entry[atLastLBA:], uint64(last))
	return extent(), true, t.write(disk, sectors, lastUsable)
}

// write puts both copies of the table on a disk of so many sectors.
func (t *table) write(disk Disk, sectors, lastUsable int64) error {
	room := (int64(len(t.entries)) + t.sector - 1) / t.sector * t.sector
	entries := append(bytes.Clone(t.entries), make([]byte, room-int64(len(t.entries)))...)
	backup := append(bytes.Clone(entries), t.headerAt(sectors-1, 1, lastUsable+1, lastUsable)...)
	if _, err := disk.WriteAt(backup, (lastUsable+1)*t.sector); err != nil {
		return fmt.Errorf("write the partition table's copy: %w", err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("write the partition table's copy: %w", err)
	}
	primary := append(t.headerAt(1, sectors-1, 2, lastUsable), entries...)
	if _, err := disk.WriteAt(primary, t.sector); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	return nil
}

// headerAt is the sector of the header that lies at this, for the table as it is.
func (t *table) headerAt(this, other, entriesLBA, lastUsable int64) []byte {
	out := make([]byte, t.sector)
	copy(out, t.header)
	le := binary.LittleEndian
	le.PutUint64(out[atThisLBA:], uint64(this))
	le.PutUint64(out[atOtherLBA:], uint64(other))
	le.PutUint64(out[atLastUsable:], uint64(lastUsable))
	le.PutUint64(out[atEntriesLBA:], uint64(entriesLBA))
	le.PutUint32(out[atEntriesCRC:], crc32.ChecksumIEEE(t.entries))
	le.PutUint32(out[atHeaderCRC:], 0)
	le.PutUint32(out[atHeaderCRC:], crc32.ChecksumIEEE(out[:len(t.header)]))
	return out
}

// read returns the table at the start, or its copy at the end of the disk when a power
// cut tore the first.
func read(disk Disk, diskBytes, sectorBytes int64) (*table, error) {
	if sectorBytes < 512 || sectorBytes > 4096 || alignment%sectorBytes != 0 || diskBytes < 2*alignment {
		return nil, fmt.Errorf("%w: a disk of %d bytes in sectors of %d", ErrNoTable, diskBytes, sectorBytes)
	}
	t, err := readAt(disk, 1, diskBytes, sectorBytes)
	if err != nil {
		t, copyErr := readAt(disk, diskBytes/sectorBytes-1, diskBytes, sectorBytes)
		if copyErr != nil {
			return nil, fmt.Errorf("%w: at the start: %w; at the end: %w", ErrNoTable, err, copyErr)
		}
		return t, nil
	}
	return t, nil
}

// readAt reads the header at lba and the entries it tells of. No length in it is
// believed before it is held against the disk.
func readAt(disk Disk, lba, diskBytes, sectorBytes int64) (*table, error) {
	header := make([]byte, sectorBytes)
	if _, err := disk.ReadAt(header, lba*sectorBytes); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	size := int64(le.Uint32(header[atHeaderBytes:]))
	if string(header[atSignature:][:8]) != "EFI PART" || size < minHeaderBytes || size > sectorBytes {
		return nil, errors.New("no header")
	}
	header = header[:size]
	sum := le.Uint32(header[atHeaderCRC:])
	unsummed := bytes.Clone(header)
	le.PutUint32(unsummed[atHeaderCRC:], 0)
	if crc32.ChecksumIEEE(unsummed) != sum || le.Uint64(header[atThisLBA:]) != uint64(lba) {
		return nil, errors.New("the header is damaged")
	}
	count, entryBytes := int64(le.Uint32(header[atEntries:])), int64(le.Uint32(header[atEntryBytes:]))
	entriesLBA := le.Uint64(header[atEntriesLBA:])
	if entryBytes < minEntryBytes || entryBytes > 4096 || count < 1 || count > maxEntriesBytes/entryBytes || entriesLBA > uint64(diskBytes/sectorBytes) {
		return nil, fmt.Errorf("%d entries of %d bytes", count, entryBytes)
	}
	entries := make([]byte, count*entryBytes)
	if _, err := disk.ReadAt(entries, int64(entriesLBA)*sectorBytes); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(header[atEntriesCRC:]) {
		return nil, errors.New("the entries are damaged")
	}
	return &table{sectorBytes, header, entries}, nil
}

// find returns the entry with that label, which must be the last on the disk.
func (t *table) find(label string) (entry []byte, number int, err error) {
	size := int(binary.LittleEndian.Uint32(t.header[atEntryBytes:]))
	behind := int64(0)
	for i := 0; i+size <= len(t.entries); i += size {
		e := t.entries[i:][:size:size]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue // unused
		}
		_, last := t.lbas(e)
		behind = max(behind, last)
		if nameOf(e) == label {
			entry, number = e, i/size+1
		}
	}
	if entry == nil {
		return nil, 0, fmt.Errorf("%w: %s", ErrNoPart, label)
	}
	first, last := t.lbas(entry)
	if last < behind {
		return nil, 0, fmt.Errorf("%s: %w", label, ErrNotLast)
	}
	if first < 1 || last < first {
		return nil, 0, fmt.Errorf("%w: %s ends before it starts", ErrNoTable, label)
	}
	return entry, number, nil
}

// lbas are the first sector of a partition and its last. One that no disk has is -1.
func (t *table) lbas(entry []byte) (first, last int64) {
	lba := func(at int) int64 {
		n := binary.LittleEndian.Uint64(entry[at:])
		if n > 1<<50 {
			return -1
		}
		return int64(n)
	}
	return lba(atFirstLBA), lba(atLastLBA)
}

func nameOf(entry []byte) string {
	var units []uint16
	for at := atName; at+2 <= minEntryBytes; at += 2 {
		unit := binary.LittleEndian.Uint16(entry[at:])
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}
