package uefi

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// resetCode starts the loader as UEFI would, and resets the machine if that ever returns.
// callAt is the place of the call, whose distance is filled in.
var resetCode = []uint32{
	0xa9be7bfd, // stp  x29, x30, [sp, #-32]!
	0xf9000be1, // str  x1, [sp, #16]   the system table
	0x94000000, // bl   the loader's own entry, with x0 and x1 as they came
	0xf9400be4, // ldr  x4, [sp, #16]
	0xf9402c84, // ldr  x4, [x4, #88]   its runtime services
	0xf9403484, // ldr  x4, [x4, #104]  ResetSystem(type, status, size, data)
	0xaa0003e1, // mov  x1, x0          what the loader returned
	0xd2800000, // mov  x0, #0          cold
	0xd2800002, // mov  x2, #0
	0xd2800003, // mov  x3, #0
	0xd63f0080, // blr  x4
	0x14000000, // b    here            it does not return
}

const (
	callAt       = 2
	maxCallBytes = 128 << 20 // as far as a call reaches
	instruction  = 4
	nop          = 0xd503201f // with which systemd-boot's header is filled up
	resetName    = ".hwreset"
	codeFlags    = 0x60000020 // code, to read and to execute
)

// ResetAtReturn returns a boot loader with a section added that resets the machine when
// the loader returns. systemd-boot returns where the entry it chose cannot be loaded;
// UEFI then tries what else there is, such as the network, and stays in a menu or a shell
// for ever. A reset has the loader choose again, with one try less.
func ResetAtReturn(loader []byte) ([]byte, error) {
	if err := CheckFile(loader); err != nil {
		return nil, err
	}
	p, err := parse(bytes.Clone(loader))
	if err != nil {
		return nil, err
	}
	row := p.table + p.sections*sectionBytes
	if err := p.roomFor(row); err != nil {
		return nil, err
	}
	fileAlign, align := p.u32(p.optional+atFileAlign), p.u32(p.optional+atSectionAlign)
	if !powerOfTwo(fileAlign) || !powerOfTwo(align) || len(loader) > maxCallBytes/2 || p.u32(p.optional+atImageBytes) > maxCallBytes/2 {
		return nil, fmt.Errorf("%w: its sections are aligned to %d and %d", ErrProgram, fileAlign, align)
	}
	raw, virtual := roundUp(uint32(len(loader)), fileAlign), roundUp(p.u32(p.optional+atImageBytes), align)
	code := resetCodeAt(virtual, p.u32(p.optional+atEntry))
	rawBytes := roundUp(uint32(len(code)), fileAlign)

	copy(p.head[row:], resetName)
	p.put32(row+atVirtualBytes, uint32(len(code)))
	p.put32(row+atVirtual, virtual)
	p.put32(row+atRawBytes, rawBytes)
	p.put32(row+atRaw, raw)
	p.put32(row+atFlags, codeFlags)
	binary.LittleEndian.PutUint16(p.head[p.header+atSections:], uint16(p.sections+1))
	p.put32(p.optional+atImageBytes, roundUp(virtual+uint32(len(code)), align))
	p.put32(p.optional+atEntry, virtual)

	out := make([]byte, raw+rawBytes)
	copy(out, p.head)
	copy(out[raw:], code)
	return out, nil
}

// roomFor sees whether a section's line fits at row, before all else.
func (p program) roomFor(row int) error {
	end := row + sectionBytes
	room := int64(end) <= int64(p.u32(p.optional+atHeaderBytes)) && end <= len(p.head)
	for i := range p.sections {
		room = room && int64(end) <= int64(p.u32(p.table+i*sectionBytes+atRaw))
	}
	for at := row; room && at < end; at += instruction {
		room = p.u32(at) == 0 || p.u32(at) == nop
	}
	if !room {
		return fmt.Errorf("%w: its header has no room for another section", ErrProgram)
	}
	return nil
}

// resetCodeAt is the code as it lies at a place, with its call of entry.
func resetCodeAt(place, entry uint32) (code []byte) {
	for i, word := range resetCode {
		if i == callAt {
			distance := (int32(entry) - int32(place) - callAt*instruction) / instruction
			word |= uint32(distance) & (1<<26 - 1)
		}
		code = binary.LittleEndian.AppendUint32(code, word)
	}
	return code
}

func powerOfTwo(n uint32) bool          { return n >= instruction && n <= 1<<20 && n&(n-1) == 0 }
func roundUp(n, multiple uint32) uint32 { return (n + multiple - 1) &^ (multiple - 1) }
