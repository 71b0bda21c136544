package image

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Numbers of a FAT32 file system (Microsoft's "FAT: General Overview of On-Disk
// Format", 1.03). Clusters are small because a file system with fewer than 65525 of
// them is taken for FAT16.
const (
	clusterSectors  = 4
	clusterBytes    = clusterSectors * sector
	minFAT32Cluster = 65525
	minReserved     = 32 // sectors before the first FAT; the boot sector's copy is at 6
	dataAlignment   = 8  // sectors: clusters do not straddle the pages of flash
	firstCluster    = 2
	endOfChain      = 0x0fffffff
	infoSector      = 1
	bootCopySector  = 6
	volumeLabel     = "HW-BOOT    "
	volumeSerial    = 0x48574254
)

// fat is a FAT32 file system while it is written. Its files lie one after the other,
// each in one piece.
type fat struct {
	sectors    uint32
	reserved   uint32 // sectors
	fatSectors uint32
	clusters   uint32
	table      []uint32 // by cluster
	next       uint32   // the first cluster that is free
	stamp      [4]byte  // time, date
}

// writeFAT writes a file system of size bytes with files.
func writeFAT(w io.WriterAt, size int64, files []File, when time.Time) error {
	root, err := tree(files)
	if err != nil {
		return err
	}
	v, err := newFAT(size, when)
	if err != nil {
		return err
	}
	starts := map[*node]uint32{}
	if err := v.place(root, starts); err != nil {
		return err
	}
	if err := v.writeNodes(w, root, root, starts); err != nil {
		return err
	}
	return v.writeHead(w)
}

func newFAT(size int64, when time.Time) (*fat, error) {
	v := &fat{sectors: uint32(size / sector), next: firstCluster, stamp: fatStamp(when)}
	// FATs for all sectors, those included that the FATs themselves take: a little
	// too long, which is allowed.
	v.fatSectors = ((v.sectors/clusterSectors+firstCluster)*4 + sector - 1) / sector
	v.reserved = minReserved
	if over := (v.reserved + 2*v.fatSectors) % dataAlignment; over != 0 {
		v.reserved += dataAlignment - over
	}
	if taken := v.reserved + 2*v.fatSectors; taken < v.sectors {
		v.clusters = (v.sectors - taken) / clusterSectors
	}
	if v.clusters < minFAT32Cluster {
		return nil, fmt.Errorf("%w: %d bytes are too few for FAT32", ErrSpec, size)
	}
	v.table = make([]uint32, firstCluster, firstCluster+v.clusters)
	v.table[0], v.table[1] = 0x0ffffff8, endOfChain // a fixed disk, cleanly unmounted
	return v, nil
}

// place gives n and all below it their clusters.
func (v *fat) place(n *node, starts map[*node]uint32) error {
	size := len(n.Data)
	if n.Dir {
		records, err := dirRecords(n)
		if err != nil {
			return err
		}
		size = records * dirRecordLen
	}
	start, err := v.take(size)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	starts[n] = start
	for _, c := range n.children {
		if err := v.place(c, starts); err != nil {
			return err
		}
	}
	return nil
}

// take chains the clusters for size bytes; an empty file has none.
func (v *fat) take(size int) (start uint32, err error) {
	count := uint32((size + clusterBytes - 1) / clusterBytes)
	if count == 0 {
		return 0, nil
	}
	if count > firstCluster+v.clusters-v.next {
		return 0, fmt.Errorf("%w: the boot partition has no room for %d bytes more", ErrSpec, size)
	}
	start = v.next
	for range count - 1 {
		v.next++
		v.table = append(v.table, v.next)
	}
	v.next++
	v.table = append(v.table, endOfChain)
	return start, nil
}

func (v *fat) writeNodes(w io.WriterAt, n, parent *node, starts map[*node]uint32) error {
	data := n.Data
	if n.Dir {
		data = v.directory(n, parent, starts)
	}
	if len(data) > 0 {
		if _, err := w.WriteAt(data, v.clusterAt(starts[n])); err != nil {
			return err
		}
	}
	for _, c := range n.children {
		if err := v.writeNodes(w, c, n, starts); err != nil {
			return err
		}
	}
	return nil
}

func (v *fat) clusterAt(cluster uint32) int64 {
	return int64(v.reserved+2*v.fatSectors)*sector + int64(cluster-firstCluster)*clusterBytes
}

// writeHead writes the boot sector, its companion with the free space, copies of both,
// and the two FATs.
func (v *fat) writeHead(w io.WriterAt) error {
	boot, info := v.bootSector(), v.infoSector()
	table := make([]byte, len(v.table)*4)
	for i, next := range v.table {
		binary.LittleEndian.PutUint32(table[4*i:], next)
	}
	for _, piece := range []struct {
		sector uint32
		data   []byte
	}{
		{0, boot},
		{infoSector, info},
		{bootCopySector, boot},
		{bootCopySector + infoSector, info},
		{v.reserved, table},
		{v.reserved + v.fatSectors, table},
	} {
		if _, err := w.WriteAt(piece.data, int64(piece.sector)*sector); err != nil {
			return err
		}
	}
	return nil
}

func (v *fat) bootSector() []byte {
	b := make([]byte, sector)
	le := binary.LittleEndian
	copy(b, "\xeb\x58\x90headwate")
	le.PutUint16(b[11:], sector)
	b[13] = clusterSectors
	le.PutUint16(b[14:], uint16(v.reserved))
	b[16] = 2    // FATs
	b[21] = 0xf8 // a fixed disk
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], alignment/sector) // sectors before the partition
	le.PutUint32(b[32:], v.sectors)
	le.PutUint32(b[36:], v.fatSectors)
	le.PutUint32(b[44:], firstCluster) // of the root
	le.PutUint16(b[48:], infoSector)
	le.PutUint16(b[50:], bootCopySector)
	b[64], b[66] = 0x80, 0x29
	le.PutUint32(b[67:], volumeSerial)
	copy(b[71:], volumeLabel)
	copy(b[82:], "FAT32   ")
	b[510], b[511] = 0x55, 0xaa
	return b
}

func (v *fat) infoSector() []byte {
	b := make([]byte, sector)
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], firstCluster+v.clusters-v.next)
	le.PutUint32(b[492:], v.next)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// fatStamp is a time as FAT keeps it: of day in two seconds, then the date.
func fatStamp(t time.Time) (b [4]byte) {
	t = t.UTC()
	binary.LittleEndian.PutUint16(b[:], uint16(t.Hour()<<11|t.Minute()<<5|t.Second()/2))
	binary.LittleEndian.PutUint16(b[2:], uint16((t.Year()-1980)<<9|int(t.Month())<<5|t.Day()))
	return b
}
