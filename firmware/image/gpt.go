package image

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// Partition is a stretch of the disk with a name.
type Partition struct {
	Label        string
	Type, ID     GUID
	Start, Bytes int64 // multiples of a sector
	MBRType      byte  // not 0: it stands in the MBR too, as this
}

// GUID is in the order of bytes in which it is written as text.
type GUID [16]byte

// Types of partitions.
var (
	espType       = GUID{0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f, 0x11, 0xd2, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	basicDataType = GUID{0xeb, 0xd0, 0xa0, 0xa2, 0xb9, 0xe5, 0x44, 0x33, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7}
	linuxType     = GUID{0x0f, 0xc6, 0x3d, 0xaf, 0x84, 0x83, 0x47, 0x72, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}
)

const (
	mbrFAT32LBA   = 0x0c
	mbrProtective = 0xee
)

// derivedGUID is always the same for a name. All boxes have the same ones: they are
// found by label, on the one disk that a box boots from.
func derivedGUID(name string) GUID {
	sum := sha256.Sum256([]byte("headwater " + name))
	g := GUID(sum[:16])
	g[6] = g[6]&0x0f | 0x80 // version 8: by a rule of one's own
	g[8] = g[8]&0x3f | 0x80
	return g
}

func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

// put writes a GUID as it is on disk: its first three numbers are little-endian.
func (g GUID) put(b []byte) {
	binary.LittleEndian.PutUint32(b, binary.BigEndian.Uint32(g[:]))
	binary.LittleEndian.PutUint16(b[4:], binary.BigEndian.Uint16(g[4:]))
	binary.LittleEndian.PutUint16(b[6:], binary.BigEndian.Uint16(g[6:]))
	copy(b[8:], g[8:])
}

// UEFI 2.10, section 5.3: where each field of the header starts.
const (
	gptRevision       = 8
	gptHeaderLen      = 12
	gptHeaderCRC      = 16
	gptThisLBA        = 24
	gptOtherLBA       = 32
	gptFirstUsable    = 40
	gptLastUsable     = 48
	gptDisk           = 56
	gptEntriesLBA     = 72
	gptEntryCount     = 80
	gptEntryLen       = 84
	gptEntriesCRC     = 88
	headerLen         = 92
	entryCount        = 128
	entryLen          = 128
	entriesSectors    = entryCount * entryLen / sector
	entryNameLen      = 36 // UTF-16 units
	firstUsableSector = 2 + entriesSectors
)

// writeTable writes the MBR, the GPT at the start of the disk and its copy at the end.
func writeTable(w io.WriterAt, diskBytes int64, parts []Partition) error {
	sectors := uint64(diskBytes / sector)
	entries, err := tableEntries(parts, sectors)
	if err != nil {
		return err
	}
	last := sectors - 1
	for _, piece := range []struct {
		lba  uint64
		data []byte
	}{
		{0, mbr(parts, sectors)},
		{1, tableHeader(1, last, 2, sectors, entries)},
		{2, entries},
		{last - entriesSectors, entries},
		{last, tableHeader(last, 1, last-entriesSectors, sectors, entries)},
	} {
		if _, err := w.WriteAt(piece.data, int64(piece.lba)*sector); err != nil {
			return err
		}
	}
	return nil
}

func tableEntries(parts []Partition, sectors uint64) ([]byte, error) {
	table := make([]byte, entryCount*entryLen)
	next := uint64(firstUsableSector)
	for i, p := range parts {
		first, end := uint64(p.Start/sector), uint64((p.Start+p.Bytes)/sector)
		if first < next || end <= first || end > sectors-1-entriesSectors {
			return nil, fmt.Errorf("%w: partition %s does not fit at %d", ErrSpec, p.Label, p.Start)
		}
		next = end
		name := utf16.Encode([]rune(p.Label))
		if len(name) > entryNameLen {
			return nil, fmt.Errorf("%w: label %q is longer than %d characters", ErrSpec, p.Label, entryNameLen)
		}
		e := table[i*entryLen:][:entryLen]
		p.Type.put(e)
		p.ID.put(e[16:])
		binary.LittleEndian.PutUint64(e[32:], first)
		binary.LittleEndian.PutUint64(e[40:], end-1)
		for j, unit := range name {
			binary.LittleEndian.PutUint16(e[56+2*j:], unit)
		}
	}
	return table, nil
}

func tableHeader(this, other, entriesLBA, sectors uint64, entries []byte) []byte {
	h := make([]byte, sector)
	le := binary.LittleEndian
	copy(h, "EFI PART")
	le.PutUint32(h[gptRevision:], 1<<16)
	le.PutUint32(h[gptHeaderLen:], headerLen)
	le.PutUint64(h[gptThisLBA:], this)
	le.PutUint64(h[gptOtherLBA:], other)
	le.PutUint64(h[gptFirstUsable:], firstUsableSector)
	le.PutUint64(h[gptLastUsable:], sectors-2-entriesSectors)
	derivedGUID("disk").put(h[gptDisk:])
	le.PutUint64(h[gptEntriesLBA:], entriesLBA)
	le.PutUint32(h[gptEntryCount:], entryCount)
	le.PutUint32(h[gptEntryLen:], entryLen)
	le.PutUint32(h[gptEntriesCRC:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[gptHeaderCRC:], crc32.ChecksumIEEE(h[:headerLen]))
	return h
}

// mbr protects the disk from tools that know no GPT, and names the partitions that a
// ROM without GPT must find.
func mbr(parts []Partition, sectors uint64) []byte {
	b := make([]byte, sector)
	entry := b[446:]
	put := func(kind byte, first, count uint64) {
		copy(entry[1:4], []byte{0xfe, 0xff, 0xff}) // cylinders, heads and sectors do not count
		copy(entry[5:8], []byte{0xfe, 0xff, 0xff})
		entry[4] = kind
		binary.LittleEndian.PutUint32(entry[8:], uint32(first))
		binary.LittleEndian.PutUint32(entry[12:], uint32(min(count, 1<<32-1)))
		entry = entry[16:]
	}
	named := false
	for _, p := range parts {
		if p.MBRType != 0 {
			put(p.MBRType, uint64(p.Start/sector), uint64(p.Bytes/sector))
			named = true
		}
	}
	if named {
		put(mbrProtective, 1, uint64(parts[0].Start/sector)-1) // the table alone: entries must not overlap
	} else {
		put(mbrProtective, 1, sectors-1)
		copy(b[447:450], []byte{0x00, 0x02, 0x00})
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}
