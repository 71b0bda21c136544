// Package uefi knows the programs that UEFI starts on arm64, which kernels and boot
// loaders are (PE32+, of Microsoft's "PE Format"): whether a file can be one, and what
// is done for one that ends where nothing must.
//
// It is pure, and may be called from any goroutine. Sizes and offsets are bytes.
package uefi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrProgram is wrapped by what is said of a file that UEFI would not start.
var ErrProgram = errors.New("this is no program that UEFI starts on arm64")

// HeadBytes is how much of a file Check has to see.
const HeadBytes = 4 << 10

const ( // places from the start of the file
	atPE     = 0x3c // uint32: where the header is
	dosBytes = 0x40
)

const ( // places from the start of the header, "PE\0\0"
	atMachine       = 4  // uint16
	atSections      = 6  // uint16, how many
	atOptionalBytes = 20 // uint16
	atOptional      = 24
)

const ( // places from the start of the optional header
	atMagic        = 0  // uint16
	atEntry        = 16 // uint32, in memory
	atSectionAlign = 32 // uint32, of sections in memory
	atFileAlign    = 36 // uint32, of sections in the file
	atImageBytes   = 56 // uint32, all of it in memory
	atHeaderBytes  = 60 // uint32, all before the first section
	atSubsystem    = 68 // uint16
	optionalBytes  = 112
)

const ( // places from the start of a section's line
	atVirtualBytes = 8  // uint32, in memory
	atVirtual      = 12 // uint32
	atRawBytes     = 16 // uint32, in the file
	atRaw          = 20 // uint32
	atFlags        = 36 // uint32
	sectionBytes   = 40
)

const (
	machineARM64 = 0xaa64
	magic64      = 0x20b
	application  = 10 // subsystem
	maxSections  = 64
)

// program is a head that was found right; the fields are places in it.
type program struct {
	head     []byte
	header   int
	optional int
	table    int // of the sections
	sections int
}

// Check says what is wrong with a file whose first bytes are head, up to HeadBytes of
// them, and that has size bytes: why UEFI would not start it. What a program does once it
// is started, nobody can tell.
func Check(head []byte, size int64) error {
	p, err := parse(head)
	if err != nil {
		return err
	}
	entry, found := int64(p.u32(p.optional+atEntry)), false
	for i := range p.sections {
		at := p.table + i*sectionBytes
		end := int64(p.u32(at+atRaw)) + int64(p.u32(at+atRawBytes))
		if end > size {
			return fmt.Errorf("%w: it is cut short: its header speaks of %d bytes, and it has %d", ErrProgram, end, size)
		}
		start := int64(p.u32(at + atVirtual))
		found = found || entry >= start && entry < start+int64(p.u32(at+atRawBytes))
	}
	if !found {
		return fmt.Errorf("%w: where it begins (%#x) is nothing of it", ErrProgram, entry)
	}
	return nil
}

// CheckFile is Check of a whole file.
func CheckFile(file []byte) error { return Check(file[:min(len(file), HeadBytes)], int64(len(file))) }

// parse reads a head. No number in it is trusted before it is checked.
func parse(head []byte) (p program, err error) {
	if len(head) < dosBytes || head[0] != 'M' || head[1] != 'Z' {
		return p, fmt.Errorf("%w: it does not begin with MZ", ErrProgram)
	}
	at := int64(binary.LittleEndian.Uint32(head[atPE:]))
	if at < 0 || at+atOptional+optionalBytes > int64(len(head)) || string(head[at:at+4]) != "PE\x00\x00" {
		return p, fmt.Errorf("%w: it has no PE header in its first %d bytes", ErrProgram, len(head))
	}
	p = program{head: head, header: int(at), optional: int(at) + atOptional}
	p.sections = p.u16(p.header + atSections)
	p.table = p.optional + p.u16(p.header+atOptionalBytes)
	switch {
	case p.u16(p.header+atMachine) != machineARM64:
		return p, fmt.Errorf("%w: it is for machine %#x, and arm64 is %#x", ErrProgram, p.u16(p.header+atMachine), machineARM64)
	case p.u16(p.optional+atMagic) != magic64 || p.u16(p.optional+atSubsystem) != application:
		return p, fmt.Errorf("%w: its header is of kind %#x and for subsystem %d; wanted are %#x and %d", ErrProgram, p.u16(p.optional+atMagic), p.u16(p.optional+atSubsystem), magic64, application)
	case p.sections < 1 || p.sections > maxSections || p.table < p.optional+optionalBytes || p.table+p.sections*sectionBytes > len(head):
		return p, fmt.Errorf("%w: it has %d sections, whose table should end in its first %d bytes", ErrProgram, p.sections, len(head))
	}
	return p, nil
}

func (p program) u16(at int) int    { return int(binary.LittleEndian.Uint16(p.head[at:])) }
func (p program) u32(at int) uint32 { return binary.LittleEndian.Uint32(p.head[at:]) }

func (p program) put32(at int, v uint32) { binary.LittleEndian.PutUint32(p.head[at:], v) }
