package image

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Directories of FAT: records of 32 bytes. A name that is not of eight and three
// capitals stands in records of its own before the file's, thirteen characters each,
// the last part first.
const (
	dirRecordLen = 32
	longNameLen  = 13
	maxNameLen   = 255

	attrVolume   = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLongName = 0x0f
	lastLongPart = 0x40
)

// dirRecords is how many records a directory has. Names are checked here.
func dirRecords(n *node) (count int, err error) {
	count = 2 // itself and the one above; the root has its label in their place
	for _, c := range n.children {
		bad := strings.IndexFunc(c.name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"*/:<>?\|`, r) })
		if bad >= 0 || len(c.name) > maxNameLen || strings.HasSuffix(c.name, ".") {
			return 0, fmt.Errorf("%w: FAT cannot have a file that is called %q", ErrSpec, c.name)
		}
		count += 1 + longParts(c.name)
	}
	return count, nil
}

// longParts is how many records a name takes before its file's.
func longParts(name string) int {
	if _, ok := shortName(name); ok {
		return 0
	}
	return (len(name) + longNameLen - 1) / longNameLen
}

// directory makes the records of one.
func (v *fat) directory(n, parent *node, starts map[*node]uint32) []byte {
	var out []byte
	if n == parent {
		out = v.record(out, [11]byte([]byte(volumeLabel)), attrVolume, 0, 0)
	} else {
		above := starts[parent]
		if above == firstCluster {
			above = 0 // the root is called so
		}
		out = v.record(out, [11]byte([]byte(".          ")), attrDir, starts[n], 0)
		out = v.record(out, [11]byte([]byte("..         ")), attrDir, above, 0)
	}
	var taken [][11]byte
	for _, c := range n.children {
		short, ok := shortName(c.name)
		if !ok {
			short = alias(c.name, taken)
			out = longName(out, c.name, short)
		}
		taken = append(taken, short)
		attr := byte(attrArchive)
		if c.Dir {
			attr = attrDir
		}
		out = v.record(out, short, attr, starts[c], len(c.Data))
	}
	return out
}

func (v *fat) record(out []byte, name [11]byte, attr byte, cluster uint32, size int) []byte {
	var r [dirRecordLen]byte
	copy(r[:], name[:])
	r[11] = attr
	copy(r[14:], v.stamp[:])  // made
	copy(r[18:], v.stamp[2:]) // last read, the day
	copy(r[22:], v.stamp[:])  // written
	binary.LittleEndian.PutUint16(r[20:], uint16(cluster>>16))
	binary.LittleEndian.PutUint16(r[26:], uint16(cluster))
	binary.LittleEndian.PutUint32(r[28:], uint32(size))
	return append(out, r[:]...)
}

// shortName is a name of eight and three capitals, as a record has it.
func shortName(name string) (short [11]byte, ok bool) {
	base, ext, _ := strings.Cut(name, ".")
	if len(base) == 0 || len(base) > 8 || len(ext) > 3 || name != joinName(base, ext) {
		return short, false
	}
	if strings.IndexFunc(base+ext, func(r rune) bool { return !plain(r) }) >= 0 {
		return short, false
	}
	copy(short[:], fmt.Sprintf("%-8s%-3s", base, ext))
	return short, true
}

func joinName(base, ext string) string {
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// plain says whether a short name may have r.
func plain(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// alias is a short name for a file with a long one, that no other of taken has.
func alias(name string, taken [][11]byte) (short [11]byte) {
	base, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		base, ext = name[:dot], name[dot+1:]
	}
	only := func(s string, n int) string {
		s = strings.Map(func(r rune) rune {
			if plain(r) {
				return r
			}
			return -1
		}, strings.ToUpper(s))
		return s[:min(n, len(s))]
	}
	base, ext = only(base, 8), only(ext, 3)
	for number := 1; ; number++ {
		tail := fmt.Sprintf("~%d", number)
		copy(short[:], fmt.Sprintf("%-8s%-3s", base[:min(len(base), 8-len(tail))]+tail, ext))
		if !slices.Contains(taken, short) {
			return short
		}
	}
}

// longName appends the records of a name, which are tied to the short one by its
// checksum.
func longName(out []byte, name string, short [11]byte) []byte {
	var sum byte
	for _, c := range short {
		sum = sum<<7 | sum>>1
		sum += c
	}
	parts := longParts(name)
	for part := parts; part > 0; part-- {
		var r [dirRecordLen]byte
		r[0], r[11], r[13] = byte(part), attrLongName, sum
		if part == parts {
			r[0] |= lastLongPart
		}
		for i := range longNameLen {
			unit := uint16(0xffff) // behind the end of the name
			switch at := (part-1)*longNameLen + i; {
			case at < len(name):
				unit = uint16(name[at])
			case at == len(name):
				unit = 0
			}
			binary.LittleEndian.PutUint16(r[longUnitAt(i):], unit)
		}
		out = append(out, r[:]...)
	}
	return out
}

// longUnitAt is where in a record the i-th character of its part lies.
func longUnitAt(i int) int {
	switch {
	case i < 5:
		return 1 + 2*i
	case i < 11:
		return 14 + 2*(i-5)
	default:
		return 28 + 2*(i-11)
	}
}
