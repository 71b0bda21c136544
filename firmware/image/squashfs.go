package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/klauspost/compress/zlib"
)

// Squashfs 4.0, little-endian, as the kernel's fs/squashfs/squashfs_fs.h has it. Data
// are compressed with zlib, the one method that every kernel with squashfs knows;
// what is about files is small and not compressed. All belongs to root.
const (
	squashMagic     = 0x73717368
	squashBlock     = 128 << 10
	squashZlib      = 1
	squashFlags     = squashRawInodes | squashNoFragments | squashNoXattrs | squashRawIDs
	squashPad       = 4096
	superblockLen   = 96
	metaBlock       = 8192    // of what is about files
	metaRaw         = 0x8000  // in a block's length: it is not compressed
	dataRaw         = 1 << 24 // in a data block's length
	nothing         = ^uint64(0)
	noFragment      = ^uint32(0)
	dirHeaderMax    = 256 // names below one header
	squashDirInode  = 1
	squashFileInode = 2

	squashRawInodes   = 0x0001
	squashNoFragments = 0x0010
	squashNoXattrs    = 0x0200
	squashRawIDs      = 0x0800
)

// squash is a squashfs while it is written.
type squash struct {
	when    uint32 // seconds since 1970
	data    bytes.Buffer
	inodes  metadata
	dirs    metadata
	numbers map[*node]uint32 // of inodes, from 1 on
	packer  *zlib.Writer
	packed  bytes.Buffer
}

// Squashfs makes a file system of files, whose length is a multiple of 4 KiB.
func Squashfs(files []File, when time.Time) ([]byte, error) {
	root, err := tree(files)
	if err != nil {
		return nil, err
	}
	s := &squash{when: uint32(when.Unix()), numbers: map[*node]uint32{}}
	if s.packer, err = zlib.NewWriterLevel(&s.packed, zlib.BestCompression); err != nil {
		return nil, err
	}
	root.walk(func(n *node) { s.numbers[n] = uint32(len(s.numbers) + 1) })
	s.data.Write(make([]byte, superblockLen))
	rootRef, err := s.add(root, uint32(len(s.numbers)+1)) // the root's parent is none: the number after the last
	if err != nil {
		return nil, err
	}
	return s.finish(rootRef), nil
}

// metadata is a table in blocks of 8 KiB, each behind two bytes with its length.
type metadata struct{ raw []byte }

// at is where the next byte will be: the block's start on disk, counted from the
// table's, and the place in it.
func (m *metadata) at() (block uint32, offset uint16) {
	return uint32(len(m.raw) / metaBlock * (metaBlock + 2)), uint16(len(m.raw) % metaBlock)
}

func (m *metadata) put(fields ...any) {
	for _, f := range fields {
		m.raw, _ = binary.Append(m.raw, binary.LittleEndian, f) // fails for types without a fixed size alone
	}
}

func (m *metadata) blocks() []byte {
	var out []byte
	for rest := m.raw; len(rest) > 0; {
		n := min(len(rest), metaBlock)
		out = binary.LittleEndian.AppendUint16(out, uint16(n)|metaRaw)
		out = append(out, rest[:n]...)
		rest = rest[n:]
	}
	return out
}

// inodeRef is where an inode is.
type inodeRef struct {
	block  uint32
	offset uint16
}

// add writes n's inode, after those of all below it.
func (s *squash) add(n *node, parent uint32) (inodeRef, error) {
	if n.Dir {
		return s.addDir(n, parent)
	}
	start := s.data.Len()
	sizes, err := s.addData(n.Data)
	if err != nil {
		return inodeRef{}, fmt.Errorf("%s: %w", n.Path, err)
	}
	var ref inodeRef
	ref.block, ref.offset = s.inodes.at()
	mode := uint16(0o444)
	if n.Exec {
		mode = 0o555
	}
	s.inodes.put(uint16(squashFileInode), mode, uint32(0), s.when, s.numbers[n])
	s.inodes.put(uint32(start), noFragment, uint32(0), uint32(len(n.Data)), sizes)
	return ref, nil
}

// addData writes a file's blocks and returns the length of each on disk.
func (s *squash) addData(data []byte) ([]uint32, error) {
	sizes := []uint32{}
	for len(data) > 0 {
		block := data[:min(len(data), squashBlock)]
		data = data[len(block):]
		s.packed.Reset()
		s.packer.Reset(&s.packed)
		if _, err := s.packer.Write(block); err != nil {
			return nil, err
		}
		if err := s.packer.Close(); err != nil {
			return nil, err
		}
		size := uint32(s.packed.Len())
		if s.packed.Len() < len(block) {
			s.data.Write(s.packed.Bytes())
		} else {
			size = uint32(len(block)) | dataRaw
			s.data.Write(block)
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

func (s *squash) addDir(n *node, parent uint32) (inodeRef, error) {
	refs := make([]inodeRef, len(n.children))
	links := uint32(2)
	for i, c := range n.children {
		var err error
		if refs[i], err = s.add(c, s.numbers[n]); err != nil {
			return inodeRef{}, err
		}
		if c.Dir {
			links++
		}
	}
	block, offset := s.dirs.at()
	before := len(s.dirs.raw)
	if err := s.list(n, refs); err != nil {
		return inodeRef{}, err
	}
	size := len(s.dirs.raw) - before + 3 // with "." and "..", as if they stood there
	if size > 1<<16-1 {
		return inodeRef{}, fmt.Errorf("%w: directory %q has too many files", ErrSpec, n.name)
	}
	var ref inodeRef
	ref.block, ref.offset = s.inodes.at()
	s.inodes.put(uint16(squashDirInode), uint16(0o555), uint32(0), s.when, s.numbers[n])
	s.inodes.put(block, links, uint16(size), offset, parent)
	return ref, nil
}

// list writes a directory's names, sorted. Those below one header have their inodes
// in one block.
func (s *squash) list(n *node, refs []inodeRef) error {
	for i := 0; i < len(refs); {
		end := i
		for end < len(refs) && refs[end].block == refs[i].block && end-i < dirHeaderMax {
			end++
		}
		base := s.numbers[n.children[i]]
		s.dirs.put(uint32(end-i-1), refs[i].block, base)
		for ; i < end; i++ {
			c := n.children[i]
			delta := int64(s.numbers[c]) - int64(base)
			if len(c.name) > maxNameLen || delta > 1<<15-1 {
				return fmt.Errorf("%w: %q is too long a name, or one of too many", ErrSpec, c.name)
			}
			kind := uint16(squashFileInode)
			if c.Dir {
				kind = squashDirInode
			}
			s.dirs.put(refs[i].offset, int16(delta), kind, uint16(len(c.name)-1), []byte(c.name))
		}
	}
	return nil
}

// finish puts the tables behind the data, and the superblock before them.
func (s *squash) finish(root inodeRef) []byte {
	inodesAt := uint64(s.data.Len())
	s.data.Write(s.inodes.blocks())
	dirsAt := uint64(s.data.Len())
	s.data.Write(s.dirs.blocks())
	var ids metadata
	ids.put(uint32(0)) // root's
	idsAt := uint64(s.data.Len())
	s.data.Write(ids.blocks())
	idIndexAt := uint64(s.data.Len())
	out := binary.LittleEndian.AppendUint64(s.data.Bytes(), idsAt)

	var head metadata
	head.put(uint32(squashMagic), uint32(len(s.numbers)), s.when, uint32(squashBlock), uint32(0))
	head.put(uint16(squashZlib), uint16(bits.TrailingZeros32(squashBlock)), uint16(squashFlags), uint16(1), uint16(4), uint16(0))
	head.put(uint64(root.block)<<16|uint64(root.offset), uint64(len(out)))
	head.put(idIndexAt, nothing, inodesAt, dirsAt, nothing, nothing)
	copy(out, head.raw)
	return append(out, make([]byte, -len(out)&(squashPad-1))...)
}
